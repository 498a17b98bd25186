"""Opening models, freelunch against transformers.

opening.py MODEL... --text FILE [--command C] [--python P] [--pairs N]

MODEL is a GGUF file or a Hugging Face folder. With a tokenizer the time runs to the logits of 16 tokens, without one
until every tensor has been read (`freelunch inspect`). Prints a table of medians over the pairs: seconds (of the whole
process for freelunch, from the loaded packages for transformers), peak resident memory, and the perplexity of the 16
tokens.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def run(argv, log):
    """Returns seconds (printed by the process, or of the whole process), peak bytes and perplexity."""
    start = time.time()
    with open(log, "w+") as output:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen([*map(str, argv)], stdout=output, stderr=subprocess.DEVNULL, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.time() - start
        if status != 0:
            sys.exit(f"{' '.join(map(str, argv))} ended with status {status}")
        output.seek(0)
        told = json.loads(output.read().strip().splitlines()[-1])
    return told.get("seconds", seconds), usage.ru_maxrss * 1024, told.get("perplexity")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--text", required=True)
    parser.add_argument("--command", default=ROOT / "build/release/freelunch")
    parser.add_argument("--python", default=ROOT / ".venv-peers/bin/python", help="of the peers' environment")
    parser.add_argument("--pairs", type=int, default=3)
    o = parser.parse_args()
    columns = ["model", "seconds", "transformers", "ratio", "peak memory", "transformers",
               "perplexity of 16 tokens", "transformers"]
    print(f"| {' | '.join(columns)} |\n|" + "---|" * len(columns))
    with tempfile.TemporaryDirectory() as temporary:
        scratch = pathlib.Path(temporary)
        with open(o.text, encoding="utf-8") as file:
            (scratch / "short.txt").write_text(file.read(1000), encoding="utf-8")
        for model in o.models:
            short = ["--text", scratch / "short.txt", "--length", "16"]
            tokenizers = ("tokenizer.json", "tokenizer.model", "vocab.json")
            has_tokenizer = model.is_file() or any((model / name).exists() for name in tokenizers)
            ours = [o.command, "inspect", model, "--json"]
            if has_tokenizer:
                ours = [o.command, "perplexity", model, *short, "--windows", "1", "--json"]
            theirs = [o.python, HERE / "hf_open.py", model, *(short if has_tokenizer else [])]
            pairs = []
            for _ in range(o.pairs):
                if not has_tokenizer:  # one line of it is enough
                    ours_now = run(["/bin/sh", "-c", '"$0" "$@" >/dev/null && echo "{}"', *ours], scratch / "log")
                else:
                    ours_now = run(ours, scratch / "log")
                pairs.append((ours_now, run(theirs, scratch / "log")))
            a, b = ([statistics.median(pair[side][i] for pair in pairs) for i in (0, 1)] for side in (0, 1))
            figures = [f"{pairs[0][side][2]:.2f}" if has_tokenizer else "" for side in (0, 1)]
            name = model.name if model.name != "." else model.resolve().name
            print(
                f"| {name} | {a[0]:.2f} | {b[0]:.2f} | {b[0] / a[0]:.1f} | "
                f"{a[1] / 1e6:.0f} MB | {b[1] / 1e6:.0f} MB | {figures[0]} | {figures[1]} |",
                flush=True)


main()
