#!/usr/bin/env python3
"""Runs freelunch and its peers in turn on the same model, tokens and machine, and writes the results as a table.

compare.py --model MODEL.gguf --calibration FILE.jsonl --text FILE [--rows ...] [--pairs 3] [--note TEXT]

A pair is one run of freelunch and then one run of the peer. Each pair is saved to RESULTS/peers.json at once, so later
calls with the same settings add pairs; the table RESULTS/peers.md shows medians over all of them. Freelunch is timed as
a whole process, a peer from the moment its packages are loaded, the prototype over its stages alone. Peak memory is the
kernel's count of resident memory. `freelunch perplexity` measures every saved folder afterwards.
"""
import argparse
import datetime
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
from machine import machine


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="a GGUF file")
    parser.add_argument("--calibration", required=True, help="JSONL with a \"text\" field")
    parser.add_argument("--text", required=True, help="the text that perplexity is measured on")
    parser.add_argument("--command", default=ROOT / "build/release/freelunch")
    parser.add_argument("--python",
                        default=ROOT / ".venv-peers/bin/python",
                        help="the interpreter with the peers' packages")
    parser.add_argument("--rows", help="comma-separated; default: all")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--windows", type=int, default=10, help="windows of 2048 tokens for perplexity")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "benchmarks/results")
    parser.add_argument("--llama-cpp-as-stored",
                        action="store_true",
                        help="llama.cpp keeps the weight layout of the file (its AMX kernels crash on some machines)")
    parser.add_argument("--note", help="what else ran on the machine; printed above the table")
    parser.add_argument("--readme",
                        type=pathlib.Path,
                        help="also write the table between the <!-- peers --> markers of this file")
    parser.add_argument("--table-only", action="store_true", help="only print the table again")
    return parser.parse_args()


class Comparison:
    """The commands of the rows for one set of options, and how to run them."""
    def __init__(self, o, scratch):
        self.o, self.scratch = o, scratch
        self.folder = scratch / "model"
        command, python, folder = str(o.command), str(o.python), str(self.folder)
        calibration = ["--calibration", o.calibration, "--samples", str(o.samples), "--length", str(o.length)]
        text = ["--text", o.text, "--windows", str(o.windows)]

        def compress(*extra):
            fixed = ["--sparsity", "0.5", *calibration, *extra]
            return lambda out: [command, "compress", folder, "--output", str(out), *fixed]

        def compressor(criterion):
            script = str(HERE / "llm_compressor.py")
            return lambda out: [python, script, folder, str(out), "--criterion", criterion, *calibration]

        def prototype(repair):
            script = str(HERE / "prototype.py")
            return lambda out: [python, script, "--model", folder, *calibration, *text, "--repair", repair]

        def repaired(repair):
            return f"Wanda, `{repair}`", "PyTorch prototype", compress("--repair", repair), prototype(repair)

        def perplexity(model, *arguments):
            return lambda out: [command, "perplexity", model, *arguments, "--json"]

        def peer(script, model, *arguments):
            return lambda out: [python, str(HERE / script), model, *arguments]

        pruning = ["--repair", "none", "--held-out", "0", "--activations", "disk"]
        short = ["--text", str(scratch / "short.txt"), "--length", "16"]
        as_stored = ["--as-stored"] if o.llama_cpp_as_stored else []
        # row -> (task, peer, freelunch's command, the peer's command)
        self.rows = {
            "wanda": ("prune by Wanda, 50 %, `--activations disk`", "llm-compressor",
                      compress(*pruning), compressor("wanda")),
            "sparsegpt": ("prune by SparseGPT, 50 %, `--activations disk`", "llm-compressor",
                          compress(*pruning, "--criterion", "sparsegpt"), compressor("sparsegpt")),
            "solve": repaired("solve"),
            "sublayer": repaired("solve,sublayer"),
            "model": repaired("solve,model"),
            "perplexity": (f"perplexity, {o.windows} windows of 2048", "transformers, bf16 autocast",
                           perplexity(folder, *text), peer("hf_perplexity.py", folder, *text)),
            "open": ("GGUF to first logits (16 tokens)", "transformers",
                     perplexity(o.model, *short, "--windows", "1"), peer("hf_open.py", o.model, *short)),
            "llama.cpp": (f"perplexity of the GGUF, {o.windows} windows of 2048", "llama.cpp",
                          perplexity(o.model, *text), peer("llama_cpp_perplexity.py", o.model, *text, *as_stored)),
        }

    def prepare(self):
        with open(self.o.text, encoding="utf-8") as file:
            (self.scratch / "short.txt").write_text(file.read(1000), encoding="utf-8")
        subprocess.run([self.o.command, "convert", self.o.model, "--output", self.folder],
                       check=True,
                       capture_output=True)

    def run(self, row, side):
        """Runs one process. Returns "seconds", "peak_bytes" and what the process printed, such as the perplexity."""
        out = self.scratch / "out"
        shutil.rmtree(out, ignore_errors=True)
        argv = self.rows[row][2 if side == "ours" else 3](out)
        start = time.time()
        with (self.scratch / "stdout").open("w") as stdout, (self.scratch / "stderr").open("w") as stderr:
            process = subprocess.Popen(argv, stdout=stdout, stderr=stderr, env={**os.environ, "HF_HUB_OFFLINE": "1"})
            _, status, usage = os.wait4(process.pid, 0)
        seconds = time.time() - start
        if status != 0:
            sys.exit(f"{' '.join(argv)}\nended with status {status}:\n{(self.scratch / 'stderr').read_text()[-2000:]}")
        result = {"seconds": seconds, "peak_bytes": usage.ru_maxrss * 1024}
        for line in (self.scratch / "stdout").read_text().splitlines():
            if line.startswith("{"):
                result.update(json.loads(line))
        report = out / "freelunch.json"
        if report.exists():  # freelunch resets the kernel's count at each stage; the report has the maximum
            result["peak_bytes"] = max(result["peak_bytes"], json.loads(report.read_text())["peak_bytes"])
        if out.exists():
            text = ["--text", self.o.text, "--windows", str(self.o.windows)]
            argv = [self.o.command, "perplexity", out, *text, "--json"]
            told = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
            result["perplexity"] = json.loads(told)["perplexity"]
        return {k: result[k] for k in ("seconds", "peak_bytes", "perplexity", "decoded_per_second") if k in result}


