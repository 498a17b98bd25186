"""Conversions between Hugging Face folders, GGUF files and sparse archives lose nothing that the dtypes can hold.

The gguf package, safetensors and transformers judge the result.
"""
import functools
import json
import pathlib
import shutil

import gguf
import numpy as np
import pytest
import tiny_model
import torch
from freelunch_command import refusal, run, run_json, tensors
from gguf_files import expect_same_gguf, gguf_tensors, metadata
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=8192)
VARIANTS = {
    "f32": {},
    "bf16": dict(dtype=torch.bfloat16),
    "f16-tied": dict(dtype=torch.float16, tie_word_embeddings=True),
    "biases": dict(dtype=torch.bfloat16, attention_bias=True, mlp_bias=True),
    "rope": dict(dtype=torch.bfloat16, rope_scaling=LLAMA3, rope_theta=500000.0),
    "qwen2": dict(dtype=torch.bfloat16, classes=(Qwen2Config, Qwen2ForCausalLM)),
    "sharded": dict(dtype=torch.bfloat16, max_shard_size="100KB"),
}
SAMPLE = tiny_model.text(200, seed=3) + "é日😀 <|endoftext|> 123"


def expect_same(a, b):
    """Bit for bit: a negative zero is not a zero."""
    assert a.keys() == b.keys(), a.keys() ^ b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape, name
        assert a[name].contiguous().view(torch.uint8).equal(b[name].contiguous().view(torch.uint8)), name


def prune(folder, out, negative_zeros=False):
    """Half of each matrix, as a mask by multiplication or by assignment leaves it."""
    shutil.copytree(folder, out)
    for path in pathlib.Path(out).glob("*.safetensors"):
        pruned = load_file(path)
        for name, t in pruned.items():
            generator = torch.Generator().manual_seed(len(name))
            if "_proj" in name and t.dim() == 2:
                mask = torch.rand(t.shape, generator=generator) < 0.5
                pruned[name] = t * ~mask if negative_zeros else t.masked_fill(mask, 0)
            elif t.dim() == 1:  # norms start at 1 and biases at 0: what changes them must show
                pruned[name] = t + torch.randn(t.shape, generator=generator).to(t.dtype) / 8
        save_file(pruned, path, metadata={"format": "pt"})
    return out


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("convert")


@pytest.fixture(scope="module")
def variant(base):
    """name -> the folder of a tiny model, made once."""

    @functools.cache
    def make(name):
        tiny_model.make(base / name, **VARIANTS[name])
        return base / name

    return make


@pytest.fixture(scope="module")
def pruned(base, variant):
    """name -> the folder of a pruned tiny model, made once."""
    return functools.cache(lambda name: prune(variant(name), base / f"{name}-pruned"))


@pytest.fixture(scope="module")
def convert(base):
    """(source, name of the result, options) -> its path, converted once."""

    @functools.cache
    def convert(source, name, *options):
        run("convert", source, "-o", base / name, *options)
        return base / name

    return convert


@pytest.fixture(scope="module")
def as_gguf(pruned, convert):
    return lambda name: convert(pruned(name), f"{name}.gguf")


@pytest.fixture(scope="module")
def from_gguf(as_gguf, convert):
    return lambda name: convert(as_gguf(name), f"{name}-back")


@pytest.fixture(scope="module")
def as_archive(pruned, convert):
    return lambda name: convert(pruned(name), f"{name}-archive", "--format", "bitmask")


@pytest.fixture(scope="module")
def from_archive(as_archive, convert):
    return lambda name: convert(as_archive(name), f"{name}-dense")


@pytest.mark.parametrize("name", VARIANTS)
def test_gguf_and_back_keeps_every_bit(name, pruned, from_gguf):
    start = tensors(pruned(name))
    if "tied" in name:
        start.pop("lm_head.weight", None)
    expect_same(start, tensors(from_gguf(name)))


@pytest.mark.parametrize("name", VARIANTS)
def test_gguf_and_back_keeps_logits_and_ids_in_transformers(name, pruned, from_gguf):
    folders = pruned(name), from_gguf(name)
    with torch.no_grad():
        logits = [AutoModelForCausalLM.from_pretrained(f, dtype=torch.float32)(torch.arange(60)[None]).logits
                  for f in folders]
    assert torch.equal(*logits)
    first, second = (AutoTokenizer.from_pretrained(f)(SAMPLE).input_ids for f in folders)
    assert first == second


