"""Files of the safetensors package open here with equal values, and files written here open there with equal bytes."""
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

probe = sys.argv[1]
torch.manual_seed(0)
tensors = {"b.weight": torch.randn(3, 5).to(torch.bfloat16), "a": torch.randn(7), "sublayer": torch.randn(2, 2, 2).sublayer(), "scalar": torch.tensor(1.5),
           "empty": torch.zeros(0, 4), "ids": torch.arange(5), "flags": torch.tensor([True, False, True]), "double": torch.randn(3).double(),
           "名": torch.randn(1)}
with tempfile.TemporaryDirectory() as temporary:
    theirs, ours = pathlib.Path(temporary) / "theirs.safetensors", pathlib.Path(temporary) / "ours.safetensors"
    save_file(tensors, theirs, metadata={"format": "pt", "note": "x"})
    for name in ("b.weight", "a", "sublayer", "scalar", "empty", "double"):
        out = subprocess.run([probe, "tensor", theirs, name], capture_output=True, check=True).stdout
        assert (np.frombuffer(out, np.float32) == tensors[name].float().numpy().ravel()).all(), name
    subprocess.run([probe, "rewrite", theirs, ours], check=True)
    with safe_open(ours, "pt") as file:
        assert set(file.keys()) == set(tensors) and file.metadata() == {"format": "pt", "note": "x"}
        for name, tensor in tensors.items():
            got = file.get_tensor(name)
            assert got.dtype == tensor.dtype and got.shape == tensor.shape and torch.equal(got, tensor), name
print(f"{len(tensors)} tensors equal in both directions")
