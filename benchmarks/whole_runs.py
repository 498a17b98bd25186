#!/usr/bin/env python3
"""Whole runs, stage by stage, against the matrix-product rate.

whole_runs.py --model MODEL --calibration FILE --text FILE [--command FILE] [--rates FILE]

Operations follow from the mathematics and the model's shape: one pass over the tokens for the masks; Gram matrices as
symmetric products and the steps of conjugate gradients for `solve`; the dense and the pruned stream once each, and
forward and backward over the training windows for `sublayer`; the dense model's pass, and forward and backward of the
pruned model, heads included, for `model`. kernel_benchmarks --rates measures the rates right before each run.
"""
import argparse
import datetime
import json
import pathlib
import subprocess
import tempfile

from machine import machine

ROOT = pathlib.Path(__file__).resolve().parent.parent
STEPS = 20  # of the conjugate gradients, at most
REPAIRS = ("none", "solve", "solve,sublayer", "solve,sublayer,model")


class Shape:
    """Operations of a model of the Llama family, from its config.json."""
    def __init__(self, config, length):
        self.width, self.vocabulary = config["hidden_size"], config["vocab_size"]
        self.blocks, self.intermediate = config["num_hidden_layers"], config["intermediate_size"]
        head = config.get("head_dim") or self.width // config["num_attention_heads"]
        self.queries, self.keys = head * config["num_attention_heads"], head * config["num_key_value_heads"]
        self.length = length

    def matrices(self):
        """The shapes (out, in) of a block's matrices, and the widths of the distinct inputs."""
        d, m, q, k = self.width, self.intermediate, self.queries, self.keys
        return [(q, d), (k, d), (k, d), (d, q), (m, d), (m, d), (d, m)], [d, q, d, m]

    def blocks_forward(self, tokens, length=None):
        """One pass of tokens through all blocks; a position attends to half of its window on average."""
        matrices, _ = self.matrices()
        attention = 2 * 2 * self.queries * ((length or self.length) + 1) / 2
        return tokens * self.blocks * (2 * sum(out * width for out, width in matrices) + attention)

    def head(self, tokens):
        return 2 * tokens * self.width * self.vocabulary

    def gram_matrices(self, tokens):
        return tokens * self.blocks * sum(w * (w + 1) for w in self.matrices()[1])

    def conjugate_gradients(self):
        return self.blocks * sum(2 * out * width * width * (STEPS + 1) for out, width in self.matrices()[0])

    def stage(self, name, trained, seen, evaluated, epochs):
        """Operations of a stage. trained, seen: calibration tokens without and with the held-out windows."""
        if name.startswith("evaluate"):
            return self.blocks_forward(evaluated, 2048) + self.head(evaluated)
        if name == "prune":
            return self.blocks_forward(seen)
        if name == "solve":
            return self.blocks_forward(seen) + self.gram_matrices(seen) + self.conjugate_gradients()
        if name == "sublayer":
            return 2 * self.blocks_forward(seen) + epochs * 3 * self.blocks_forward(trained)
        if name == "model":
            forward = self.blocks_forward(trained) + self.head(trained)
            return self.blocks_forward(seen) + epochs * (3 * forward + self.head(trained))
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--command", default=ROOT / "build/release/freelunch")
    parser.add_argument("--rates",
                        default=ROOT / "build/release/benchmarks/kernel_benchmarks",
                        help="the program that measures matrix products")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--repairs", default=" ".join(REPAIRS), help="separated by spaces")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "benchmarks/results")
    parser.add_argument("--note", default="")
    o = parser.parse_args()
    held_out, windows = 8, 10
    lines = [
        "| repair | stage | seconds | GFLOP | GFLOP/s | bf16 product | share | fp32 product | share | peak memory |",
        "|" + "---|" * 10
    ]
    with tempfile.TemporaryDirectory() as temporary:
        output = pathlib.Path(temporary) / "out"
        for repair in o.repairs.split():
            rates = json.loads(subprocess.run([o.rates, "--rates"], check=True, capture_output=True, text=True).stdout)
            argv = [o.command, "compress", o.model, "--output", output, "--overwrite", "--sparsity", "0.5",
                    "--repair", repair, "--epochs", "1", "--model-epochs", "1", "--calibration", o.calibration,
                    "--samples", str(o.samples), "--held-out", str(held_out), "--length", str(o.length),
                    "--evaluate", o.text, "--evaluate-windows", str(windows)]
            subprocess.run(argv, check=True, capture_output=True)
            report = json.loads((output / "freelunch.json").read_text())
            shape = Shape(json.loads((output / "config.json").read_text()), o.length)
            for stage in report["stages"]:
                trained, seen = o.samples * o.length, (o.samples + held_out) * o.length
                flop = shape.stage(stage["name"], trained, seen, windows * 2048, 1)
                cells = [f"{stage['seconds']:.1f}", "", "", "", "", "", ""]
                if flop:
                    rate = flop / stage["seconds"]
                    cells[1:] = [
                        f"{flop / 1e9:.0f}", f"{rate / 1e9:.0f}", f"{rates['bf16'] / 1e9:.0f}",
                        f"{100 * rate / rates['bf16']:.0f} %", f"{rates['fp32'] / 1e9:.0f}",
                        f"{100 * rate / rates['fp32']:.0f} %"
                    ]
                lines.append(
                    f"| `{repair}` | {stage['name']} | {' | '.join(cells)} | {stage['peak_bytes'] / 1e9:.2f} GB |")
                print(lines[-1], flush=True)
    head = (f"{machine()}; {datetime.date.today().isoformat()}; {pathlib.Path(o.model).name}, "
            f"{o.samples} + {held_out} windows of {o.length}. {o.note}").strip()
    page = "\n".join(["# Whole runs", "", head, "Written by `scripts/bench runs`.", "", *lines, ""])
    (o.results / "whole_runs.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
