"""The acceptance of the main job on SmolLM2-135M (slow tier): check_smollm2.py COMMAND DEMO_FOLDER SHARED_DATA"""
import hashlib
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import time

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

command, demo, data = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
gguf, wiki, c4 = demo / "SmolLM2-135M-Instruct.Q4_1.gguf", data / "wikitext2/wiki.test.raw", data / "calib/c4_en_sample.jsonl"
for path in (gguf, wiki, c4):
    if not path.exists():
        print(f"skipped: {path.name} is not at hand (scripts/demo brings the model)")
        sys.exit(77)


def run(*arguments):
    start = time.time()
    result = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout, time.time() - start


def reference(folder, windows, length=2048):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    ids = AutoTokenizer.from_pretrained(folder)(wiki.read_text(encoding="utf-8"), return_tensors="pt").input_ids[0]
    total = 0
    with torch.no_grad():
        for i in range(windows):
            x = ids[i * length:(i + 1) * length]
            total += F.cross_entropy(model(x[None]).logits[0, :-1].float(), x[1:]).item()
    return math.exp(total / windows)


dense = json.loads(run("perplexity", gguf, "--text", wiki, "--windows", 20, "--json")[0])
print("dense, 20 windows:", dense)
assert abs(dense["perplexity"] / 20.861 - 1) < 0.005
with tempfile.TemporaryDirectory() as temporary:
    out = pathlib.Path(temporary) / "out"
    _, seconds = run("convert", gguf, "--output", out)
    print(f"convert: {seconds:.2f} s")
    digests = {}
    # reference/results.md: pruned and repaired perplexity on 10 windows
    for repair, least in (("none", None), ("solve", 37.46), ("solve,sublayer", 32.82), ("solve,model", 31.94), ("solve,sublayer,model", 31.37), ("auto", 31.37)):
        out = pathlib.Path(temporary) / repair
        stdout, seconds = run("compress", gguf, "--output", out, "--sparsity", 0.5, "--repair", repair, "--calibration", c4, "--samples", 64, "--length", 512, "--evaluate", wiki, "--json")
        report = json.loads(stdout)
        held = json.loads(run("perplexity", out, "--text", c4, "--windows", 10, "--from-end", "--json")[0])["perplexity"]
        got = report["figures"]["repaired"]["perplexity"]
        print(f"{repair}: WikiText-2 {got:.3f}, C4 held out {held:.3f}, {seconds:.0f} s, peak {report['peak_bytes'] / 1e6:.0f} MB")
        assert all(t["zeros"] == t["shape"][0] * (t["shape"][1] // 2) for t in report["tensors"])
        assert abs(got / 44.66 - 1) < 0.02 if least is None else got < 1.01 * least, repair
        digests[repair] = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    assert digests["auto"] == digests["solve,sublayer,model"]  # the same plan twice: the same bytes
    print("auto and solve,sublayer,model, which it stands for: the same bytes")
    theirs = reference(out, 10)
    print(f"transformers on the last folder: {theirs:.3f}")
    assert abs(theirs / got - 1) < 0.005
