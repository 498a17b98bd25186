"""kill -9, signals and changed inputs: the same command goes on to the bytes of an undisturbed run, or says why not.

check_resume.py COMMAND [--slow]: with --slow each stage dies at every record and 20 times at random.
"""
import json
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from safetensors.torch import load_file, save_file

import tiny_model
from resume import Run

command = sys.argv[1]
slow = "--slow" in sys.argv

with tempfile.TemporaryDirectory() as temporary:
    base = pathlib.Path(temporary)
    tiny_model.make(base / "dense", num_hidden_layers=3)
    (base / "train.txt").write_text(tiny_model.text(6000))
    (base / "test.txt").write_text(tiny_model.text(3000, seed=1))
    windows = ["--calibration", base / "train.txt", "--samples", 14, "--length", 32, "--held-out", 3]
    common = [*windows, "--evaluate", base / "test.txt", "--evaluate-windows", 2,
              "--evaluate-length", 64, "--compute", "fp32", "--threads", 2, "--commit-seconds", 0]
    compress = ["compress", base / "dense", *common]

    def fresh(name, arguments):
        run = Run(command, arguments, base / name)
        shutil.rmtree(run.folder, ignore_errors=True)
        shutil.rmtree(run.work, ignore_errors=True)
        return run

    # every kind of stage; a pruned model with given masks too
    pruned = fresh("pruned", [*compress, "--criterion", "magnitude", "--repair", "none"])
    pruned.finish()
    kinds = {
        "main": [*compress, "--repair", "solve,sublayer,model"],
        "blend and sensitivity": [*compress, "--repair", "solve,lora", "--blend", "0,0.5", "--sensitivity", "kronecker", "--allocation", "owl", "--sparsity", 0.6],
        "matrix": [*compress, "--criterion", "sparsegpt", "--group", "row", "--statistics", "dense", "--repair", "matrix,blocks:2", "--learning-rate", "1e-3",
                   "--activations", "disk", "--activation-dtype", "bf16"],
        "given": ["reconstruct", base / "pruned", "--dense", base / "dense", *common, "--repair", "solve,sublayer,bias-norm"],
    }
    if slow:
        kinds |= {
            "dense": [*compress, "--repair", "matrix,sublayer,model", "--propagation", "dense", "--model-loss", "ce"],
            "sparse": [*compress, "--repair", "matrix,sublayer", "--propagation", "sparse", "--criterion", "magnitude"],
            "two epochs": [*compress, "--repair", "solve,sublayer,model,lora", "--epochs", 3, "--model-epochs", 3, "--batch", 2],
        }
    undisturbed = {}
    for name, arguments in kinds.items():
        run = fresh("whole", arguments)
        run.finish()
        undisturbed[name] = run.digest()
        report = json.loads((run.folder / "freelunch.json").read_text())
        run = fresh("died", arguments)
        deaths = run.die_every(1 if slow else 9)
        assert run.digest() == undisturbed[name], f"{name}: other bytes after {deaths} deaths"
        again = json.loads((run.folder / "freelunch.json").read_text())
        measured = ("seconds", "peak_bytes", "planned_bytes", "planned_seconds", "planned", "passes")
        strip = lambda r: [[{k: v for k, v in x.items() if k not in measured} for x in r[part]] for part in ("stages", "regions", "tensors")] + [r["figures"], r["sha256"]]
        assert strip(again) == strip(report), f"{name}: another report\n{strip(again)}\n{strip(report)}"
        print(f"{name}: killed {deaths} times at its records, same bytes, same report")

    # at random moments
    rng = random.Random(0)
    for name in kinds if slow else ("main",):
        run = fresh("died", kinds[name])
        start = time.time()
        run.finish()
        length = time.time() - start
        for _ in range(20 if slow else 3):
            run = fresh("died", kinds[name])
            end = time.time() + rng.uniform(0, length)
            run.kill_when(lambda: time.time() > end)
            if not run.folder.exists():
                run.finish()
            assert run.digest() == undisturbed[name], name
        print(f"{name}: killed at {20 if slow else 3} random moments, same bytes")

    # a torn journal or scratch file costs a region
    run = fresh("died", kinds["main"])
    run.kill_when(lambda: run.lines() >= 9)
    before = run.lines()
    run.journal.write_bytes(run.journal.read_bytes()[:-7])
    run.kill_when(lambda: run.lines() >= before)
    scratch = run.work / "weights.scratch"
    with scratch.open("r+b") as file:  # the place of the last tensor that was recorded
        entries = [json.loads(line)["record"].get("tensors", {}) for line in run.journal.read_text().splitlines()]
        last = list(next(e for e in reversed(entries) if e).values())[-1]
        file.seek(last["offset"])
        file.write(b"\x55\xaa")
    run.finish()
    assert run.digest() == undisturbed["main"]
    print("torn journal and damaged scratch file: same bytes")

    # another plan, model or text is refused, and what there is stays as it was
    run = fresh("died", kinds["main"])
    run.kill_when(lambda: run.lines() >= 5)
    kept = run.journal.read_bytes()
    def refused(named, *more, arguments=kinds["main"]):
        line = Run(command, arguments, run.folder).finish(*more, code=2).splitlines()[-1]
        assert named in line and "--restart" in line, line
        assert run.journal.read_bytes() == kept
    refused("--seed was 0, is 1", "--seed", 1)
    refused("--batch was 1, is 2", "--batch", 2)
    refused("--repair", arguments=[*compress, "--repair", "solve,sublayer"])
    text = (base / "train.txt").read_bytes()
    (base / "train.txt").write_bytes(text + b" more")
    refused("calibration text")
    (base / "train.txt").write_bytes(text)
    weights = load_file(base / "dense/model.safetensors")
    original = (base / "dense/model.safetensors").read_bytes()
    weights["model.norm.weight"][0] += 1
    save_file(weights, base / "dense/model.safetensors", metadata={"format": "pt"})
    refused("model.safetensors")
    (base / "dense/model.safetensors").write_bytes(original)
    # where the output is, what it replaces, and what is said on the way decide no bytes
    run.finish("--verbose", "--overwrite")
    assert run.digest() == undisturbed["main"]
    run = fresh("died", kinds["main"])
    run.kill_when(lambda: run.lines() >= 5)
    run.finish("--restart", "--seed", 1)
    assert run.digest() != undisturbed["main"]
    print("another seed, option, text or model: refused; --restart starts over")

    # one process at a time; a region that would take hours is abandoned within seconds
    run = fresh("long", [*kinds["main"], "--epochs", 1000000])
    process = run.start()
    while run.lines() < 5:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    line = run.finish(code=2)
    assert "another process" in line and line.count("\n") == 1, line
    start = time.time()
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait() == 130 and time.time() - start < 6, rest

    # signals leave a state to go on from, and the former output as it was
    run = fresh("died", [*kinds["main"], "--overwrite"])
    run.folder.mkdir()
    (run.folder / "former").write_text("former")
    for number in (signal.SIGINT, signal.SIGTERM):
        process = run.start()
        before = run.lines()
        while run.lines() < before + 4:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.0005)
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait() == 130, rest
        line = rest.splitlines()[-1]
        assert line.startswith("freelunch: interrupted by the user") and "the same command goes on" in line, rest
        assert (run.folder / "former").read_text() == "former" and len(list(run.folder.iterdir())) == 1
    run.finish()
    assert run.digest() == undisturbed["main"] and not (run.folder / "former").exists()
    print("signals: exit 130, one line, the former output untouched, same bytes in the end")

    # numbers: an activation that overflows is named, ends the run with 5, and what came before is kept
    large = load_file(base / "dense/model.safetensors")
    for part in ("up_proj", "down_proj"):
        large[f"model.layers.1.mlp.{part}.weight"] *= 1e21
    shutil.copytree(base / "dense", base / "large")
    save_file(large, base / "large/model.safetensors", metadata={"format": "pt"})
    for repair in ("solve", "sublayer"):
        run = fresh("overflow", ["compress", base / "large", *windows, "--compute", "fp32", "--repair", repair])
        line = run.finish(code=5).splitlines()[-1]
        assert "blocks.1.mlp" in line and "not finite" in line and "goes on" in line, line
        assert run.journal.exists() and not run.folder.exists()
        assert "blocks.1.mlp" in run.finish(code=5).splitlines()[-1]
    head = load_file(base / "dense/model.safetensors")
    head["lm_head.weight"] *= 1e38
    save_file(head, base / "large/model.safetensors", metadata={"format": "pt"})
    for loss in ("kl", "ce"):
        run = fresh("overflow", ["compress", base / "large", *windows, "--compute", "fp32", "--repair", "model", "--model-loss", loss])
        line = run.finish(code=5).splitlines()[-1]
        assert "model: the " in line and "not finite" in line and "step" in line and "goes on" in line, line
    print("overflow: exit 5, the region named, what came before kept")
