"""Sparse archives: those of compressed-tensors open here, those written here open there: check_compressed_tensors.py COMMAND

Needs the package compressed-tensors 0.14 (scripts/setup --tests installs it); skipped without it.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file

try:
    from compressed_tensors.compressors.model_compressors.model_compressor import ModelCompressor
    from compressed_tensors.compressors.sparse_compressors.sparse_24_bitmask import Sparse24BitMaskCompressor
    from compressed_tensors.compressors.sparse_compressors.sparse_bitmask import BitmaskCompressor
    from compressed_tensors.config import Sparse24BitMaskConfig
except ImportError as error:
    print(f"skipped: compressed-tensors is not installed ({error})")
    sys.exit(77)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cli"))
import tiny_model  # noqa: E402

command = sys.argv[1]


def convert(folder, out, *options):
    result = subprocess.run([command, "convert", folder, "-o", out, *options], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return out


def equal(name, got, wanted):
    assert got.keys() == wanted.keys(), (name, got.keys() ^ wanted.keys())
    for key, tensor in wanted.items():
        assert got[key].dtype == tensor.dtype and torch.equal(got[key], tensor), (name, key)
    print(f"{name}: {len(got)} tensors equal")


with tempfile.TemporaryDirectory() as temporary:
    base = pathlib.Path(temporary)
    for dtype in (torch.bfloat16, torch.float32, torch.float16):
        dense = base / f"dense-{dtype}"
        tiny_model.make(dense, dtype=dtype, attention_bias=True)
        state = load_file(dense / "model.safetensors")
        torch.manual_seed(1)
        for name, t in state.items():
            if "_proj.weight" in name:  # 2:4, so that both layouts take it
                state[name] = t.masked_fill(torch.rand(t.shape).view(-1, 4).argsort(1).view(t.shape) < 2, 0)
        save_file(state, dense / "model.safetensors", metadata={"format": "pt"})
        config = json.loads((dense / "config.json").read_text())

        def archive(name, packed, format):
            folder = base / f"{name}-{dtype}"
            folder.mkdir()
            save_file({k: v.contiguous() for k, v in packed.items()}, folder / "model.safetensors", metadata={"format": "pt"})
            sparsity = {"format": format, "global_sparsity": 0.5, "sparsity_structure": "2:4", "targets": ["Linear"]}
            (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "compressed-tensors", "sparsity_config": sparsity}}))
            for file in ("tokenizer.json", "tokenizer_config.json"):
                (folder / file).write_text((dense / file).read_text())
            return folder

        def opens(name, folder):
            back = convert(folder, folder.with_name(folder.name + "-back"))
            equal(f"{name}, {dtype}", load_file(back / "model.safetensors"), state)
            assert "quantization_config" not in json.loads((back / "config.json").read_text())

        theirs = BitmaskCompressor().compress(state)  # packs norms and embeddings too
        opens("sparse-bitmask", archive("new", theirs, "sparse-bitmask"))
        # before 0.6 the whole name was kept, and biases were packed as well
        old = {f"{k}.{part}": v for k, t in state.items() for part, v in ((p.rsplit(".", 1)[1], q) for p, q in BitmaskCompressor().compress_weight("x", t).items())}
        opens("sparse-bitmask, older names", archive("old", old, "sparse-bitmask"))
        matrices = {name.removesuffix(".weight") for name in state if "_proj.weight" in name}
        packed24 = Sparse24BitMaskCompressor(config=Sparse24BitMaskConfig()).compress(state, compression_targets=matrices)
        assert any(k.endswith(".bitmask") for k in packed24)
        opens("sparse-24-bitmask", archive("24", packed24, "sparse-24-bitmask"))

        ours = convert(dense, base / f"ours-{dtype}", "--format", "bitmask")
        stored = load_file(ours / "model.safetensors")
        parts = {k for k in stored if k.rsplit(".", 1)[1] in ("shape", "compressed", "bitmask", "row_offsets")}
        expected = {k: v for k, v in theirs.items() if k in parts}
        assert set(expected) == parts and len(parts) >= 4 * len(matrices)
        assert all(torch.equal(stored[k], v) and stored[k].dtype == v.dtype for k, v in expected.items()), "the parts are those of compressed-tensors"
        equal(f"ours there, {dtype}", dict(BitmaskCompressor().decompress(str(ours))), state)
        split = convert(dense, base / f"split-{dtype}", "--format", "bitmask", "--shard-size", "60KB")
        assert len(list(split.glob("*.safetensors"))) > 1
        equal(f"ours in shards there, {dtype}", dict(BitmaskCompressor().decompress(str(split))), state)
        compressor = ModelCompressor.from_compression_config(json.loads((ours / "config.json").read_text())["quantization_config"])
        assert isinstance(compressor.sparsity_compressor, BitmaskCompressor) and compressor.quantization_config is None
