"""Whole runs through the command on a model of 100,000 weights; transformers and safetensors judge what comes out."""
import hashlib
import json
import math
import pathlib
import subprocess
import tempfile

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

import tiny_model
from freelunch_command import command, run, tensors


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
    for name, options in {"none": ["--repair", "none"], "solve": ["--repair", "solve"], "solve,sublayer,model": ["--repair", "solve,sublayer,model"], "block": ["--repair", "block", "--loss", "cosine"],
                          "sublayer next-norm": ["--repair", "sublayer", "--loss", "next-norm"], "auto": [], "model ce": ["--repair", "model", "--model-loss", "ce"],
                          "blend": ["--repair", "solve", "--blend", "0,0.5,1"], "crop": ["--repair", "solve", "--windows", "crop"],
                          "matrix": ["--repair", "matrix"], "two blocks": ["--repair", "blocks:2", "--learning-rate", "5e-4"], "lora": ["--repair", "lora"], "bias-norm": ["--repair", "bias-norm"],
                          "matrix dense": ["--repair", "matrix", "--propagation", "dense", "--statistics", "dense"], "sublayer dense": ["--repair", "sublayer", "--propagation", "dense"],
                          "sublayer sparse": ["--repair", "sublayer", "--propagation", "sparse"], "matrix sparse": ["--repair", "matrix", "--propagation", "sparse"],
                          "solve dense": ["--repair", "solve", "--statistics", "dense"], "sensitivity": ["--repair", "solve", "--sensitivity", "kronecker"],
                          "ria": ["--criterion", "ria", "--repair", "sublayer"], "sparsegpt": ["--criterion", "sparsegpt", "--group", "row", "--repair", "none"],
                          "sparsegpt solve": ["--criterion", "sparsegpt", "--group", "row", "--repair", "solve"]}.items():
        out = base / name.replace(" ", "_").replace(",", "_")
        stdout = run("compress", base / "dense", "--output", out, "--sparsity", 0.5, *common, *options, "--json")
        report = json.loads(stdout)  # standard output holds the JSON and nothing else
        saved = tensors(out)
        assert set(saved) == set(dense) and json.loads((out / "freelunch.json").read_text()) == report
        for key, tensor in saved.items():
            assert tensor.shape == dense[key].shape and tensor.dtype == dense[key].dtype
            if is_matrix(key):
                assert (tensor == 0).sum().item() == tensor.shape[0] * (tensor.shape[1] // 2), key
                assert ((tensor == 0).sum(1) == tensor.shape[1] // 2).all(), f"{key}: each row alike"
            elif "norm" not in key:
                assert torch.equal(tensor, dense[key]), key
        figures = report["figures"]
        assert abs(figures["repaired"]["perplexity"] / perplexity(out, (base / "test.txt").read_text(), 128)[0] - 1) < 0.005, name
        regions = report["regions"]
        assert all(r["held_out_after"] <= r["held_out_before"] for r in regions), name
        if name not in ("none", "model ce", "sparsegpt"):  # a random model on random text has little to learn from the text itself
            few = name in ("lora", "bias-norm")  # few numbers to move
            assert sum(r["held_out_after"] for r in regions) < (1 if few else 0.99) * sum(r["held_out_before"] for r in regions), name
        assert (out / "report.html").stat().st_size > 100000
        # how often each stage goes through the model, of all 20 windows: statistics share a pass with what they lead to, targets with what comes next
        passes = {stage["name"]: (stage["passes"]["forward"], stage["passes"]["backward"]) for stage in report["stages"] if "passes" in stage}
        for stage, expected in {"evaluate dense": (1, 0), "prune": (1, 0), "solve": (2 if name == "blend" else 1, 0), "matrix": (2 if name == "matrix" else 1, 0)}.items():
            assert passes.get(stage, expected) == expected, (name, passes)
        trained = 0.8 if name in ("solve,sublayer,model", "auto") else 1.6  # 16 windows, once or twice
        for stage in ("sublayer", "block", "model", "lora", "bias-norm"):
            if stage not in passes:
                continue
            attempts = [1 + r["retries"] for r in regions if r["stage"] == stage and "retries" in r] or [1]  # a rate that did not help is tried lower
            seen = trained * sum(attempts) / len(attempts)
            assert abs(passes[stage][1] - seen) < 1e-9 and passes[stage][0] < seen + 3.3, (name, passes)
        print(f"compress {name}: dense {figures['dense']['perplexity']:.3f}, pruned {figures['pruned']['perplexity']:.3f}, repaired {figures['repaired']['perplexity']:.3f}")

    # masks by sensitivity: other rows pay, the count of zeros stays
    kept = {}
    for name, options in {"plain": [], "weighed": ["--sensitivity-masks", "--sensitivity-damping", 0.01]}.items():
        run("compress", base / "dense", "--output", base / name, "--group", "matrix", "--repair", "solve", "--sensitivity", "kronecker", *common, *options)
        kept[name] = {key: tensor != 0 for key, tensor in tensors(base / name).items() if is_matrix(key)}
        assert all(k.sum().item() == k.numel() - k.numel() // 2 for k in kept[name].values()), name
    assert any(not torch.equal(kept["plain"][key], kept["weighed"][key]) for key in kept["plain"])
    print("sensitivity masks: other rows, as many zeros")

    # rules and OWL: each matrix as told, the whole as asked for
    run("compress", base / "dense", "--output", base / "rules", "--sparsity", 0.75, "--rule", "dense=model.layers.0.mlp.*", "--rule", "2:4=*self_attn*", "--repair", "solve", *common)
    for key, tensor in tensors(base / "rules").items():
        if not is_matrix(key):
            continue
        if "layers.0.mlp" in key:
            assert torch.equal(tensor, dense[key]), key
        elif "self_attn" in key:
            assert ((tensor != 0).view(-1, 4).sum(1) == 2).all(), key
        else:
            assert ((tensor == 0).sum(1) == tensor.shape[1] * 3 // 4).all(), key
    run("compress", base / "dense", "--output", base / "owl", "--sparsity", 0.6, "--allocation", "owl", "--repair", "none", *common)
    zeros = {b: [(t == 0).double().mean().item() for k, t in tensors(base / "owl").items() if is_matrix(k) and f"layers.{b}." in k] for b in (0, 1)}
    means = [sum(z) / len(z) for z in zeros.values()]
    assert abs(means[0] - means[1]) > 0.05 and abs(sum(means) / 2 - 0.6) < 0.01, means
    print("rules and owl: as told")

    # a model that another tool pruned, with weights it moved: its zeros stay, the rest comes closer to the dense model
    other = AutoModelForCausalLM.from_pretrained(base / "dense", dtype=torch.float32)
    torch.manual_seed(0)
    with torch.no_grad():
        for key, parameter in other.named_parameters():
            if is_matrix(key):
                parameter.mul_(torch.rand_like(parameter) > 0.4)
            elif "norm" in key:
                parameter.mul_(1.01)
    other.save_pretrained(base / "other")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (base / "other" / file).write_text((base / "dense" / file).read_text())
    start = tensors(base / "other")
    for repair in ("solve", "solve,sublayer,model"):
        out = base / f"reconstructed-{repair}"
        report = json.loads(run("reconstruct", base / "other", "--dense", base / "dense", "--output", out, "--repair", repair, *common, "--json"))
        for key, tensor in tensors(out).items():
            assert not is_matrix(key) or torch.equal(tensor == 0, start[key] == 0), key
            if repair == "solve" and "norm" in key:
                assert torch.equal(tensor, start[key]), key
        figures = report["figures"]
        assert abs(figures["pruned"]["perplexity"] / perplexity(base / "other", (base / "test.txt").read_text(), 128)[0] - 1) < 0.005
        assert abs(figures["repaired"]["perplexity"] / perplexity(out, (base / "test.txt").read_text(), 128)[0] - 1) < 0.005
        print(f"reconstruct {repair}: dense {figures['dense']['perplexity']:.3f}, pruned {figures['pruned']['perplexity']:.3f}, repaired {figures['repaired']['perplexity']:.3f}")
    refused = subprocess.run([command, "reconstruct", base / "dense", "--dense", base / "dense", "--output", base / "no", *map(str, common)], capture_output=True, text=True)
    assert refused.returncode == 2 and "not pruned" in refused.stderr and not (base / "no").exists(), refused.stderr

    # N:M, and what inspect finds in it
    run("compress", base / "dense", "--output", base / "nm", "--pattern", "2:4", "--repair", "solve,sublayer", *common)
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
    run("compress", base / "dense", "--output", base / "again", "--repair", "solve,sublayer,model", *common)
    assert digest(base / "again") == digest(base / "solve_half_model")
    run("compress", base / "dense", "--output", base / "again", "--overwrite", "--repair", "solve,sublayer,model", "--seed", 1, *common)
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

    # greedy generation, as transformers does it
    for prompt in ("abc def", "gh"):
        got = json.loads(run("generate", base / "dense", "--prompt", prompt, "--tokens", 20, "--past-end", "--compute", "fp32", "--json"))
        ids = AutoTokenizer.from_pretrained(base / "dense")(prompt, return_tensors="pt").input_ids
        reference = AutoModelForCausalLM.from_pretrained(base / "dense", dtype=torch.float32).eval()
        with torch.no_grad():
            for _ in range(20):
                ids = torch.cat([ids, reference(ids).logits[:, -1].argmax(-1, keepdim=True)], 1)
        assert got["prompt"] + got["tokens"] == ids[0].tolist(), (got, ids)
    print("generate: the tokens of transformers")