@pytest.mark.parametrize("name", VARIANTS)
def test_an_archive_and_back_keeps_every_bit_and_file(name, pruned, from_archive):
    folder, back = pruned(name), from_archive(name)
    expect_same(tensors(folder), tensors(back))
    for path in folder.glob("*"):
        if path.name == "config.json":
            assert json.loads(path.read_text()) == json.loads((back / path.name).read_text())
        elif path.name == "model.safetensors.index.json":
            maps = [json.loads((f / path.name).read_text())["weight_map"] for f in (folder, back)]
            assert maps[0] == maps[1]
        elif path.suffix != ".safetensors":
            assert path.read_bytes() == (back / path.name).read_bytes(), path.name


@pytest.mark.parametrize("name", VARIANTS)
def test_gguf_to_an_archive_and_back_keeps_types_and_values(name, as_gguf, convert):
    archive = convert(as_gguf(name), f"{name}-archive-of-gguf", "--format", "bitmask")
    expect_same_gguf(as_gguf(name), convert(archive, f"{name}-again.gguf"))


@pytest.mark.parametrize("name", VARIANTS)
def test_gguf_to_gguf_is_a_copy(name, as_gguf, convert):
    assert as_gguf(name).read_bytes() == convert(as_gguf(name), f"{name}-copy.gguf").read_bytes()


@pytest.fixture(scope="module")
def theirs(base, dense_model):
    """The model in fp32 as llama.cpp's converter writes it: rows of q and k permuted."""
    tiny_model.write_gguf(base / "theirs.gguf", *dense_model)
    return base / "theirs.gguf"


def test_gguf_has_the_layout_of_llama_cpp(theirs, dense, convert):
    expected, got = gguf_tensors(theirs), gguf_tensors(convert(dense, "ours.gguf"))
    assert expected.keys() == got.keys()
    for name in expected:
        assert (expected[name][1] == got[name][1]).all(), name


def test_gguf_has_the_metadata_of_llama_cpp(theirs, dense, convert):
    ours = metadata(convert(dense, "ours.gguf"))
    for key, value in metadata(theirs).items():
        assert key in ours
        assert np.isclose(ours[key], value) if isinstance(value, float) else ours[key] == value, key


def test_a_copy_of_gguf_keeps_metadata_and_tensors(theirs, convert):
    copy = convert(theirs, "copied.gguf")
    copied = metadata(copy)
    copied.pop("general.file_type")
    assert copied == metadata(theirs)
    expected, got = gguf_tensors(theirs), gguf_tensors(copy)
    assert all((got[name][1] == expected[name][1]).all() for name in expected)


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "q8_0"])
def test_gguf_rounds_as_the_gguf_package_does_and_keeps_zeros(dtype, pruned, convert):
    plain = gguf_tensors(convert(pruned("f32"), "plain.gguf"))
    kind = gguf.GGMLQuantizationType[dtype.upper()]
    for name, (got_kind, got) in gguf_tensors(convert(pruned("f32"), f"to-{dtype}.gguf", "--dtype", dtype)).items():
        wanted = plain[name][1]
        assert got_kind == (dtype.upper() if wanted.ndim == 2 else "F32"), name
        if wanted.ndim == 2:
            rounded = gguf.quants.dequantize(gguf.quants.quantize(wanted, kind), kind).astype(np.float32)
            assert (got == rounded.reshape(wanted.shape)).all(), name
            assert (got[wanted == 0] == 0).all(), name


@pytest.mark.parametrize("dtype, wanted", [("f32", torch.float32), ("f16", torch.float16), ("bf16", torch.bfloat16)],
                         ids=["f32", "f16", "bf16"])
def test_a_folder_rounds_as_pytorch_does(dtype, wanted, pruned, convert):
    out = convert(pruned("f32"), f"hf-{dtype}", "--dtype", dtype)
    expect_same({k: v.to(wanted) for k, v in tensors(pruned("f32")).items()}, tensors(out))
    assert next(AutoModelForCausalLM.from_pretrained(out, dtype="auto").parameters()).dtype == wanted


