"""A study on a model of 100,000 weights: every cell once, a rerun does only what is missing, equal to single runs; the page draws."""
import csv
import json
import math
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import tiny_model

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "report"))
from browser import check, chromium  # noqa: E402

command = sys.argv[1]
STUDY = """
models = ["dense"]
[calibration]
text = "train.txt"
samples = 16
length = 64
held_out = 4
[[evaluate]]
name = "test"
text = "test.txt"
windows = 4
length = 64
[tasks]
files = ["choices.jsonl"]
limit = 5
[[grid]]
name = "criteria"
pattern = ["50%", "70%", "2:4"]
criterion = ["magnitude", "wanda"]
repair = ["none", "solve,sublayer"]
learning_rate = 1e-3
[[grid]]
name = "granularity"
repair = ["matrix", "sublayer", "block", "blocks:2", "model"]
learning_rate = 1e-3
seed = [0, 1, 2]
[[grid]]
name = "budget"
samples = [4, 16]
repair = ["sublayer", "model"]
model_loss = ["kl", "ce"]
[[grid]]
name = "propagation and loss"
repair = "sublayer"
propagation = ["dense", "sparse-dense"]
loss = ["mse", "relative-mse"]
"""


def run(*arguments, code=0):
    result = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == code, f"{arguments}: exit {result.returncode}\n{result.stderr}"
    return result


def refused(base, text, reason):
    (base / "bad.toml").write_text(text)
    result = run("study", base / "bad.toml", "-o", base / "bad", code=2)
    assert reason in result.stderr and result.stderr.count("\n") == 1, result.stderr


