"""A model above 5 GB is converted in bounded memory.

Its file is sparse and reads as zeros, so that only what is written takes space on the disk.
"""
import json
import os
import shutil
import struct
import subprocess
import tempfile
import time
import types
from pathlib import Path

import pytest
from freelunch_command import command

pytestmark = pytest.mark.slow
WIDTH, INTERMEDIATE, BLOCKS, VOCABULARY = 4096, 11008, 12, 32000


def shapes():
    result = {"model.embed_tokens.weight": (VOCABULARY, WIDTH), "model.norm.weight": (WIDTH,),
              "lm_head.weight": (VOCABULARY, WIDTH)}
    for block in range(BLOCKS):
        prefix = f"model.layers.{block}."
        result |= {prefix + f"self_attn.{m}_proj.weight": (WIDTH, WIDTH) for m in "qkvo"}
        result |= {prefix + f"mlp.{m}_proj.weight": (INTERMEDIATE, WIDTH) for m in ("gate", "up")}
        result |= {prefix + "mlp.down_proj.weight": (WIDTH, INTERMEDIATE),
                   prefix + "input_layernorm.weight": (WIDTH,), prefix + "post_attention_layernorm.weight": (WIDTH,)}
    return result


@pytest.fixture(scope="module")
def large():
    """big: the folder; base: where to write; bytes: of its tensors."""
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path: it goes away however the tests end
        base = Path(folder)
        if shutil.disk_usage(base).free < 16e9:
            pytest.skip(f"{base} has less than 16 GB of free disk")
        big = base / "big"
        big.mkdir()
        config = dict(model_type="llama", architectures=["LlamaForCausalLM"], vocab_size=VOCABULARY, hidden_size=WIDTH,
                      intermediate_size=INTERMEDIATE, num_hidden_layers=BLOCKS, num_attention_heads=32,
                      torch_dtype="bfloat16")
        (big / "config.json").write_text(json.dumps(config))
        header, at = {}, 0
        for name, shape in shapes().items():
            size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
            header[name] = dict(dtype="BF16", shape=shape, data_offsets=[at, at + size])
            at += size
        text = json.dumps(header).encode()
        with (big / "model.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + at)
        assert at > 5e9
        yield types.SimpleNamespace(base=base, big=big, bytes=at)


def peak_of(*arguments):
    """Runs the command; returns the peak of its resident memory in bytes."""
    start = time.time()
    process = subprocess.Popen([command(), *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, error.decode()
    print(f"{arguments[0]}: {time.time() - start:.0f} s, peak memory {usage.ru_maxrss * 1024 / 1e9:.2f} GB")
    return usage.ru_maxrss * 1024


def converted(large, source, name, *options):
    """Converts once and says what it took: (path, peak bytes)."""
    path = large.base / name
    return path, peak_of("convert", source, "-o", path, *options)


@pytest.fixture(scope="module")
def shards(large):
    return converted(large, large.big, "shards", "--shard-size", "1GB")


@pytest.fixture(scope="module")
def archive(large, shards):
    return converted(large, shards[0], "archive", "--format", "bitmask")


@pytest.fixture(scope="module")
def gguf(large, archive):
    return converted(large, archive[0], "big.gguf", "--dtype", "q8_0")


def test_shards_hold_every_tensor_and_take_less_than_a_gigabyte_of_memory(shards):
    from safetensors import safe_open

    folder, peak = shards
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) >= 6 and all(f.stat().st_size <= 1.001e9 for f in files)
    names = set()
    for f in files:
        with safe_open(f, "pt") as file:
            names |= set(file.keys())
    assert names == set(shapes()) and peak < 1.0e9


def test_an_archive_of_zeros_is_small_and_takes_less_than_a_gigabyte_of_memory(archive, large):
    folder, peak = archive
    assert sum(f.stat().st_size for f in folder.glob("*.safetensors")) < large.bytes / 15
    assert peak < 1.0e9


def test_gguf_takes_the_memory_of_one_tensor(gguf):
    """q and k are permuted and all is rounded, one tensor of 131 million weights at a time."""
    assert gguf[1] < 2.0e9


def test_inspect_takes_the_memory_of_one_tensor(gguf):
    assert peak_of("inspect", gguf[0], "--json") < 2.0e9