def versions(python):
    """The versions of the peers' packages, of those that are installed."""
    code = ("import importlib.metadata, json\n"
            "print(json.dumps({d.name: d.version for d in importlib.metadata.distributions()}))")
    found = json.loads(subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout)
    names = [name for name in ("torch", "transformers", "llmcompressor", "llama_cpp_python") if name in found]
    return ", ".join(f"{name} {found[name].split('+')[0]}" for name in names)


def table(comparison, measured):
    lines = [
        "| what | against | seconds | peer | times faster | peak memory | peer | share | perplexity | peer | pairs |",
        "|" + "---|" * 11
    ]
    for row, (what, against, _, _) in comparison.rows.items():
        pairs = measured.get(row, [])
        if not pairs:
            continue
        keys = ("seconds", "peak_bytes", "perplexity")
        ours, theirs = ([statistics.median(pair[side][key] for pair in pairs) for key in keys]
                        for side in ("ours", "theirs"))
        faster = statistics.median(p["theirs"]["seconds"] / p["ours"]["seconds"] for p in pairs)
        lines.append(
            f"| {what} | {against} | {ours[0]:.1f} | {theirs[0]:.1f} | **{faster:.1f}** | "
            f"{ours[1] / 1e9:.2f} GB | {theirs[1] / 1e9:.2f} GB | "
            f"{100 * ours[1] / theirs[1]:.0f} % | {ours[2]:.2f} | {theirs[2]:.2f} | {len(pairs)} |")
    return "\n".join(lines)


def put_between(path, marker, text):
    content = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    if begin not in content or end not in content:
        sys.exit(f"{path} has no {begin} ... {end}")
    head, tail = content.split(begin)[0], content.split(end)[1]
    path.write_text(f"{head}{begin}\n{text}\n{end}{tail}", encoding="utf-8")


def main():
    o = options()
    settings = {
        "model": pathlib.Path(o.model).name,
        "samples": o.samples,
        "length": o.length,
        "windows": o.windows,
        "machine": machine()
    }
    store = o.results / "peers.json"
    saved = json.loads(store.read_text()) if store.exists() else {}
    if saved.get("settings") != settings:
        saved = {"settings": settings, "measured": {}}
    with tempfile.TemporaryDirectory() as temporary:
        comparison = Comparison(o, pathlib.Path(temporary))
        chosen = o.rows.split(",") if o.rows else list(comparison.rows)
        unknown = [row for row in chosen if row not in comparison.rows]
        if unknown:
            sys.exit(f"row {unknown[0]} is unknown; the rows are {', '.join(comparison.rows)}")
        if not o.table_only:
            comparison.prepare()
            for row in chosen:
                for _ in range(o.pairs):
                    pair = {
                        "date": datetime.date.today().isoformat(),
                        "ours": comparison.run(row, "ours"),
                        "theirs": comparison.run(row, "theirs")
                    }
                    print(row, json.dumps(pair), flush=True)
                    saved["measured"].setdefault(row, []).append(pair)
                    store.write_text(json.dumps(saved, indent=1) + "\n")
        saved.update(versions=versions(o.python), note=o.note or saved.get("note", ""))
        text = table(comparison, saved["measured"])
        dates = sorted({p["date"] for pairs in saved["measured"].values() for p in pairs})
    store.write_text(json.dumps(saved, indent=1) + "\n")
    head = [
        f"{settings['model']} on {settings['machine']}; {', '.join(dates)}; {saved['versions']}.", saved["note"],
        f"Calibration: {o.samples} windows of {o.length} tokens. Medians of the pairs.",
        "Freelunch is timed as a whole process, a peer from the moment its packages are loaded, the prototype over its "
        "stages alone.",
        f"Written by `scripts/bench peers --model {settings['model']} --calibration {pathlib.Path(o.calibration).name} "
        f"--text {pathlib.Path(o.text).name} --samples {o.samples} --length {o.length}`, seed 0."
    ]
    page = "\n".join(["# Peers", *[line for line in head if line], "", text, ""])
    (o.results / "peers.md").write_text(page, encoding="utf-8")
    print(page)
    if o.readme:
        put_between(o.readme, "peers", text)


if __name__ == "__main__":
    main()
