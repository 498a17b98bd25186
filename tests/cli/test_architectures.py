"""Whole runs of every architecture: exact zeros, and a folder in which transformers sees the same model as we do."""
import functools
import json
import math
import types

import architectures
import numpy as np
import pytest
import tiny_model
import torch
from architectures import logits
from freelunch_command import run, run_json
from transformers import AutoModelForCausalLM, AutoTokenizer

NAMES = [name for name in architectures.cases if "," not in name] + ["opt, 350m"]
RECIPES = {
    "solve,sublayer,model": "--sparsity 0.5 --repair solve,sublayer,model --sensitivity kronecker",
    "2:4 matrix,block": "--pattern 2:4 --criterion sparsegpt --repair matrix,block",
    "owl solve,sublayer":
        "--sparsity 0.6 --repair solve,sublayer --loss next-norm --allocation owl --blend 0,0.5",
}
# streams of two widths, experts, norms after the sum
OWL = ("gpt_neox", "mixtral", "opt, 350m")
RUNS = [(name, recipe) for name in NAMES for recipe in RECIPES if name in OWL or not recipe.startswith("owl")]
IDS = torch.randint(0, architectures.VOCABULARY, (1, 40), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    base = tmp_path_factory.mktemp("architectures")
    (base / "train.txt").write_text(tiny_model.text(3000))
    (base / "test.txt").write_text(tiny_model.text(1200, seed=1))
    return base


@pytest.fixture(scope="module")
def dense(base):
    """architecture -> folder and model, made once."""

    @functools.cache
    def save(name):
        folder = base / name.replace(", ", "-")
        model = architectures.build(name)
        model.save_pretrained(folder)
        tiny_model.make_tokenizer(folder)
        return folder, model

    return save


@pytest.fixture(scope="module")
def compressed(base, dense):
    """(architecture, recipe) -> output folder and report, run once."""

    @functools.cache
    def compress(name, recipe):
        out = base / f"{name}-{recipe}".replace(":", "_").replace(" ", "-")
        report = run_json("compress", dense(name)[0], "--output", out, *RECIPES[recipe].split(),
                          "--calibration", base / "train.txt", "--samples", 12, "--length", 32, "--held-out", 4,
                          "--evaluate", base / "test.txt", "--compute", "fp32", "--threads", 2)
        return types.SimpleNamespace(out=out, report=report, matrices=report["tensors"], regions=report["regions"])

    return compress


@pytest.mark.parametrize("name", NAMES)
def test_a_copied_folder_gives_the_same_logits(name, base, dense, oracle_probe):
    folder, _ = dense(name)
    untouched = base / f"{name}-untouched"
    run("convert", folder, "--output", untouched)
    assert np.array_equal(logits(oracle_probe, untouched, IDS), logits(oracle_probe, folder, IDS))


@pytest.mark.parametrize("name, recipe", RUNS)
def test_every_matrix_has_the_zeros_that_were_asked_for(name, recipe, compressed, dense):
    made = compressed(name, recipe)
    found = {t["name"]: t for t in run_json("inspect", made.out)["tensors"]}
    blocks = dense(name)[1].config.num_hidden_layers
    assert len(made.matrices) > 5 * blocks or name.startswith(("gpt", "opt"))
    if recipe.startswith("owl"):
        share = sum(t["zeros"] for t in made.matrices) / sum(math.prod(t["shape"]) for t in made.matrices)
        assert abs(share - 0.6) < 0.02
        return
    for t in made.matrices:
        rows, columns = t["shape"]
        assert t["zeros"] == rows * (columns // 2) == found[t["name"]]["zeros"], t
        assert not recipe.startswith("2:4") or found[t["name"]]["pattern"] == "2:4", found[t["name"]]


@pytest.mark.parametrize("name, recipe", RUNS)
def test_transformers_gives_the_same_logits_of_the_compressed_model(name, recipe, compressed, oracle_probe):
    out = compressed(name, recipe).out
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()(IDS).logits[0].numpy()
    assert np.abs(logits(oracle_probe, out, IDS) - expected).max() / np.abs(expected).max() < 1e-4


@pytest.mark.parametrize("name, recipe", RUNS)
def test_repair_lowers_the_held_out_error(name, recipe, compressed):
    regions = compressed(name, recipe).regions
    assert all(r["held_out_after"] <= r["held_out_before"] for r in regions)
    if not recipe.startswith("owl"):
        assert sum(r["held_out_after"] for r in regions) < sum(r["held_out_before"] for r in regions)


EXAMPLES = [dict(context="abc fed hij abc fed hij dab", choices=["dab ce", "fa gig"], gold=0),
            dict(context="cab dad", choices=["gig", "hid be abc"], gold=1)]


@pytest.mark.parametrize("name", NAMES)
def test_choices_that_share_a_context_get_the_log_likelihoods_that_they_get_alone(name, dense, tmp_path):
    """Zero-shot reads a context once and all its choices next to each other."""
    folder, model = dense(name)
    (tmp_path / "task.jsonl").write_text("\n".join(map(json.dumps, EXAMPLES)))
    report = run_json("zeroshot", folder, "--tasks", tmp_path / "task.jsonl", "--compute", "fp32", "--examples")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for example, ours in zip(EXAMPLES, report["tasks"][0]["scored"], strict=True):
        for choice, got in zip(example["choices"], ours["log_likelihoods"], strict=True):
            whole = tokenizer.encode(example["context"] + " " + choice)
            alone = tokenizer.encode(example["context"])
            with torch.no_grad():
                log_p = model(torch.tensor([whole])).logits[0].log_softmax(-1)
            expected = sum(log_p[i - 1, whole[i]].item() for i in range(len(alone), len(whole)))
            assert abs(got - expected) < 1e-3, (example, got, expected)
