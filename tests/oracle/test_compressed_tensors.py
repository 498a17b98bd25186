"""Sparse archives of the package compressed-tensors open here, and those written here open there.

Needs compressed-tensors 0.14, which scripts/setup --tests installs; skipped without it.
"""
import functools
import json
import types

import pytest
import tiny_model
import torch
from freelunch_command import run
from safetensors.torch import load_file, save_file

pytest.importorskip("compressed_tensors", reason="compressed-tensors is not installed (scripts/setup --tests)")
from compressed_tensors.compressors.model_compressors.model_compressor import ModelCompressor  # noqa: E402
from compressed_tensors.compressors.sparse_compressors.sparse_24_bitmask import Sparse24BitMaskCompressor  # noqa: E402
from compressed_tensors.compressors.sparse_compressors.sparse_bitmask import BitmaskCompressor  # noqa: E402
from compressed_tensors.config import Sparse24BitMaskConfig  # noqa: E402

DTYPES = [torch.bfloat16, torch.float32, torch.float16]
PARTS = ("shape", "compressed", "bitmask", "row_offsets")
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def expect_equal(got, wanted):
    assert got.keys() == wanted.keys(), got.keys() ^ wanted.keys()
    for key, tensor in wanted.items():
        assert got[key].dtype == tensor.dtype and torch.equal(got[key], tensor), key


def pruned_state(folder):
    """The tensors of the folder, matrices pruned to 2:4, so that both layouts take them."""
    state = load_file(folder / "model.safetensors")
    torch.manual_seed(1)
    for name, t in state.items():
        if "_proj.weight" in name:
            state[name] = t.masked_fill(torch.rand(t.shape).view(-1, 4).argsort(1).view(t.shape) < 2, 0)
    return state


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """dtype -> folder and tensors of a pruned model, made once."""

    @functools.cache
    def make(dtype):
        folder = tmp_path_factory.mktemp("model") / "dense"
        tiny_model.make(folder, dtype=dtype, attention_bias=True)
        state = pruned_state(folder)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        matrices = {name.removesuffix(".weight") for name in state if "_proj.weight" in name}
        return types.SimpleNamespace(folder=folder, state=state, matrices=matrices)

    return make


@pytest.fixture(scope="module")
def ours(model):
    """dtype -> the archive that the command makes of the model."""

    @functools.cache
    def archive(dtype):
        out = model(dtype).folder.with_name("ours")
        run("convert", model(dtype).folder, "-o", out, "--format", "bitmask")
        return out

    return archive


def packed_by_bitmask(model):
    """As compressed-tensors stores it: norms and embeddings are packed too."""
    return BitmaskCompressor().compress(model.state), "sparse-bitmask"


def packed_by_older_bitmask(model):
    """Before compressed-tensors 0.6 the whole name was kept, and biases were packed as well."""
    packed = {}
    for key, tensor in model.state.items():
        for part, value in BitmaskCompressor().compress_weight("x", tensor).items():
            packed[f"{key}.{part.rsplit('.', 1)[1]}"] = value
    return packed, "sparse-bitmask"


def packed_by_two_of_four(model):
    compressor = Sparse24BitMaskCompressor(config=Sparse24BitMaskConfig())
    packed = compressor.compress(model.state, compression_targets=model.matrices)
    assert any(key.endswith(".bitmask") for key in packed)
    return dict(packed), "sparse-24-bitmask"


@each_dtype
@pytest.mark.parametrize("pack", [packed_by_bitmask, packed_by_older_bitmask, packed_by_two_of_four],
                         ids=["sparse-bitmask", "older names", "sparse-24-bitmask"])
def test_an_archive_of_compressed_tensors_opens_here(pack, dtype, model, tmp_path):
    made = model(dtype)
    packed, layout = pack(made)
    config = json.loads((made.folder / "config.json").read_text())
    sparsity = {"format": layout, "global_sparsity": 0.5, "sparsity_structure": "2:4", "targets": ["Linear"]}
    config["quantization_config"] = {"quant_method": "compressed-tensors", "sparsity_config": sparsity}
    archive, back = tmp_path / "archive", tmp_path / "back"
    archive.mkdir()
    save_file({k: v.contiguous() for k, v in packed.items()}, archive / "model.safetensors", metadata={"format": "pt"})
    (archive / "config.json").write_text(json.dumps(config))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (archive / file).write_text((made.folder / file).read_text())
    run("convert", archive, "-o", back)
    expect_equal(load_file(back / "model.safetensors"), made.state)
    assert "quantization_config" not in json.loads((back / "config.json").read_text())


@each_dtype
def test_the_stored_parts_are_those_of_compressed_tensors(dtype, model, ours):
    stored = load_file(ours(dtype) / "model.safetensors")
    theirs, _ = packed_by_bitmask(model(dtype))
    parts = {key for key in stored if key.rsplit(".", 1)[1] in PARTS}
    expected = {key: value for key, value in theirs.items() if key in parts}
    assert len(parts) >= 4 * len(model(dtype).matrices)
    expect_equal({key: stored[key] for key in parts}, expected)


@each_dtype
def test_an_archive_written_here_opens_there(dtype, model, ours):
    expect_equal(dict(BitmaskCompressor().decompress(str(ours(dtype)))), model(dtype).state)


@each_dtype
def test_an_archive_in_shards_opens_there(dtype, model, tmp_path):
    split = tmp_path / "split"
    run("convert", model(dtype).folder, "-o", split, "--format", "bitmask", "--shard-size", "60KB")
    assert len(list(split.glob("*.safetensors"))) > 1
    expect_equal(dict(BitmaskCompressor().decompress(str(split))), model(dtype).state)


@each_dtype
def test_compressed_tensors_understands_the_config(dtype, ours):
    config = json.loads((ours(dtype) / "config.json").read_text())["quantization_config"]
    compressor = ModelCompressor.from_compression_config(config)
    assert isinstance(compressor.sparsity_compressor, BitmaskCompressor) and compressor.quantization_config is None
