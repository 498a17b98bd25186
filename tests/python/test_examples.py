"""The example programs and the notebook run as they are, on a tiny model."""
import json
import os
import pathlib
import subprocess
import sys
import types

import pytest
from freelunch_command import tensors

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples/python"


def call(freelunch, name, *arguments):
    environment = dict(os.environ, PYTHONPATH=str(pathlib.Path(freelunch.__file__).parents[1]), OMP_NUM_THREADS="1")
    done = subprocess.run([sys.executable, EXAMPLES / f"{name}.py", *map(str, arguments)], capture_output=True,
                          text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_prune_in_memory(freelunch, folder, text, tmp_path):
    told = call(freelunch, "prune_in_memory", folder, text, tmp_path / "out")
    assert "zeros: 50.0%" in told and "perplexity: " in told
    assert freelunch.inspect(tmp_path / "out")["sparsity"]["matrices"] == 0.5
    assert "<html" in (tmp_path / "out/report.html").read_text()


def test_own_criterion(freelunch, folder, text, tmp_path):
    told = call(freelunch, "own_criterion", folder, text, tmp_path / "out")
    assert told.count("error") == 4
    assert any((tensor == 0).float().mean() == 0.5 for tensor in tensors(tmp_path / "out").values())


def test_building_blocks(freelunch):
    errors = [float(line.split()[-1]) for line in call(freelunch, "building_blocks").splitlines()]
    pruned, repaired, moved = errors
    assert 0 < repaired < pruned and 0 < moved < pruned


class Axes:
    """Stands in for matplotlib, which the tests do not install: keeps what is drawn."""

    def __init__(self):
        self.bars = []

    def bar(self, positions, heights, **style):
        self.bars.append(list(heights))

    def __getattr__(self, name):
        return lambda *arguments, **keywords: None


def test_the_notebook(freelunch, folder, text, tmp_path, monkeypatch):
    drawn = []
    plots = types.ModuleType("matplotlib.pyplot")

    def subplots(**keywords):
        drawn.append(Axes())
        return types.SimpleNamespace(tight_layout=lambda: None), drawn[-1]

    plots.subplots = subplots
    monkeypatch.setitem(sys.modules, "matplotlib", types.ModuleType("matplotlib"))
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", plots)
    sys.modules["matplotlib"].pyplot = plots
    for name, value in dict(MODEL=folder, TEXT=text, TEST=text, SAMPLES=8, LENGTH=64, OUTPUT=tmp_path / "out").items():
        monkeypatch.setenv(name, str(value))
    notebook = json.loads((EXAMPLES / "prune_in_memory.ipynb").read_text())
    assert all(cell["cell_type"] in ("code", "markdown") for cell in notebook["cells"])
    names = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    before, after = drawn[0].bars
    assert len(before) == len(after) == 4 and sum(after) < sum(before)  # two blocks of two sublayers
    dense, pruned, repaired = drawn[1].bars[0]
    assert min(dense, pruned, repaired) > 1
    assert freelunch.inspect(tmp_path / "out")["sparsity"]["matrices"] == pytest.approx(0.5)
