"""Files of the safetensors package open here with equal values, and files written here open there with equal bytes."""
import subprocess

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

torch.manual_seed(0)
TENSORS = {
    "b.weight": torch.randn(3, 5).to(torch.bfloat16),
    "a": torch.randn(7),
    "half": torch.randn(2, 2, 2).half(),
    "scalar": torch.tensor(1.5),
    "empty": torch.zeros(0, 4),
    "ids": torch.arange(5),
    "flags": torch.tensor([True, False, True]),
    "double": torch.randn(3).double(),
    "名": torch.randn(1),
}
METADATA = {"format": "pt", "note": "x"}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    path = tmp_path_factory.mktemp("safetensors") / "theirs.safetensors"
    save_file(TENSORS, path, metadata=METADATA)
    return path


@pytest.fixture(scope="module")
def ours(theirs, oracle_probe):
    """The same tensors, read and written here."""
    path = theirs.with_name("ours.safetensors")
    subprocess.run([oracle_probe, "rewrite", theirs, path], check=True)
    return path


@pytest.mark.parametrize("name", ["b.weight", "a", "half", "scalar", "empty", "double"])
def test_a_tensor_of_the_package_is_read_with_its_values(name, theirs, oracle_probe):
    out = subprocess.run([oracle_probe, "tensor", theirs, name], capture_output=True, check=True).stdout
    assert (np.frombuffer(out, np.float32) == TENSORS[name].float().numpy().ravel()).all()


def test_a_file_written_here_has_the_names_and_metadata_of_the_original(ours):
    with safe_open(ours, "pt") as file:
        assert set(file.keys()) == set(TENSORS) and file.metadata() == METADATA


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_written_here_is_equal_in_the_package(name, ours):
    with safe_open(ours, "pt") as file:
        got, expected = file.get_tensor(name), TENSORS[name]
    assert got.dtype == expected.dtype and got.shape == expected.shape and torch.equal(got, expected)
