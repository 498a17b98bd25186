#!/usr/bin/env python3
"""How the time of a run grows with calibration tokens, blocks and the square of the width.

growth.py [--command FILE] [--repeats 3] [--results DIR]

The script makes random models of Llama's shape. Each sweep changes one figure of the base and leaves the others.
Times are the stages' in freelunch.json, medians over the repeats. "of linear" is the time divided by (time of the
smallest case x growth): 1.00 is exactly linear, less means that a part of the time does not grow. The learning rate is
given, because a stage retries a default rate at lower values where it does not help.
"""
import argparse
import datetime
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/cli"))
import tiny_model
from machine import machine

BASE = {"windows": 32, "blocks": 4, "width": 512}
SWEEPS = {
    "tokens": [{"windows": n} for n in (32, 64, 128)],
    "blocks": [{"blocks": n} for n in (4, 8, 16)],
    "width^2": [{"width": n} for n in (512, 768, 1024)],
}
LENGTH = 512
STAGES = ("prune", "solve", "sublayer")


def measure(command, folder, text, case, repair):
    """Returns the seconds of each stage of one run."""
    output = folder.parent / "out"
    windows = ["--samples", str(case["windows"]), "--held-out", str(case["windows"] // 8), "--length", str(LENGTH)]
    argv = [command, "compress", folder, "--output", output, "--overwrite", "--sparsity", "0.5", "--repair", repair,
            "--calibration", text, *windows, "--epochs", "1", "--learning-rate", "1e-4"]
    subprocess.run(argv, check=True, capture_output=True)
    stages = json.loads((output / "freelunch.json").read_text())["stages"]
    return {s["name"]: s["seconds"] for s in stages if s["name"] in STAGES}


def growth_of(sweep, case):
    return {"tokens": case["windows"], "blocks": case["blocks"], "width^2": case["width"]**2}[sweep]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--command", default=ROOT / "build/release/freelunch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "benchmarks/results")
    parser.add_argument("--note", default="")
    o = parser.parse_args()
    cases = {tuple(sorted({**BASE, **change}.items())) for sweep in SWEEPS.values() for change in sweep}
    seconds = {}
    with tempfile.TemporaryDirectory() as temporary:
        root = pathlib.Path(temporary)
        text = root / "text.txt"
        text.write_text(tiny_model.text(100000, seed=1))
        for key in sorted(cases):
            case = dict(key)
            folder = root / "-".join(f"{k}{v}" for k, v in key)
            tiny_model.make(folder,
                            hidden_size=case["width"],
                            intermediate_size=3 * case["width"],
                            num_hidden_layers=case["blocks"],
                            num_attention_heads=case["width"] // 64,
                            num_key_value_heads=case["width"] // 128,
                            max_position_embeddings=LENGTH)
            runs = {}
            for _ in range(o.repeats):
                for repair in ("sublayer", "solve"):
                    for stage, value in measure(o.command, folder, text, case, repair).items():
                        runs.setdefault(stage, []).append(value)
            seconds[key] = {stage: statistics.median(values) for stage, values in runs.items()}
            print(case, seconds[key], flush=True)
    lines = [
        "| sweep | windows of 512 | blocks | width | " + " | ".join(f"{s}, s | of linear" for s in STAGES) + " |",
        "|" + "---|" * (4 + 2 * len(STAGES))
    ]
    for sweep, changes in SWEEPS.items():
        first = {**BASE, **changes[0]}
        for change in changes:
            case = {**BASE, **change}
            growth = growth_of(sweep, case) / growth_of(sweep, first)
            now, then = seconds[tuple(sorted(case.items()))], seconds[tuple(sorted(first.items()))]
            cells = " | ".join(f"{now[s]:.2f} | {now[s] / (then[s] * growth):.2f}" for s in STAGES)
            lines.append(f"| {sweep} | {case['windows']} | {case['blocks']} | {case['width']} | {cells} |")
    head = f"{machine()}; {datetime.date.today().isoformat()}; medians of {o.repeats}. {o.note}".strip()
    page = "\n".join([
        "# Growth", "", head,
        "`prune` (Wanda) and `sublayer` are one run, `solve` is another. Written by `scripts/bench growth`.",
        "In `solve` the closed form does not depend on the tokens and its operations grow with width^3; "
        "Gram matrices are linear in both.", "", *lines, ""
    ])
    (o.results / "growth.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
