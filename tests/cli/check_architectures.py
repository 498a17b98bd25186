"""Whole runs of every architecture: exact zeros, and a folder in which transformers and we see the same model: check_architectures.py COMMAND PROBE"""
import json
import math
import pathlib
import sys
import tempfile

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "oracle"))
import architectures
import tiny_model
from architectures import logits
from freelunch_command import run

probe = sys.argv[2]
chosen = sys.argv[3:] or [name for name in architectures.cases if "," not in name] + ["opt, 350m"]
failed = []


def check(name, base):
    model = architectures.build(name)
    folder = base / "dense"
    model.save_pretrained(folder)
    tiny_model.make_tokenizer(folder)
    common = ["--calibration", base / "train.txt", "--samples", 12, "--length", 32, "--held-out", 4, "--evaluate", base / "test.txt", "--compute", "fp32",
              "--threads", 2, "--json"]
    ids = torch.randint(0, architectures.VOCABULARY, (1, 40), generator=torch.Generator().manual_seed(1))

    untouched = base / "untouched"
    run("convert", folder, "--output", untouched)
    assert np.array_equal(logits(probe, untouched, ids), logits(probe, folder, ids))

    runs = [["--sparsity", 0.5, "--repair", "solve,sublayer,model", "--sensitivity", "kronecker"], ["--pattern", "2:4", "--criterion", "sparsegpt", "--repair", "matrix,block"]]
    if name in ("gpt_neox", "mixtral", "opt, 350m"):  # streams of two widths, experts, norms after the sum
        runs.append(["--sparsity", 0.6, "--repair", "solve,sublayer", "--loss", "next-norm", "--allocation", "owl", "--blend", "0,0.5"])
    for options in runs:
        out = base / "out"
        report = json.loads(run("compress", folder, "--output", out, "--overwrite", *options, *common))
        inspected = json.loads(run("inspect", out, "--json"))
        found = {t["name"]: t for t in inspected["tensors"]}
        matrices = report["tensors"]
        assert len(matrices) > 5 * model.config.num_hidden_layers or name.startswith(("gpt", "opt")), len(matrices)
        for t in matrices:
            rows, columns = t["shape"]
            if "owl" not in options:
                assert t["zeros"] == rows * (columns // 2) == found[t["name"]]["zeros"], t
            if "--pattern" in options:
                assert found[t["name"]]["pattern"] == "2:4", found[t["name"]]
        if "owl" in options:
            share = sum(t["zeros"] for t in matrices) / sum(math.prod(t["shape"]) for t in matrices)
            assert abs(share - 0.6) < 0.02, share
        theirs = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
        with torch.no_grad():
            expected = theirs(ids).logits[0].numpy()
        error = np.abs(logits(probe, out, ids) - expected).max() / np.abs(expected).max()
        assert error < 1e-4, error
        regions = report["regions"]
        assert all(r["held_out_after"] <= r["held_out_before"] for r in regions)
        if "owl" not in options:  # what was repaired is nearer to the dense model than what was only pruned
            assert sum(r["held_out_after"] for r in regions) < sum(r["held_out_before"] for r in regions)
        f = report["figures"]
        print(f"{name}, {' '.join(map(str, options))}: dense {f['dense']['perplexity']:.2f}, pruned {f['pruned']['perplexity']:.2f}, repaired "
              f"{f['repaired']['perplexity']:.2f}, logits differ by {error:.1e}", flush=True)

    # zero-shot reads a context once and its answers beside each other: the same log-likelihoods as one by one
    examples = [dict(context="abc fed hij abc fed hij dab", choices=["dab ce", "fa gig"], gold=0), dict(context="cab dad", choices=["gig", "hid be abc"], gold=1)]
    (base / "task.jsonl").write_text("\n".join(map(json.dumps, examples)))
    scored = json.loads(run("zeroshot", folder, "--tasks", base / "task.jsonl", "--compute", "fp32", "--json", "--examples"))["tasks"][0]["scored"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for example, ours in zip(examples, scored, strict=True):
        for choice, got in zip(example["choices"], ours["log_likelihoods"], strict=True):
            whole, alone = tokenizer.encode(example["context"] + " " + choice), tokenizer.encode(example["context"])
            with torch.no_grad():
                log_p = model(torch.tensor([whole])).logits[0].log_softmax(-1)
            expected = sum(log_p[i - 1, whole[i]].item() for i in range(len(alone), len(whole)))
            assert abs(got - expected) < 1e-3, (example, got, expected)


for name in chosen:
    with tempfile.TemporaryDirectory() as temporary:
        base = pathlib.Path(temporary)
        (base / "train.txt").write_text(tiny_model.text(3000))
        (base / "test.txt").write_text(tiny_model.text(1200, seed=1))
        try:
            check(name, base)
        except AssertionError as error:
            print(f"{name}: {error}", flush=True)
            failed.append(name)
assert not failed, failed
