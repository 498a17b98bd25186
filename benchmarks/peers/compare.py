#!/usr/bin/env python3
"""Runs freelunch and its peers in turn on the same model, tokens and machine, and writes what came out as a table.

compare.py --model MODEL.gguf --calibration FILE.jsonl --text FILE [--prototype FILE.py] [--rows ...] [--pairs 3] [--note TEXT] [--readme README.md]

Each pair is one run of ours and one of the peer's, one after the other. Measurements are kept in RESULTS/peers.json as they come, so pairs can be added by
later calls with the same settings; the table RESULTS/peers.md takes medians over all of them. Ours is the whole process; a peer's time starts when its packages
are loaded. Peak memory is resident memory as the kernel counted it. Perplexities of saved folders are measured afterwards, all by `freelunch perplexity`.
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
    parser.add_argument("--text", required=True, help="what perplexity is measured on")
    parser.add_argument("--prototype", help="the PyTorch prototype's script; its rows are left out without it")
    parser.add_argument("--command", default=ROOT / "build/release/freelunch")
    parser.add_argument("--python", default=ROOT / ".venv-peers/bin/python", help="of the peers' environment")
    parser.add_argument("--rows", help="comma-separated; all unless given")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--windows", type=int, default=10, help="of 2048 tokens, for perplexity")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "benchmarks/results")
    parser.add_argument("--llama-cpp-as-stored", action="store_true", help="llama.cpp keeps the file's weight layout (its AMX kernels crash on some machines)")
    parser.add_argument("--note", help="what else the machine was doing; goes above the table")
    parser.add_argument("--readme", type=pathlib.Path, help="put the table between this file's <!-- peers --> markers too")
    parser.add_argument("--table-only", action="store_true", help="measure nothing")
    return parser.parse_args()


class Comparison:
    """The commands of one settings' rows, and running them."""

    def __init__(self, o, scratch):
        self.o, self.scratch = o, scratch
        self.folder = scratch / "model"
        calibration = ["--calibration", o.calibration, "--samples", str(o.samples), "--length", str(o.length)]
        text = ["--text", o.text, "--windows", str(o.windows)]
        python = [str(o.python)]

        def compress(*extra):
            return lambda out: [str(o.command), "compress", str(self.folder), "--output", str(out), "--sparsity", "0.5", *calibration, *extra]

        def compressor(criterion):
            return lambda out: [*python, str(HERE / "llm_compressor.py"), str(self.folder), str(out), "--criterion", criterion, *calibration]

        def prototype(repair):
            return lambda out: [*python, str(o.prototype), "--model", str(self.folder), *calibration, *text, "--repair", repair]

        def measured(model):
            return lambda out: [str(o.command), "perplexity", model, *text, "--json"]

        def peer(script, model, *more):
            return lambda out: [*python, str(HERE / script), model, *more]

        pruning = ["--repair", "none", "--held-out", "0", "--activations", "disk"]
        short = ["--text", str(scratch / "short.txt"), "--length", "16"]
        # row -> what is done, the peer, our command, the peer's
        self.rows = {
            "wanda": ("prune by Wanda, 50 %, `--activations disk`", "llm-compressor", compress(*pruning), compressor("wanda")),
            "sparsegpt": ("prune by SparseGPT, 50 %, `--activations disk`", "llm-compressor", compress(*pruning, "--criterion", "sparsegpt"), compressor("sparsegpt")),
            "solve": ("Wanda, `solve`", "PyTorch prototype", compress("--repair", "solve"), prototype("solve")),
            "sublayer": ("Wanda, `solve,sublayer`", "PyTorch prototype", compress("--repair", "solve,sublayer"), prototype("solve,sublayer")),
            "model": ("Wanda, `solve,model`", "PyTorch prototype", compress("--repair", "solve,model"), prototype("solve,model")),
            "perplexity": (f"perplexity, {o.windows} windows of 2048", "transformers, bf16 autocast", measured(str(self.folder)),
                           peer("hf_perplexity.py", str(self.folder), *text)),
            "open": ("GGUF to first logits (16 tokens)", "transformers",
                     lambda out: [str(o.command), "perplexity", o.model, *short, "--windows", "1", "--json"], peer("hf_open.py", o.model, *short)),
            "llama.cpp": (f"perplexity of the GGUF, {o.windows} windows of 2048", "llama.cpp", measured(o.model), peer("llama_cpp_perplexity.py", o.model, *text, *(["--as-stored"] if o.llama_cpp_as_stored else []))),
        }
        if not o.prototype:
            for row in ("solve", "sublayer", "model"):
                del self.rows[row]

    def prepare(self):
        with open(self.o.text, encoding="utf-8") as file:
            (self.scratch / "short.txt").write_text(file.read(1000), encoding="utf-8")
        subprocess.run([self.o.command, "convert", self.o.model, "--output", self.folder], check=True, capture_output=True)

    def run(self, row, side):
        """One process: {"seconds", "peak_bytes", and what it measured}."""
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
            elif line.startswith("RESULT "):  # the prototype: seconds by stage, loading and evaluation not among them
                told = json.loads(line.removeprefix("RESULT "))
                result.update(seconds=sum(told["seconds"].values()), perplexity=told["ppl"])
        if (out / "freelunch.json").exists():  # it resets the kernel's count at each stage and keeps the largest
            result["peak_bytes"] = max(result["peak_bytes"], json.loads((out / "freelunch.json").read_text())["peak_bytes"])
        if out.exists():
            told = subprocess.run([self.o.command, "perplexity", out, "--text", self.o.text, "--windows", str(self.o.windows), "--json"], check=True,
                                  capture_output=True, text=True).stdout
            result["perplexity"] = json.loads(told)["perplexity"]
        return {k: result[k] for k in ("seconds", "peak_bytes", "perplexity", "decoded_per_second") if k in result}


