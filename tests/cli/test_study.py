"""A study on a model of 100,000 weights: every cell runs once and equals the single run of its settings."""
import csv
import json
import math
import shutil
import signal
import subprocess
import time
import types

import pytest
from browser import chromium, expect_drawn
from freelunch_command import command, refusal, run, run_json

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


def choice(i):
    return json.dumps(dict(context=f"abc {i}", choices=["de", "fgh ij"], gold=i % 2)) + "\n"


@pytest.fixture(scope="module")
def base(dense, train_text, evaluation_text, tmp_path_factory):
    base = tmp_path_factory.mktemp("study")
    shutil.copytree(dense, base / "dense")
    shutil.copy(train_text, base / "train.txt")
    shutil.copy(evaluation_text, base / "test.txt")
    (base / "choices.jsonl").write_text("".join(choice(i) for i in range(9)))
    (base / "study.toml").write_text(STUDY)
    return base


@pytest.fixture(scope="module")
def cells(base):
    """The names of the cells, as --list prints them."""
    return run("study", base / "study.toml", "-o", base / "listed", "--list").split()


def stamps(out):
    return {path.name: path.stat().st_mtime_ns for path in out.glob("cells/*.json")}


def study_arguments(base, out):
    return ["study", base / "study.toml", "-o", out, "--compute", "fp32", "--threads", 2]


@pytest.fixture(scope="module")
def finished(base):
    """out: the folder of a study that was killed once and then finished; before: the cells that the first process
    had finished; after: all cells; results: what the second process printed."""
    out = base / "out"
    process = subprocess.Popen([command(), *map(str, study_arguments(base, out))], stderr=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL)
    while len(stamps(out)) < 5 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = stamps(out)
    results = run_json(*study_arguments(base, out))
    return types.SimpleNamespace(out=out, before=before, after=stamps(out), results=results)


@pytest.fixture(scope="module")
def rows(finished):
    """(criterion, pattern, label, samples) -> row of the results."""
    keys = [(r["settings"]["criterion"], r["settings"]["pattern"], r["label"], r["settings"].get("samples"))
            for r in finished.results["rows"]]
    return dict(zip(keys, finished.results["rows"]))


@pytest.fixture(scope="module")
def values(finished):
    """The contents of all cells."""
    return [json.loads((finished.out / "cells" / name).read_text()) for name in finished.after]


@pytest.fixture
def again(base, finished):
    """A copy of the finished study that a test may change and run again."""
    out = base / "again"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(finished.out, out)
    yield out
    (base / "study.toml").write_text(STUDY)


def test_list_prints_each_cell_once_and_writes_nothing(base, cells):
    assert len(cells) == len(set(cells)) and not (base / "listed").exists()


def test_a_killed_study_runs_only_the_cells_that_are_missing(finished, cells):
    assert 5 <= len(finished.before) < len(cells)
    assert sorted(finished.after) == sorted(f"{cell}.json" for cell in cells)
    assert all(finished.after[name] == stamp for name, stamp in finished.before.items()), "a finished cell ran again"


def test_a_finished_study_leaves_no_states(finished):
    assert not list((finished.out / "cache").iterdir())


def test_a_finished_study_has_nothing_to_run(base, again, cells):
    assert f"{len(cells)} cells: 0 run now" in run("study", base / "study.toml", "-o", again, "--compute", "fp32")


SOLVED = "solve,sublayer (rate 0.001)"


@pytest.fixture(scope="module")
def single(base, tmp_path_factory):
    """(options) -> the figures of one compress run with the study's settings."""

    def single(*options):
        report = run_json("compress", base / "dense", "-o", tmp_path_factory.mktemp("single") / "out", *options,
                          "--calibration", base / "train.txt", "--samples", 16, "--length", 64, "--held-out", 4,
                          "--evaluate", base / "test.txt", "--evaluate-length", 64, "--evaluate-windows", 4,
                          "--compute", "fp32", "--threads", 2)
        return {name: figure["perplexity"] for name, figure in report["figures"].items()}

    return single


