"""The guard: a stage that does not take the model nearer to the dense one is undone, and says so everywhere."""
import functools
import json
import shutil
import types

import pytest
import torch
from freelunch_command import call, command, run, run_json, tensors
from resume import Run
from safetensors.torch import load_file, save_file

# Options with which a stage after solve lowers its own error and takes the narrow model away from the dense one.
HARM = {
    "sublayer": "--loss relative-mse --learning-rate 2e-3",
    "model": "--model-loss ce --model-learning-rate 1e-4 --model-epochs 4",
}
MEASURED = ("seconds", "peak_bytes", "planned_bytes", "planned_seconds", "passes")


@pytest.fixture(scope="module")
def narrow(dense, tmp_path_factory):
    """A model whose head reads 8 of 64 dimensions, which the blocks hardly write: they are a small part of the error
    of a region and all of the model's."""
    folder = tmp_path_factory.mktemp("models") / "narrow"
    shutil.copytree(dense, folder)
    weights = load_file(folder / "model.safetensors")
    for name, tensor in weights.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor[:8] *= 0.003
    weights["model.embed_tokens.weight"][:, :8] *= 0.01
    weights["model.norm.weight"][:8] *= 500
    weights["model.norm.weight"][8:] = 0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def calibration(train_text):
    return ["--calibration", train_text, "--samples", 14, "--length", 32, "--held-out", 4, "--compute", "fp32",
            "--threads", 2]


@pytest.fixture(scope="module")
def compress(dense, narrow, calibration, tmp_path_factory):
    """(options, model) -> output folder, report, tensors and standard error of a run, run once."""

    @functools.cache
    def compress(options, model=narrow):
        out = tmp_path_factory.mktemp("guard") / "out"
        result = call("compress", model, "--output", out, *calibration, *options.split(), "--json")
        assert result.returncode == 0, result.stderr
        return types.SimpleNamespace(out=out, report=json.loads(result.stdout), errors=result.stderr,
                                     tensors=tensors(out))

    return compress


def stage_of(report, name):
    return next(stage for stage in report["stages"] if stage["name"] == name)


def equal(a, b):
    assert set(a) == set(b)
    return all(torch.equal(a[name], b[name]) for name in a)


def warnings(errors):
    return [line for line in errors.splitlines() if "undone" in line]


def test_a_run_reports_how_far_the_pruned_weights_and_those_after_each_stage_are_from_the_dense_model(dense, compress):
    stages = [s for s in compress("--repair solve,sublayer,model", dense).report["stages"] if "divergence" in s]
    assert [s["name"] for s in stages] == ["solve", "sublayer", "model"]
    now = stages[0]["divergence_before"]
    assert 0 < now < 1
    for stage in stages:
        assert stage["divergence_before"] == now and stage["divergence"] < now and "undone" not in stage, stage
        now = stage["divergence"]


def test_the_whole_model_starts_from_the_divergence_after_the_stage_before(dense, compress):
    report = compress("--repair solve,sublayer,model", dense).report
    [region] = [r for r in report["regions"] if r["stage"] == "model"]
    stage = stage_of(report, "model")
    assert (region["held_out_before"], region["held_out_after"]) == (stage["divergence_before"], stage["divergence"])


def test_masks_without_repair_report_the_pruned_weights(compress):
    prune = stage_of(compress("--repair none").report, "prune")
    assert 0 < prune["divergence"] < 1 and "divergence_before" not in prune and "undone" not in prune


@pytest.mark.parametrize("stage", HARM)
def test_a_harmful_stage_is_undone_and_says_so_in_one_line(stage, compress):
    harmed = compress(f"--repair solve,{stage} {HARM[stage]}")
    record = stage_of(harmed.report, stage)
    assert record["undone"] is True and record["divergence"] >= record["divergence_before"], record
    assert equal(harmed.tensors, compress("--repair solve").tensors)
    [line] = warnings(harmed.errors)
    said = {"sublayer": "sublayer: stopped after block 0, blocks 0 to 0 undone, since the KL divergence with the dense "
                        "model behind them rose from",
            "model": "model: undone, since the KL divergence from the dense model on held-out windows rose from"}
    assert said[stage] in line, line
    assert record.get("note", "") == ("stopped after block 0" if stage == "sublayer" else "")
    assert (harmed.out / "report.html").exists()


@pytest.mark.parametrize("stage", HARM)
def test_without_the_guard_a_harmful_stage_stays(stage, compress):
    harmed = compress(f"--repair solve,{stage} {HARM[stage]} --guard off")
    record = stage_of(harmed.report, stage)
    assert "undone" not in record and record["divergence"] > record["divergence_before"]
    assert harmed.report["plan"]["guard"] == "off" and not warnings(harmed.errors)
    assert not equal(harmed.tensors, compress("--repair solve").tensors)


