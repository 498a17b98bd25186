"""Report pages in headless Chromium: every chart is drawn and the console holds no error.

A picture of the page of a report: test_page.py PROBE SCREENSHOT.png [freelunch.json]
"""
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import pytest
from browser import chromium, expect_drawn, open_page


def sample():
    """As large as a real run: 30 blocks, three stages, 210 matrices; with text that would break a careless page."""
    regions = []
    for stage in ("solve", "sublayer"):
        for block in range(30):
            for sublayer in ("attention", "mlp"):
                error = 0.02 * math.exp(0.1 * block) * (2 if sublayer == "mlp" else 1)
                regions.append(dict(stage=stage, region=f"blocks.{block}.{sublayer}", before=error, after=error * 0.6,
                                    held_out_before=error * 1.1, held_out_after=error * 0.75, seconds=1.5,
                                    improved=True))
    regions.append(dict(stage="model", region="model", before=0.31, after=0.26, held_out_before=0.31,
                        held_out_after=0.26, seconds=99, improved=True))
    matrices = [*(f"self_attn.{m}_proj" for m in "qkvo"), *(f"mlp.{m}_proj" for m in ("gate", "up", "down"))]
    tensors = [dict(name=f"model.layers.{b}.{m}.weight", shape=[576, 576], zeros=165888, elements=331776,
                    sparsity=0.5, pattern="50%") for b in range(30) for m in matrices]
    stages = [dict(name="solve", seconds=90.0, peak_bytes=9e8, divergence_before=0.51, divergence=0.38),
              dict(name="sublayer", seconds=280.0, peak_bytes=1.1e9, divergence_before=0.38, divergence=None,
                   undone=True),
              dict(name="model", seconds=160.0, peak_bytes=1.8e9, divergence_before=0.38, divergence=0.26)]
    figures = dict(dense=19.9, pruned=44.4, repaired=31.2)
    return dict(freelunch="0.1.0", command="freelunch compress '</script><!-- x'", date="2026-01-01T00:00:00Z",
                model=dict(name="sample", architecture="llama", parameters=134515008),
                plan={"sparsity": 0.5, "criterion": "wanda", "repair": ["solve", "sublayer", "model"],
                      "loss": "relative-mse", "model-loss": "kl"},
                figures={name: dict(perplexity=p, tokens=20480, windows=10, length=2048)
                         for name, p in figures.items()},
                stages=stages,
                regions=regions, tensors=tensors, sparsity=dict(pruned_tensors=0.5, whole_model=0.39),
                peak_bytes=1800000000, seconds=640.0, output="out")


def page_of(report, probe):
    result = subprocess.run([probe], input=json.dumps(report), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_page_of_a_whole_run_draws_seven_charts(report_probe, tmp_path):
    expect_drawn(chromium(), page_of(sample(), report_probe), 7, tmp_path)


@pytest.mark.parametrize("missing", [("figures", "regions")], ids=["no repair and no evaluation"])
def test_a_page_with_less_to_show_draws_all_of_it(missing, report_probe, tmp_path):
    report = {key: value for key, value in sample().items() if key not in missing}
    expect_drawn(chromium(), page_of(report, report_probe), 4, tmp_path)


def test_a_page_without_divergences_draws_the_rest(report_probe, tmp_path):
    report = sample()
    for stage in report["stages"]:
        for key in ("divergence_before", "divergence", "undone"):
            stage.pop(key, None)
    expect_drawn(chromium(), page_of(report, report_probe), 6, tmp_path)


@pytest.mark.parametrize("seconds, shown", [(1439.6, "24 min 0 s"), (99.94, "99.9 s"), (125.4, "2 min 5 s")])
def test_times_are_rounded_to_whole_seconds_before_they_are_split(seconds, shown, report_probe, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(page_of(sample() | {"seconds": seconds}, report_probe))
    assert shown in open_page(chromium(), page, "--dump-dom").stdout


if __name__ == "__main__":
    program, picture, *report = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        page = pathlib.Path(folder) / "page.html"
        content = json.loads(pathlib.Path(report[0]).read_text()) if report else sample()
        page.write_text(page_of(content, program), encoding="utf-8")
        open_page(chromium(), page, f"--screenshot={picture}")
