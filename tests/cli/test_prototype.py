"""The PyTorch prototype of the README's peer table does the same job as `freelunch compress`."""
import json
import os
import pathlib
import subprocess
import sys

import pytest

import tiny_model

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMAND = pathlib.Path(os.environ.get("FREELUNCH_COMMAND", ROOT / "build/release/freelunch")).resolve()
PROTOTYPE = ROOT / "benchmarks/peers/prototype.py"
CALIBRATION = ["--calibration", "text.jsonl", "--samples", "12", "--length", "64"]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with texts and a model whose weights are large enough that pruning changes its perplexity by a tenth."""
    folder = tmp_path_factory.mktemp("prototype")
    tiny_model.make(folder / "model", initializer_range=0.3, max_position_embeddings=2048)
    lines = tiny_model.text(30000).splitlines()
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    (folder / "wiki.txt").write_text(tiny_model.text(12000, seed=1))
    return folder


def run(work, *argv):
    result = subprocess.run([*map(str, argv)], cwd=work, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def prototype(work, *settings):
    text = ["--text", "wiki.txt", "--windows", "2"]
    told = run(work, sys.executable, PROTOTYPE, "--model", "model", *CALIBRATION, *text, *settings)
    return json.loads(told.splitlines()[-1])


def perplexity_after_compress(work, *settings):
    run(work, COMMAND, "compress", "model", "--output", "out", "--overwrite", *CALIBRATION, *settings)
    told = run(work, COMMAND, "perplexity", "out", "--text", "wiki.txt", "--windows", "2", "--length", "2048", "--json")
    return json.loads(told)["perplexity"]


@pytest.mark.parametrize("shared, ours", [
    (["--criterion", "magnitude", "--repair", "none"], ["--group", "row"]),
    (["--repair", "solve,sublayer", "--learning-rate", "2e-3"], ["--loss", "relative-mse"]),
], ids=["magnitude", "solve,sublayer"])
def test_prototype_and_compress_end_at_the_same_perplexity(work, shared, ours):
    expected = perplexity_after_compress(work, *shared, *ours)
    assert prototype(work, *shared)["perplexity"] == pytest.approx(expected, rel=0.015)


def test_it_times_every_stage(work):
    told = prototype(work, "--pattern", "2:4", "--repair", "solve,block,model", "--model-loss", "ce")
    assert list(told["stages"]) == ["solve", "block", "model"]
    assert told["seconds"] == pytest.approx(sum(told["stages"].values()))


def test_it_refuses_solve_after_another_stage(work):
    settings = ["--model", "model", *CALIBRATION, "--text", "wiki.txt", "--repair", "sublayer,solve"]
    result = subprocess.run([sys.executable, PROTOTYPE, *settings], cwd=work, capture_output=True, text=True)
    assert result.returncode == 2 and "--repair sublayer,solve" in result.stderr
