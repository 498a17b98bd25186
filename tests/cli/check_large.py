"""A model above 5 GB is converted in bounded memory (slow tier): a sparse file of zeros, so only what is written takes room on the disk."""
import json
import pathlib
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time

from safetensors import safe_open

command = sys.argv[1]
width, intermediate, blocks, vocabulary = 4096, 11008, 12, 32000
shapes = {"model.embed_tokens.weight": (vocabulary, width), "model.norm.weight": (width,), "lm_head.weight": (vocabulary, width)}
for b in range(blocks):
    prefix = f"model.layers.{b}."
    shapes |= {prefix + f"self_attn.{m}_proj.weight": (width, width) for m in "qkvo"}
    shapes |= {prefix + f"mlp.{m}_proj.weight": (intermediate, width) for m in ("gate", "up")}
    shapes |= {prefix + "mlp.down_proj.weight": (width, intermediate), prefix + "input_layernorm.weight": (width,), prefix + "post_attention_layernorm.weight": (width,)}
with tempfile.TemporaryDirectory() as temporary:
    base = pathlib.Path(temporary)
    if shutil.disk_usage(base).free < 16e9:
        print("skipped: needs 16 GB of free disk")
        sys.exit(77)
    (base / "big").mkdir()
    (base / "big/config.json").write_text(json.dumps(dict(model_type="llama", architectures=["LlamaForCausalLM"], vocab_size=vocabulary, hidden_size=width, intermediate_size=intermediate,
                                                          num_hidden_layers=blocks, num_attention_heads=32, torch_dtype="bfloat16")))
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = dict(dtype="BF16", shape=shape, data_offsets=[at, at + size])
        at += size
    text = json.dumps(header).encode()
    with open(base / "big/model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)
    assert at > 5e9

    def run(*arguments):
        start = time.time()
        result = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024  # of the largest so far
        print(f"{arguments[0]} {arguments[-1]}: {time.time() - start:.0f} s, peak memory so far {peak / 1e9:.2f} GB", flush=True)
        return peak

    assert run("convert", base / "big", "-o", base / "shards", "--shard-size", "1GB") < 1.0e9
    files = sorted((base / "shards").glob("*.safetensors"))
    assert len(files) >= 6 and all(f.stat().st_size <= 1.001e9 for f in files)
    names = set()
    for f in files:
        with safe_open(f, "pt") as file:
            names |= set(file.keys())
    assert names == set(shapes)
    assert run("convert", base / "shards", "-o", base / "archive", "--format", "bitmask") < 1.0e9
    assert sum(f.stat().st_size for f in (base / "archive").glob("*.safetensors")) < at / 15
    shutil.rmtree(base / "shards")
    # GGUF permutes q and k and rounds, one tensor of 131 million weights at a time
    assert run("convert", base / "archive", "-o", base / "big.gguf", "--dtype", "q8_0") < 2.0e9
    assert run("inspect", base / "big.gguf", "--json") < 2.0e9