@pytest.mark.parametrize("cell, options", [
    (("wanda", "50%", SOLVED, 16), "--criterion wanda --sparsity 0.5 --repair solve,sublayer --learning-rate 1e-3"),
    (("wanda", "70%", SOLVED, 16), "--criterion wanda --sparsity 0.7 --repair solve,sublayer --learning-rate 1e-3"),
    (("magnitude", "2:4", "none", None), "--criterion magnitude --pattern 2:4 --repair none"),
], ids=["wanda 50%", "wanda 70%", "magnitude 2:4"])
def test_a_cell_gives_the_figure_of_its_single_run(cell, options, rows, finished, single):
    figures = single(*options.split())
    assert abs(rows[cell]["figures"]["test"]["mean"] / figures["repaired"] - 1) < 1e-4
    dense = finished.results["dense"][0]["figures"]["test"]["perplexity"]
    assert abs(dense / figures["dense"] - 1) < 1e-6


def test_the_gap_that_repair_closed_follows_its_definition(rows, finished):
    figures = rows[("wanda", "70%", SOLVED, 16)]["figures"]["test"]
    start = rows[("wanda", "70%", "none", 16)]["figures"]["test"]
    dense = finished.results["dense"][0]["figures"]["test"]["perplexity"]
    top, here, bottom = math.log(start["mean"]), math.log(figures["mean"]), math.log(dense)
    expected = (top - here) / (top - bottom) if top > bottom else 0
    assert abs(figures.get("gap_closed", 0) - expected) < 1e-9


def test_seeds_are_summed_up_by_mean_and_sample_deviation(rows, values):
    seeds = [v["figures"]["test"]["perplexity"] for v in values if v["settings"]["repair"] == "blocks:2"]
    figures = rows[("wanda", "50%", "blocks:2 (rate 0.001)", 16)]["figures"]["test"]
    mean = sum(seeds) / 3
    assert len(seeds) == 3 and abs(figures["mean"] - mean) < 1e-9
    assert abs(figures["deviation"] - math.sqrt(sum((s - mean) ** 2 for s in seeds) / 2)) < 1e-9


def test_every_cell_answers_the_tasks_up_to_the_limit(values):
    assert all(v["tasks"]["choices"]["examples"] == 5 for v in values)


def test_the_tables_hold_every_row(finished):
    rows = finished.results["rows"]
    with (finished.out / "results.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows) and all(len(r) == len(table[0]) and None not in r for r in table)
    assert (finished.out / "results.md").read_text().count("\n| ") >= len(rows)


def test_another_study_in_the_same_folder_keeps_the_cells_that_it_shares(base, again, cells):
    more = STUDY.replace('criterion = ["magnitude", "wanda"]', 'criterion = ["magnitude", "wanda", "ria"]')
    (base / "study.toml").write_text(more)
    printed = run(*study_arguments(base, again))
    assert f"{len(cells) + 6} cells: 6 run now, 0 of them failed" in printed


def test_a_cell_of_other_learning_rates_is_out_of_date(base, again):
    path = next(path for path in (again / "cells").glob("*-sublayer-*.json"))
    cell = json.loads(path.read_text())
    assert list(cell["learning_rates"]) == ["sublayer"], cell
    cell["learning_rates"]["sublayer"] *= 2
    path.write_text(json.dumps(cell))
    assert "cells: 1 run now, 0 of them failed" in run(*study_arguments(base, again))


@pytest.mark.parametrize("line, instead, reason", [
    ('loss = ["mse"', 'loss = ["l1"', "l1"),
    ("samples = [4, 16]", "sample = 4", "'sample'"),
    ('repair = "sublayer"\npropagation', 'repair = "auto"\npropagation', "auto"),
    ('pattern = ["50%", "70%", "2:4"]', 'pattern = ["5:4"]', "5:4"),
    ('repair = ["none", "solve,sublayer"]\nlearning', 'repair = ["matrix"]\nloss = "next-norm"\nlearning', "matrix"),
], ids=["unknown loss", "unknown key", "auto as a cell", "impossible pattern", "loss that a stage cannot use"])
def test_a_study_with_a_cell_that_cannot_run_is_refused_before_anything_runs(line, instead, reason, base):
    assert line in STUDY
    (base / "bad.toml").write_text(STUDY.replace(line, instead))
    assert reason in refusal(2, "study", base / "bad.toml", "-o", base / "bad")
    assert not (base / "bad").exists()


def test_the_page_draws_every_chart(finished, tmp_path):
    charts = expect_drawn(chromium(), (finished.out / "study.html").read_text(), None, tmp_path)
    # sparsity; criteria at three patterns; three for granularity; budget; propagation and loss
    assert charts >= 8