@pytest.fixture(scope="module")
def masked(base, variant):
    """Pruned by multiplication: half of its zeros are negative."""
    return prune(variant("bf16"), base / "masked", negative_zeros=True)


def size(folder):
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def test_an_archive_keeps_negative_zeros(masked, convert):
    archive = convert(masked, "masked-archive", "--format", "bitmask")
    expect_same(tensors(masked), tensors(convert(archive, "masked-back")))


def test_plain_zeros_makes_a_smaller_archive_without_negative_zeros(masked, convert):
    archive = convert(masked, "masked-archive", "--format", "bitmask")
    plain = convert(masked, "plain-archive", "--format", "bitmask", "--plain-zeros")
    expected = tensors(masked)
    for name, t in tensors(convert(plain, "plain-back")).items():
        assert torch.equal(t, expected[name]) and not (torch.signbit(t) & (t == 0)).any(), name
    assert size(plain) < size(archive) < size(masked)


@pytest.mark.parametrize("layout", ["hf", "bitmask"])
def test_shards_are_within_the_limit_indexed_and_joined_again(layout, pruned, convert):
    out = convert(pruned("bf16"), f"shards-{layout}", "--format", layout, "--shard-size", "50KB")
    index = json.loads((out / "model.safetensors.index.json").read_text())
    files = sorted(out.glob("*.safetensors"))
    assert len(files) > 2 and files[0].name == f"model-00001-of-{len(files):05}.safetensors"
    held = {path.name: load_file(path) for path in files}
    assert index["weight_map"] == {name: file for file, content in held.items() for name in content}
    sizes = {file: sum(t.nbytes for t in content.values()) for file, content in held.items()}
    assert index["metadata"]["total_size"] == sum(sizes.values())
    # a tensor, or the four parts of an archived one, may be larger than the limit
    assert all(sizes[file] <= 50000 or len(content) in (1, 4) for file, content in held.items())
    expect_same(tensors(pruned("bf16")), tensors(convert(out, f"whole-{layout}")))
    one = convert(out, f"one-{layout}", "--shard-size", "1GB")
    assert [path.name for path in one.glob("model*")] == ["model.safetensors"]


def test_transformers_loads_shards(pruned, convert):
    shards = convert(pruned("bf16"), "shards-hf", "--format", "hf", "--shard-size", "50KB")
    AutoModelForCausalLM.from_pretrained(shards)


@pytest.fixture(scope="module")
def parts(base, pruned):
    run("convert", pruned("bf16"), "-o", base / "split.gguf", "--shard-size", "50KB")
    return sorted(base.glob("split-*-of-*.gguf"))


def test_split_gguf_files_are_numbered(base, parts):
    assert len(parts) > 2 and not (base / "split.gguf").exists()
    assert [metadata(part)["split.no"] for part in parts] == list(range(len(parts)))
    assert metadata(parts[0])["split.tensors.count"] == len(gguf_tensors(*parts))


def test_split_gguf_files_are_joined_again(parts, pruned, as_gguf, convert):
    assert convert(parts[1], "joined.gguf").read_bytes() == as_gguf("bf16").read_bytes()
    expect_same(tensors(pruned("bf16")), tensors(convert(parts[0], "joined-folder")))


def test_perplexity_of_an_archive_is_that_of_the_folder(pruned, as_archive, evaluation_text):
    options = ["--text", evaluation_text, "--length", 64, "--compute", "fp32"]
    archive, folder = (run_json("perplexity", m, *options) for m in (as_archive("bf16"), pruned("bf16")))
    assert archive["perplexity"] == folder["perplexity"]


def test_inspect_tells_formats_sizes_and_zeros(pruned, as_archive, as_gguf):
    folder, archive, file = (run_json("inspect", m) for m in (pruned("bf16"), as_archive("bf16"), as_gguf("bf16")))
    assert [seen["format"] for seen in (folder, archive, file)] == ["hugging-face", "bitmask", "gguf"]
    packed = sum(t.nbytes for t in tensors(as_archive("bf16")).values())
    assert archive["bytes"] == packed and {s["archive_bytes"] for s in (folder, archive, file)} == {packed}
    assert folder["bytes"] == sum(t.nbytes for t in tensors(pruned("bf16")).values())
    zeros = [{t["name"]: t["zeros"] for t in seen["tensors"]} for seen in (folder, archive, file)]
    assert zeros[0] == zeros[1] == zeros[2]


