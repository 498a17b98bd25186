"""Whole runs through the command on a model of 100,000 weights; transformers and safetensors judge what comes out."""
import hashlib
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import torch
import torch.nn.functional as F
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

import tiny_model

command = sys.argv[1]


def run(*arguments):
    result = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == 0, f"{arguments}: exit {result.returncode}\n{result.stderr}"
    return result.stdout


def tensors(folder):
    result = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            result.update({name: file.get_tensor(name) for name in file.keys()})
    return result


def perplexity(folder, text, length, first=1, bos=None):
    """The protocol in a dozen lines of PyTorch."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt").input_ids[0]
    losses = []
    for i in range(len(ids) // length):
        window = ids[i * length:(i + 1) * length].clone()
        with torch.no_grad():
            logits = model(window[None]).logits[0]
        losses.append(F.cross_entropy(logits[first - 1:-1], window[first:]).item())
    return math.exp(sum(losses) / len(losses)), len(losses)


def is_matrix(name):
    return "_proj" in name


with tempfile.TemporaryDirectory() as temporary:
    base = pathlib.Path(temporary)
    model = tiny_model.make(base / "dense")
    (base / "train.txt").write_text(tiny_model.text(6000))
    (base / "test.txt").write_text(tiny_model.text(3000, seed=1))
    common = ["--calibration", base / "train.txt", "--samples", 16, "--length", 64, "--held-out", 4, "--evaluate", base / "test.txt", "--compute", "fp32", "--threads", 2]

    # perplexity, both protocols, against PyTorch
    for protocol, first in (("papers", 1), ("llama.cpp", 33)):
        got = json.loads(run("perplexity", base / "dense", "--text", base / "test.txt", "--length", 64, "--protocol", protocol, "--compute", "fp32", "--json"))
        expected, windows = perplexity(base / "dense", (base / "test.txt").read_text(), 64, first)
        assert abs(got["perplexity"] / expected - 1) < 1e-4 and got["windows"] == windows and got["tokens"] == 64 * windows and got["length"] == 64, (got, expected)
    in_bf16 = json.loads(run("perplexity", base / "dense", "--text", base / "test.txt", "--length", 64, "--compute", "bf16", "--json"))
    in_fp32 = json.loads(run("perplexity", base / "dense", "--text", base / "test.txt", "--length", 64, "--compute", "fp32", "--json"))
    assert abs(in_bf16["perplexity"] / in_fp32["perplexity"] - 1) < 0.02
    print("perplexity: both protocols equal PyTorch's")

    # compress: every repair, exact zeros, a folder that transformers loads and scores alike
    dense = tensors(base / "dense")
    for name, options in {"none": ["--repair", "none"], "solve": ["--repair", "solve"], "solve,half,model": ["--repair", "solve,half,model"], "block": ["--repair", "block", "--loss", "cosine"],
                          "half next-norm": ["--repair", "half", "--loss", "next-norm"], "auto": [], "model ce": ["--repair", "model", "--model-loss", "ce"],
                          "blend": ["--repair", "solve", "--blend", "0,0.5,1"], "crop": ["--repair", "solve", "--windows", "crop"]}.items():
        out = base / name.replace(" ", "_").replace(",", "_")
        stdout = run("compress", base / "dense", "--output", out, "--sparsity", 0.5, *common, *options, "--json")
        report = json.loads(stdout)  # standard output holds the JSON and nothing else
        saved = tensors(out)
        assert set(saved) == set(dense) and json.loads((out / "freelunch.json").read_text()) == report
        for key, tensor in saved.items():
            assert tensor.shape == dense[key].shape and tensor.dtype == dense[key].dtype
            if is_matrix(key):
                assert (tensor == 0).sum().item() == tensor.shape[0] * (tensor.shape[1] // 2), key
                assert ((tensor == 0).sum(1) == tensor.shape[1] // 2).all(), f"{key}: wanda prunes each row alike"
            elif "norm" not in key:
                assert torch.equal(tensor, dense[key]), key
        figures = report["figures"]
        assert abs(figures["repaired"]["perplexity"] / perplexity(out, (base / "test.txt").read_text(), 128)[0] - 1) < 0.005, name
        regions = report["regions"]
        assert all(r["held_after"] <= r["held_before"] for r in regions), name
        if name not in ("none", "model ce"):  # a random model on random text has little to learn from the text itself
            assert sum(r["held_after"] for r in regions) < 0.99 * sum(r["held_before"] for r in regions), name
        assert (out / "report.html").stat().st_size > 100000
        print(f"compress {name}: dense {figures['dense']['perplexity']:.3f}, pruned {figures['pruned']['perplexity']:.3f}, repaired {figures['repaired']['perplexity']:.3f}")

    # N:M, and what inspect finds in it
    run("compress", base / "dense", "--output", base / "nm", "--pattern", "2:4", "--repair", "solve,half", *common)
    for key, tensor in tensors(base / "nm").items():
        if is_matrix(key):
            assert ((tensor != 0).view(-1, 4).sum(1) == 2).all(), key
    found = json.loads(run("inspect", base / "nm", "--json"))
    assert found["sparsity"]["matrices"] == 0.5 and all(t["pattern"] == "2:4" for t in found["tensors"] if is_matrix(t["name"]))
    assert found["architecture"] == "llama" and found["parameters"] == sum(p.numel() for p in dense.values())
    # magnitude needs no text
    run("compress", base / "dense", "--output", base / "magnitude", "--criterion", "magnitude", "--repair", "none", "--sparsity", 0.7)
    kept = {k: (v != 0).sum().item() for k, v in tensors(base / "magnitude").items() if is_matrix(k)}
    assert all(n == dense[k].numel() - math.floor(0.7 * dense[k].numel()) for k, n in kept.items())
    print("patterns: exact")

    # the same command twice gives the same bytes
    digest = lambda folder: hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    run("compress", base / "dense", "--output", base / "again", "--repair", "solve,half,model", *common)
    assert digest(base / "again") == digest(base / "solve_half_model")
    run("compress", base / "dense", "--output", base / "again", "--overwrite", "--repair", "solve,half,model", "--seed", 1, *common)
    assert digest(base / "again") != digest(base / "solve_half_model")
    print("determinism: same bytes, another seed others")

    # shards in, shards out; bf16 in, bf16 out
    tiny_model.make(base / "sharded", max_shard_size="100KB", dtype=torch.bfloat16)
    assert len(list((base / "sharded").glob("model-*.safetensors"))) > 1
    run("compress", base / "sharded", "--output", base / "sharded-out", "--repair", "solve", *common)
    names = lambda folder: sorted(p.name for p in folder.glob("model*"))
    assert names(base / "sharded") == names(base / "sharded-out")
    assert all(t.dtype == torch.bfloat16 for t in tensors(base / "sharded-out").values())
    AutoModelForCausalLM.from_pretrained(base / "sharded-out")
    print("shards: kept")

    # GGUF: converted folders give transformers' logits of the original
    tiny_model.write_gguf(base / "m.gguf", base / "dense", model)
    run("convert", base / "m.gguf", "--output", base / "converted")
    converted = AutoModelForCausalLM.from_pretrained(base / "converted", dtype=torch.float32)
    ids = torch.arange(50)[None]
    with torch.no_grad():
        difference = (converted(ids).logits - model(ids).logits).abs().max() / model(ids).logits.abs().max()
    assert difference < 1e-2, difference  # norms are saved in bf16
    sample = (base / "test.txt").read_text()[:2000] + "é日😀 <|endoftext|>"
    assert AutoTokenizer.from_pretrained(base / "converted")(sample).input_ids == AutoTokenizer.from_pretrained(base / "dense")(sample).input_ids
    from_gguf = json.loads(run("perplexity", base / "m.gguf", "--text", base / "test.txt", "--length", 64, "--compute", "fp32", "--json"))
    assert abs(from_gguf["perplexity"] / in_fp32["perplexity"] - 1) < 1e-4
    print("GGUF: converted, same logits, ids and perplexity")