with tempfile.TemporaryDirectory() as temporary:
    base = pathlib.Path(temporary)
    tiny_model.make(base / "dense")
    (base / "train.txt").write_text(tiny_model.text(6000))
    (base / "test.txt").write_text(tiny_model.text(3000, seed=1))
    (base / "choices.jsonl").write_text("".join(json.dumps(dict(context=f"abc {i}", choices=["de", "fgh ij"], gold=i % 2)) + "\n" for i in range(9)))
    (base / "study.toml").write_text(STUDY)
    out = base / "out"
    cells = run("study", base / "study.toml", "-o", out, "--list").stdout.split()
    assert len(cells) == len(set(cells)) and not out.exists()

    # killed at some moment, the same command does the rest
    process = subprocess.Popen([command, "study", base / "study.toml", "-o", out, "--compute", "fp32", "--threads", "2"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while len(list(out.glob("cells/*.json"))) < 5 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {p.name: p.stat().st_mtime_ns for p in out.glob("cells/*.json")}
    assert 5 <= len(before) < len(cells), len(before)
    results = json.loads(run("study", base / "study.toml", "-o", out, "--compute", "fp32", "--threads", "2", "--json").stdout)
    assert sorted(p.stem for p in out.glob("cells/*.json")) == sorted(cells)
    assert all((out / "cells" / name).stat().st_mtime_ns == stamp for name, stamp in before.items()), "a finished cell ran again"
    assert f"{len(cells)} cells: 0 run now" in run("study", base / "study.toml", "-o", out, "--compute", "fp32").stdout
    assert not list((out / "cache").iterdir()), "states that no cell needs are left"
    print(f"study: {len(cells)} cells, {len(before)} before the kill")

    # a cell is what the single run of its settings gives, whatever prefix it was started from
    rows = {(r["settings"]["criterion"], r["settings"]["pattern"], r["label"], r["settings"].get("samples")): r for r in results["rows"]}
    common = ["--calibration", base / "train.txt", "--samples", 16, "--length", 64, "--held-out", 4, "--evaluate", base / "test.txt", "--evaluate-length", 64,
              "--evaluate-windows", 4, "--compute", "fp32", "--threads", 2, "--json"]
    for criterion, pattern, repair, label, extra in (("wanda", ["--sparsity", 0.5], "solve,sublayer", "solve,sublayer (rate 0.001)", ["--learning-rate", 1e-3]), ("magnitude", ["--pattern", "2:4"], "none", "none", []),
                                                     ("wanda", ["--sparsity", 0.7], "solve,sublayer", "solve,sublayer (rate 0.001)", ["--learning-rate", 1e-3])):
        single = json.loads(run("compress", base / "dense", "-o", base / "single", "--overwrite", "--criterion", criterion, *pattern, "--repair", repair, *extra, *common).stdout)
        text = {0.5: "50%", 0.7: "70%"}.get(pattern[1], pattern[1])
        row = rows[(criterion, text, label, None if criterion == "magnitude" else 16)]
        assert abs(row["figures"]["test"]["mean"] / single["figures"]["repaired"]["perplexity"] - 1) < 1e-4, (row, single["figures"])
        dense = single["figures"]["dense"]["perplexity"]
    assert abs(results["dense"][0]["figures"]["test"]["perplexity"] / dense - 1) < 1e-6
    # the gap that repair closed, by its definition
    row, start = rows[("wanda", "70%", "solve,sublayer (rate 0.001)", 16)], rows[("wanda", "70%", "none", 16)]
    top, here, bottom = (math.log(x) for x in (start["figures"]["test"]["mean"], row["figures"]["test"]["mean"], dense))
    assert abs(row["figures"]["test"].get("gap_closed", 0) - ((top - here) / (top - bottom) if top > bottom else 0)) < 1e-9
    # seeds: mean and sample deviation over three
    values = [json.loads(p.read_text()) for p in out.glob("cells/*.json")]
    blocks = [v["figures"]["test"]["perplexity"] for v in values if v["settings"]["repair"] == "blocks:2"]
    row = rows[("wanda", "50%", "blocks:2 (rate 0.001)", 16)]
    mean = sum(blocks) / 3
    assert len(blocks) == 3 and abs(row["figures"]["test"]["mean"] - mean) < 1e-9
    assert abs(row["figures"]["test"]["deviation"] - math.sqrt(sum((b - mean) ** 2 for b in blocks) / 2)) < 1e-9
    assert all(v["tasks"]["choices"]["examples"] == 5 for v in values)
    table = list(csv.DictReader((out / "results.csv").open()))
    assert len(table) == len(results["rows"]) and all(len(r) == len(table[0]) and None not in r for r in table)
    assert (out / "results.md").read_text().count("\n| ") >= len(results["rows"])
    print("results: equal to single runs; json, csv, md agree")

    # another study in the same folder keeps what it shares
    (base / "study.toml").write_text(STUDY.replace('criterion = ["magnitude", "wanda"]', 'criterion = ["magnitude", "wanda", "ria"]'))
    more = run("study", base / "study.toml", "-o", out, "--compute", "fp32", "--threads", "2").stdout
    assert f"{len(cells) + 6} cells: 6 run now, 0 of them failed" in more, more

    # a cell of other learning rates than it would have now is out of date
    path = next(p for p in (out / "cells").glob("*-sublayer-*.json"))
    cell = json.loads(path.read_text())
    assert list(cell["learning_rates"]) == ["sublayer"], cell
    cell["learning_rates"]["sublayer"] *= 2
    path.write_text(json.dumps(cell))
    assert "cells: 1 run now, 0 of them failed" in run("study", base / "study.toml", "-o", out, "--compute", "fp32", "--threads", "2").stdout

    # what cannot run is refused before anything runs, with the cell and the reason
    refused(base, STUDY.replace('loss = ["mse"', 'loss = ["l1"'), "l1")
    refused(base, STUDY.replace("samples = [4, 16]", 'sample = 4'), "'sample'")
    refused(base, STUDY.replace('repair = "sublayer"\npropagation', 'repair = "auto"\npropagation'), "auto")
    refused(base, STUDY.replace('pattern = ["50%", "70%", "2:4"]', 'pattern = ["5:4"]'), "5:4")
    refused(base, STUDY.replace('repair = ["none", "solve,sublayer"]\nlearning', 'repair = ["matrix"]\nloss = "next-norm"\nlearning'), "matrix")
    print("refusals: one line each")

    browser = chromium()
    html = (out / "study.html").read_text()
    charts = check(browser, html, None, base)
    # sparsity; criteria at three patterns; three for granularity; budget; propagation and loss
    assert charts >= 8, charts
    if len(sys.argv) > 2:
        from browser import open_page
        open_page(browser, out / "study.html", f"--screenshot={sys.argv[2]}")
print(f"page: {charts} charts drawn")