def test_the_stage_after_an_undone_one_starts_from_the_better_weights(compress):
    model = "--model-epochs 1"
    skipped = compress(f"--repair solve,model {model}")
    after = compress(f"--repair solve,sublayer,model {model} --epochs 2 {HARM['sublayer']}")
    assert stage_of(after.report, "sublayer")["undone"]
    assert stage_of(after.report, "model")["divergence"] == stage_of(skipped.report, "model")["divergence"]
    assert equal(after.tensors, skipped.tensors)


def test_the_table_shows_every_stage_and_which_was_undone(narrow, calibration, tmp_path):
    table = run("compress", narrow, "--output", tmp_path / "out", *calibration, "--repair", "solve,sublayer",
                *HARM["sublayer"].split())
    rows = {line.split()[0]: line for line in table.splitlines() if " KL " in line}
    assert set(rows) == {"solve", "sublayer"}, table
    assert " -> " in rows["solve"] and "undone" not in rows["solve"] and rows["sublayer"].endswith(", undone"), table


def test_a_given_model_stays_as_it_came_if_its_repair_does_harm(narrow, calibration, compress, tmp_path):
    pruned = compress("--repair none")
    report = run_json("reconstruct", pruned.out, "--dense", narrow, "--output", tmp_path / "out", *calibration,
                      "--repair", "sublayer", *HARM["sublayer"].split())
    assert stage_of(report, "read masks")["divergence"] == stage_of(report, "sublayer")["divergence_before"]
    assert stage_of(report, "sublayer")["undone"]
    assert (tmp_path / "out/model.safetensors").read_bytes() == (pruned.out / "model.safetensors").read_bytes()


@pytest.mark.parametrize("text", [True, False], ids=["no held-out windows", "no calibration text"])
def test_without_held_out_windows_nothing_is_measured_and_nothing_undone(text, narrow, train_text, tmp_path):
    options = ["--repair", "none", "--criterion", "magnitude"]
    if text:
        options = ["--repair", "sublayer", "--calibration", train_text, "--samples", 14, "--length", 32, "--held-out", 0]
    report = run_json("compress", narrow, "--output", tmp_path / "out", *options)
    assert not any("divergence" in s or "undone" in s for s in report["stages"])


@pytest.mark.parametrize("stage", HARM)
def test_a_run_that_is_killed_again_and_again_decides_the_same(stage, narrow, calibration, tmp_path, compress):
    run = Run(command(), ["compress", narrow, *calibration, "--commit-seconds", 0, "--repair", f"solve,{stage}",
                          *HARM[stage].split()], tmp_path / "out")
    assert run.die_every(1 if stage == "sublayer" else 5) > 5
    assert equal(tensors(run.folder), compress("--repair solve").tensors)
    report = json.loads((run.folder / "freelunch.json").read_text())
    expected = compress(f"--repair solve,{stage} {HARM[stage]}").report

    def without_measurements(report):
        return [{k: v for k, v in s.items() if k not in MEASURED} for s in report["stages"]]

    assert without_measurements(report) == without_measurements(expected)


def test_the_cells_of_a_study_have_the_guard(narrow, train_text, evaluation_text, tmp_path, compress):
    (tmp_path / "study.toml").write_text(f"""
models = ["{narrow}"]
[calibration]
text = "{train_text}"
samples = 14
length = 32
held_out = 4
[[evaluate]]
name = "test"
text = "{evaluation_text}"
windows = 2
length = 32
[[grid]]
repair = ["solve", "solve,sublayer"]
loss = "relative-mse"
learning_rate = 2e-3
guard = ["on", "off"]
""")
    run("study", tmp_path / "study.toml", "-o", tmp_path / "out", "--compute", "fp32", "--threads", 2)
    cells = [json.loads(path.read_text()) for path in (tmp_path / "out/cells").glob("*.json")]
    expected = stage_of(compress(f"--repair solve,sublayer {HARM['sublayer']}").report, "sublayer")
    figures = {}
    for cell in cells:
        guard = cell["settings"].get("guard", "on")
        figures[cell["settings"]["repair"], guard] = cell["figures"]["test"]["perplexity"]
        if cell["settings"]["repair"] == "solve":
            continue
        record = stage_of(cell, "sublayer")
        assert record.get("undone", False) == (guard == "on")
        for key in ("divergence_before", "divergence"):
            assert guard == "off" or record[key] == expected[key]
    assert len(figures) == 4
    assert figures["solve,sublayer", "on"] == figures["solve", "on"] == figures["solve", "off"]
    assert figures["solve,sublayer", "off"] != figures["solve", "off"]