def versions(python):
    names = ["torch", "transformers", "llmcompressor", "llama_cpp_python"]
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {names!r}}}))"
    found = json.loads(subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout)
    return ", ".join(f"{name} {version.split('+')[0]}" for name, version in found.items())


def table(comparison, measured):
    lines = ["| what | against | seconds | peer | times faster | peak memory | peer | share | perplexity | peer | pairs |", "|" + "---|" * 11]
    for row, (what, against, _, _) in comparison.rows.items():
        pairs = measured.get(row, [])
        if not pairs:
            continue
        ours, theirs = ([statistics.median(p[side][key] for p in pairs) for key in ("seconds", "peak_bytes", "perplexity")] for side in ("ours", "theirs"))
        faster = statistics.median(p["theirs"]["seconds"] / p["ours"]["seconds"] for p in pairs)
        lines.append(f"| {what} | {against} | {ours[0]:.1f} | {theirs[0]:.1f} | **{faster:.1f}** | {ours[1] / 1e9:.2f} GB | {theirs[1] / 1e9:.2f} GB | "
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
    settings = {"model": pathlib.Path(o.model).name, "samples": o.samples, "length": o.length, "windows": o.windows, "machine": machine()}
    store = o.results / "peers.json"
    kept = json.loads(store.read_text()) if store.exists() else {}
    if kept.get("settings") != settings:
        kept = {"settings": settings, "measured": {}}
    with tempfile.TemporaryDirectory() as temporary:
        comparison = Comparison(o, pathlib.Path(temporary))
        chosen = o.rows.split(",") if o.rows else list(comparison.rows)
        unknown = [row for row in chosen if row not in comparison.rows]
        if unknown:
            sys.exit(f"row {unknown[0]} is not known, or needs --prototype; there are {', '.join(comparison.rows)}")
        if not o.table_only:
            comparison.prepare()
            for row in chosen:
                for _ in range(o.pairs):
                    pair = {"date": datetime.date.today().isoformat(), "ours": comparison.run(row, "ours"), "theirs": comparison.run(row, "theirs")}
                    print(row, json.dumps(pair), flush=True)
                    kept["measured"].setdefault(row, []).append(pair)
                    store.write_text(json.dumps(kept, indent=1) + "\n")
        kept.update(versions=versions(o.python), note=o.note or kept.get("note", ""))
        text = table(comparison, kept["measured"])
        dates = sorted({p["date"] for pairs in kept["measured"].values() for p in pairs})
    store.write_text(json.dumps(kept, indent=1) + "\n")
    head = [f"{settings['model']} on {settings['machine']}; {', '.join(dates)}; {kept['versions']}.", kept["note"],
            f"Calibration: {o.samples} windows of {o.length} tokens. Medians of the pairs; ours is the whole process, a peer's time starts once its packages are loaded.",
            f"Written by `scripts/bench peers --model {settings['model']} --calibration {pathlib.Path(o.calibration).name} --text {pathlib.Path(o.text).name}"
            f"{' --prototype ' + pathlib.Path(o.prototype).name if o.prototype else ''} --samples {o.samples} --length {o.length}`, seed 0 (the default)."]
    page = "\n".join(["# Peers", *[line for line in head if line], "", text, ""])
    (o.results / "peers.md").write_text(page, encoding="utf-8")
    print(page)
    if o.readme:
        put_between(o.readme, "peers", text)


if __name__ == "__main__":
    main()