@pytest.fixture(scope="module")
def compressed(base, variant, train_text, evaluation_text):
    """format -> folder and report of the same run, saved in that format."""

    @functools.cache
    def compress(layout):
        out = base / f"compressed-{layout}"
        report = run_json("compress", variant("bf16"), "-o", out, "--calibration", train_text, "--samples", 8,
                          "--length", 32, "--repair", "solve", "--compute", "fp32", "--threads", 2,
                          "--evaluate", evaluation_text, "--format", layout)
        return out, report

    return compress


@pytest.mark.parametrize("layout", ["bitmask", "gguf"])
def test_compress_saves_the_same_model_in_every_format(layout, compressed, convert):
    (out, report), (folder, expected) = compressed(layout), compressed("hf")
    assert report["figures"]["repaired"]["perplexity"] == expected["figures"]["repaired"]["perplexity"]
    expect_same(tensors(folder), tensors(convert(out, f"compressed-{layout}-dense")))


def test_compress_writes_no_negative_zeros(compressed):
    saved = tensors(compressed("hf")[0])
    assert not any((torch.signbit(t) & (t == 0)).any() for name, t in saved.items() if "_proj" in name)


@pytest.mark.parametrize("out, options, named", [
    ("no", "--dtype q8_0", "q8_0"),
    ("no", "--format gguf", ".gguf"),
    ("no.gguf", "--format bitmask", ".gguf"),
    ("folder.gguf", "", "is a folder"),
    ("no", "--shard-size 5XB", "size"),
    ("no", "--format onnx", "format"),
])
def test_an_output_that_contradicts_the_options_is_refused(out, options, named, variant, tmp_path):
    (tmp_path / "folder.gguf").mkdir()
    assert named in refusal(2, "convert", variant("bf16"), "-o", tmp_path / out, *options.split())
    assert [path.name for path in tmp_path.iterdir()] == ["folder.gguf"]


def test_a_file_that_is_there_is_replaced_only_with_overwrite(variant, convert, tmp_path):
    out = tmp_path / "m.gguf"
    out.write_bytes(b"former")
    assert "--overwrite" in refusal(2, "convert", variant("bf16"), "-o", out)
    assert out.read_bytes() == b"former"
    run("convert", variant("f32"), "-o", out, "--overwrite")
    expect_same_gguf(out, convert(variant("f32"), "f32-dense.gguf"))


def test_parts_of_a_split_file_are_replaced_only_with_overwrite(parts, variant):
    line = refusal(2, "convert", variant("bf16"), "-o", parts[0].with_name("split.gguf"), "--shard-size", "1GB")
    assert "--overwrite" in line


def test_compress_into_gguf_needs_the_format_by_name(variant, tmp_path):
    line = refusal(2, "compress", variant("bf16"), "-o", tmp_path / "no.gguf", "--criterion", "magnitude",
                   "--repair", "none")
    assert "--format gguf" in line and not list(tmp_path.iterdir())


def test_a_weight_beyond_fp16_is_named(variant, tmp_path):
    large = load_file(variant("bf16") / "model.safetensors")
    large["model.layers.1.mlp.up_proj.weight"][3, 3] = 1e6
    shutil.copytree(variant("bf16"), tmp_path / "large")
    save_file(large, tmp_path / "large/model.safetensors", metadata={"format": "pt"})
    line = refusal(5, "convert", tmp_path / "large", "-o", tmp_path / "no.gguf", "--dtype", "f16", alone=False)
    assert "model.layers.1.mlp.up_proj.weight" in line and not list(tmp_path.glob("no*"))


def quantised(folder):
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))


def prefix_space(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"]["add_prefix_space"] = True
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


@pytest.mark.parametrize("change, out, named", [(quantised, "no", "gptq"), (prefix_space, "no.gguf", "pre-tokenizer")],
                         ids=["quantised weights", "tokenizer that GGUF cannot hold"])
def test_what_is_not_supported_is_refused(change, out, named, variant, tmp_path):
    shutil.copytree(variant("bf16"), tmp_path / "model")
    change(tmp_path / "model")
    assert named in refusal(4, "convert", tmp_path / "model", "-o", tmp_path / out, alone=False)
    assert not list(tmp_path.glob("no*"))
