"""Conversions between Hugging Face folders, GGUF files and sparse archives: nothing is lost where the dtypes allow; the gguf package,
safetensors and transformers judge what was written."""
import json
import pathlib
import shutil
import subprocess
import tempfile

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

import tiny_model
from freelunch_command import command, run, tensors


def refuse(code, named, *arguments):
    result = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == code and named in result.stderr.splitlines()[-1], f"{arguments}: exit {result.returncode}\n{result.stderr}"


def same(a, b):
    """Bit for bit: a negative zero is not a zero."""
    assert a.keys() == b.keys(), a.keys() ^ b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape, (name, a[name].dtype, b[name].dtype)
        assert a[name].contiguous().view(torch.uint8).equal(b[name].contiguous().view(torch.uint8)), name


def gguf_tensors(*paths):
    result = {}
    for path in paths:
        for t in gguf.GGUFReader(path).tensors:
            result[t.name] = (t.tensor_type.name, gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32).reshape(t.shape[::-1].tolist()))
    return result


def metadata(path):
    reader = gguf.GGUFReader(path)
    return {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")}


def prune(folder, out, negative_zeros=False):
    """Half of each matrix, as a mask by multiplication or by assignment leaves it."""
    shutil.copytree(folder, out)
    for path in pathlib.Path(out).glob("*.safetensors"):
        pruned = load_file(path)
        for name, t in pruned.items():
            if "_proj" in name and t.dim() == 2:
                mask = torch.rand(t.shape, generator=torch.Generator().manual_seed(len(name))) < 0.5
                pruned[name] = t * ~mask if negative_zeros else t.masked_fill(mask, 0)
            elif t.dim() == 1:  # norms start at 1 and biases at 0: what moves them must show
                pruned[name] = t + torch.randn(t.shape, generator=torch.Generator().manual_seed(len(name))).to(t.dtype) / 8
        save_file(pruned, path, metadata={"format": "pt"})
    return out


llama3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)
with tempfile.TemporaryDirectory() as temporary:
    base = pathlib.Path(temporary)
    model = tiny_model.make(base / "f32")
    variants = {"f32": {}, "bf16": dict(dtype=torch.bfloat16), "f16-tied": dict(dtype=torch.float16, tie_word_embeddings=True),
                "biases": dict(dtype=torch.bfloat16, attention_bias=True, mlp_bias=True), "rope": dict(dtype=torch.bfloat16, rope_scaling=llama3, rope_theta=500000.0),
                "qwen2": dict(dtype=torch.bfloat16, classes=(Qwen2Config, Qwen2ForCausalLM)), "sharded": dict(dtype=torch.bfloat16, max_shard_size="100KB")}
    sample = tiny_model.text(200, seed=3) + "é日😀 <|endoftext|> 123"
    for name, overrides in variants.items():
        if name != "f32":
            tiny_model.make(base / name, **overrides)
        folder = prune(base / name, base / f"{name}-pruned")
        run("convert", folder, "-o", base / f"{name}.gguf")
        run("convert", base / f"{name}.gguf", "-o", base / f"{name}-back")
        start, back = tensors(folder), tensors(base / f"{name}-back")
        if "tied" in name:
            start.pop("lm_head.weight", None)
        same(start, back)
        ids = torch.arange(60)[None]
        with torch.no_grad():
            logits = [AutoModelForCausalLM.from_pretrained(f, dtype=torch.float32)(ids).logits for f in (folder, base / f"{name}-back")]
        assert torch.equal(*logits), name
        assert AutoTokenizer.from_pretrained(base / f"{name}-back")(sample).input_ids == AutoTokenizer.from_pretrained(folder)(sample).input_ids
        run("convert", folder, "-o", base / f"{name}-archive", "--format", "bitmask")
        run("convert", base / f"{name}-archive", "-o", base / f"{name}-dense")
        same(tensors(folder), tensors(base / f"{name}-dense"))
        for path in folder.glob("*"):  # the same files with the same bytes
            if path.name != "config.json":
                if path.name == "model.safetensors.index.json":
                    assert json.loads(path.read_text())["weight_map"] == json.loads((base / f"{name}-dense" / path.name).read_text())["weight_map"]
                elif path.suffix != ".safetensors":
                    assert path.read_bytes() == (base / f"{name}-dense" / path.name).read_bytes(), path.name
        assert json.loads((folder / "config.json").read_text()) == json.loads((base / f"{name}-dense" / "config.json").read_text())
        # from one foreign format to the other and back
        run("convert", base / f"{name}.gguf", "-o", base / f"{name}-archive-of-gguf", "--format", "bitmask")
        run("convert", base / f"{name}-archive-of-gguf", "-o", base / f"{name}-again.gguf")
        first, again = gguf_tensors(base / f"{name}.gguf"), gguf_tensors(base / f"{name}-again.gguf")
        assert first.keys() == again.keys() and all(first[k][0] == again[k][0] and (first[k][1] == again[k][1]).all() for k in first)
        run("convert", base / f"{name}.gguf", "-o", base / f"{name}-copy.gguf")
        assert (base / f"{name}.gguf").read_bytes() == (base / f"{name}-copy.gguf").read_bytes()
        print(f"{name}: GGUF, archive and folder hold the same bits")

    # the layout: as llama.cpp's converter writes it, rows of q and k permuted
    tiny_model.write_gguf(base / "theirs.gguf", base / "f32", model)
    run("convert", base / "f32", "-o", base / "ours.gguf")
    ours, theirs = gguf_tensors(base / "ours.gguf"), gguf_tensors(base / "theirs.gguf")
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert (ours[name][1] == theirs[name][1]).all(), name
    mine, kept = metadata(base / "ours.gguf"), metadata(base / "theirs.gguf")
    for key, value in kept.items():
        assert key in mine and (np.isclose(mine[key], value) if isinstance(value, float) else mine[key] == value), (key, mine.get(key), value)
    # metadata of a GGUF is kept, types included, and quantised tensors with their bytes
    run("convert", base / "theirs.gguf", "-o", base / "copied.gguf")
    copied = metadata(base / "copied.gguf")
    copied.pop("general.file_type")
    assert copied == kept and all((gguf_tensors(base / "copied.gguf")[n][1] == theirs[n][1]).all() for n in theirs)
    print("GGUF: the tensors and metadata of the gguf package's file")

    # dtypes: as the gguf package quantises, zeros exact
    f32 = tensors(base / "f32-pruned")
    run("convert", base / "f32-pruned", "-o", base / "plain.gguf")
    plain = gguf_tensors(base / "plain.gguf")
    for dtype in ("f32", "f16", "bf16", "q8_0"):
        run("convert", base / "f32-pruned", "-o", base / f"to-{dtype}.gguf", "--dtype", dtype)
        kind = gguf.GGMLQuantizationType[dtype.upper()]
        for name, (got_kind, got) in gguf_tensors(base / f"to-{dtype}.gguf").items():
            wanted = plain[name][1]
            assert got_kind == (dtype.upper() if wanted.ndim == 2 else "F32"), (name, got_kind)
            if wanted.ndim == 2:
                expected = gguf.quants.dequantize(gguf.quants.quantize(wanted, kind), kind).astype(np.float32).reshape(wanted.shape)
                assert (got == expected).all(), (dtype, name)
                assert (got[wanted == 0] == 0).all()
        if dtype != "q8_0":
            run("convert", base / "f32-pruned", "-o", base / f"hf-{dtype}", "--dtype", dtype)
            want = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[dtype]
            same({k: v.to(want) for k, v in f32.items()}, tensors(base / f"hf-{dtype}"))
            loaded = AutoModelForCausalLM.from_pretrained(base / f"hf-{dtype}", dtype="auto")
            assert next(loaded.parameters()).dtype == want
    print("dtypes: F32, F16, BF16 and Q8_0 equal the gguf package's")

    # negative zeros: an archive keeps them as values unless told not to
    masked = prune(base / "bf16", base / "masked", negative_zeros=True)
    run("convert", masked, "-o", base / "masked-archive", "--format", "bitmask")
    run("convert", base / "masked-archive", "-o", base / "masked-back")
    same(tensors(masked), tensors(base / "masked-back"))
    run("convert", masked, "-o", base / "plain-archive", "--format", "bitmask", "--plain-zeros")
    run("convert", base / "plain-archive", "-o", base / "plain-back")
    for name, t in tensors(base / "plain-back").items():
        assert torch.equal(t, tensors(masked)[name]) and not (torch.signbit(t) & (t == 0)).any(), name
    size = lambda folder: sum(p.stat().st_size for p in folder.glob("*.safetensors"))
    assert size(base / "plain-archive") < size(base / "masked-archive") < size(masked)
    print("negative zeros: kept, or made plain")

    # shards: bounded, indexed, loaded by transformers; split GGUF files
    for format in ("hf", "bitmask"):
        out = base / f"shards-{format}"
        run("convert", base / "bf16-pruned", "-o", out, "--format", format, "--shard-size", "50KB")
        index = json.loads((out / "model.safetensors.index.json").read_text())
        files = sorted(out.glob("*.safetensors"))
        assert len(files) > 2 and files[0].name == f"model-00001-of-{len(files):05}.safetensors"
        held = {name: p.name for p in files for name in load_file(p)}
        assert index["weight_map"] == held and index["metadata"]["total_size"] == sum(t.nbytes for p in files for t in load_file(p).values())
        assert all(sum(t.nbytes for t in load_file(p).values()) <= 50000 or len(load_file(p)) in (1, 4) for p in files)
        run("convert", out, "-o", base / f"whole-{format}")
        same(tensors(base / "bf16-pruned"), tensors(base / f"whole-{format}"))
        run("convert", out, "-o", base / f"one-{format}", "--shard-size", "1GB")
        assert [p.name for p in (base / f"one-{format}").glob("model*")] == ["model.safetensors"]
    AutoModelForCausalLM.from_pretrained(base / "shards-hf")
    run("convert", base / "bf16-pruned", "-o", base / "split.gguf", "--shard-size", "50KB")
    parts = sorted(base.glob("split-*-of-*.gguf"))
    assert len(parts) > 2 and not (base / "split.gguf").exists()
    assert [metadata(p)["split.no"] for p in parts] == list(range(len(parts))) and metadata(parts[0])["split.tensors.count"] == len(gguf_tensors(*parts))
    run("convert", parts[1], "-o", base / "joined.gguf")
    run("convert", parts[0], "-o", base / "joined-folder")
    assert (base / "joined.gguf").read_bytes() == (base / "bf16.gguf").read_bytes()
    same(tensors(base / "bf16-pruned"), tensors(base / "joined-folder"))
    print("shards: within the limit, indexed, joined again")

    # every command takes an archive; inspect tells formats and sizes
    (base / "test.txt").write_text(tiny_model.text(3000, seed=1))
    measure = lambda m: json.loads(run("perplexity", m, "--text", base / "test.txt", "--length", 64, "--compute", "fp32", "--json"))["perplexity"]
    assert measure(base / "bf16-archive") == measure(base / "bf16-pruned")
    seen = {m: json.loads(run("inspect", base / m, "--json")) for m in ("bf16-pruned", "bf16-archive", "bf16.gguf")}
    assert [seen[m]["format"] for m in seen] == ["hugging-face", "bitmask", "gguf"]
    archive = sum(t.nbytes for t in tensors(base / "bf16-archive").values())
    assert all(s["archive_bytes"] == archive for s in seen.values()) and seen["bf16-archive"]["bytes"] == archive
    assert seen["bf16-pruned"]["bytes"] == sum(t.nbytes for t in tensors(base / "bf16-pruned").values())
    zeros = [{t["name"]: t["zeros"] for t in s["tensors"]} for s in seen.values()]
    assert zeros[0] == zeros[1] == zeros[2]

    # compress writes every format; what is saved is the same model
    (base / "train.txt").write_text(tiny_model.text(6000))
    compress = lambda out, *rest: run("compress", base / "bf16", "-o", base / out, "--calibration", base / "train.txt", "--samples", 8, "--length", 32, "--repair", "solve", "--compute", "fp32",
                                      "--threads", 2, "--evaluate", base / "test.txt", "--json", *rest)
    reports = {f: json.loads(compress(f"compressed-{f}", "--format", f)) for f in ("hf", "bitmask", "gguf")}
    assert len({r["figures"]["repaired"]["perplexity"] for r in reports.values()}) == 1
    run("convert", base / "compressed-bitmask", "-o", base / "compressed-dense")
    run("convert", base / "compressed-gguf", "-o", base / "compressed-gguf-dense")
    expected = tensors(base / "compressed-hf")
    same(expected, tensors(base / "compressed-dense"))
    same(expected, tensors(base / "compressed-gguf-dense"))
    assert not any((torch.signbit(t) & (t == 0)).any() for n, t in expected.items() if "_proj" in n)
    print("compress: the same model in every format")

    # what cannot be done
    dense = base / "bf16"
    refuse(2, "q8_0", "convert", dense, "-o", base / "no", "--dtype", "q8_0")
    refuse(2, ".gguf", "convert", dense, "-o", base / "no", "--format", "gguf")
    refuse(2, ".gguf", "convert", dense, "-o", base / "no.gguf", "--format", "bitmask")
    refuse(2, "--overwrite", "convert", dense, "-o", base / "ours.gguf")
    refuse(2, "--overwrite", "convert", dense, "-o", base / "split.gguf", "--shard-size", "1GB")
    run("convert", base / "f32", "-o", base / "bf16.gguf", "--overwrite")
    (base / "folder.gguf").mkdir()
    refuse(2, "is a folder", "convert", dense, "-o", base / "folder.gguf")
    refuse(2, "size", "convert", dense, "-o", base / "no", "--shard-size", "5XB")
    refuse(2, "format", "convert", dense, "-o", base / "no", "--format", "onnx")
    refuse(2, "--format gguf", "compress", dense, "-o", base / "no.gguf", "--criterion", "magnitude", "--repair", "none")
    large = load_file(dense / "model.safetensors")
    large["model.layers.1.mlp.up_proj.weight"][3, 3] = 1e6
    shutil.copytree(dense, base / "large")
    save_file(large, base / "large/model.safetensors", metadata={"format": "pt"})
    refuse(5, "model.layers.1.mlp.up_proj.weight", "convert", base / "large", "-o", base / "no.gguf", "--dtype", "f16")
    config = json.loads((dense / "config.json").read_text())
    shutil.copytree(dense, base / "gptq")
    (base / "gptq/config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq", "bits": 4}}))
    refuse(4, "gptq", "convert", base / "gptq", "-o", base / "no")
    tokenizer = json.loads((dense / "tokenizer.json").read_text())
    shutil.copytree(dense, base / "prefix")
    tokenizer["pre_tokenizer"]["add_prefix_space"] = True
    (base / "prefix/tokenizer.json").write_text(json.dumps(tokenizer))
    refuse(4, "pre-tokenizer", "convert", base / "prefix", "-o", base / "no.gguf")
    assert not list(base.glob("no*"))
    print("refusals: one line, nothing written")
