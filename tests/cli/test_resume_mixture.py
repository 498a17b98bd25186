"""A mixture of experts that dies and resumes: the same bytes and the same report as an undisturbed run, token counts
of the experts included. Each test can be run alone; FREELUNCH_COMMAND names the command."""
import json
import os
import pathlib

import pytest
import tiny_model
from resume import Run

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMAND = pathlib.Path(os.environ.get("FREELUNCH_COMMAND", ROOT / "build/release/freelunch"))
EXPERTS, BLOCKS = 4, 3
# what another process measures anew
MEASURED = {"seconds", "peak_bytes", "peak_device_bytes", "planned_bytes", "planned_seconds", "passes"}


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """`compress` of a tiny Qwen3-MoE, without repair and output."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    base = tmp_path_factory.mktemp("mixture")
    tiny_model.make(base / "dense", classes=(Qwen3MoeConfig, Qwen3MoeForCausalLM), num_hidden_layers=BLOCKS,
                    head_dim=16, moe_intermediate_size=48, num_experts=EXPERTS, num_experts_per_tok=2)
    (base / "train.txt").write_text(tiny_model.text(3000))
    (base / "test.txt").write_text(tiny_model.text(1500, seed=1))
    return ["compress", base / "dense", "--calibration", base / "train.txt", "--samples", 8, "--length", 32,
            "--held-out", 2, "--evaluate", base / "test.txt", "--evaluate-windows", 2, "--evaluate-length", 64,
            "--compute", "fp32", "--threads", 2, "--commit-seconds", 0]


def report_of(run):
    return json.loads((run.folder / "freelunch.json").read_text())


def lasting(report):
    """The part of a report that does not depend on the process that wrote it."""
    records = {part: [{k: v for k, v in record.items() if k not in MEASURED} for record in report[part]]
               for part in ("stages", "regions", "tensors")}
    return records | {part: report[part] for part in ("figures", "sparsity", "sha256", "model")}


def expert_tensors(report):
    return [tensor for tensor in report["tensors"] if ".experts." in tensor["name"]]


@pytest.mark.parametrize("repair", ["none", "solve", "solve,sublayer,model"])
def test_a_killed_run_of_a_mixture_resumes_to_the_same_bytes_and_the_same_report(options, tmp_path, repair):
    arguments = [*options, "--repair", repair]
    undisturbed = Run(COMMAND, arguments, tmp_path / "undisturbed")
    undisturbed.finish()
    expected = report_of(undisturbed)

    died = Run(COMMAND, arguments, tmp_path / "died")
    deaths = died.die_every(4)
    assert deaths > 0
    assert died.digest() == undisturbed.digest()
    resumed = report_of(died)
    assert lasting(resumed) == lasting(expected)

    # gate, up and down of each expert; every token reaches two experts in each block
    experts = expert_tensors(resumed)
    assert len(experts) == 3 * EXPERTS * BLOCKS
    for block in range(BLOCKS):
        gates = [t["tokens"] for t in experts if f"layers.{block}." in t["name"] and "gate_proj" in t["name"]]
        assert len(gates) == EXPERTS and sum(gates) == 2 * 8 * 32, gates
    assert all("tokens" not in t for t in resumed["tensors"] if ".experts." not in t["name"])


def test_token_counts_outlive_a_death_after_the_last_matrix_was_pruned(options, tmp_path):
    arguments = [*options, "--repair", "solve,sublayer"]
    run = Run(COMMAND, arguments, tmp_path / "out")
    # a line for the fingerprint, one for the decisions, one for the dense perplexity, then one for each sublayer
    pruned = 3 + 2 * BLOCKS
    assert run.kill_when(lambda: run.lines() > pruned)
    records = [json.loads(line)["record"] for line in run.journal.read_text().splitlines()]
    journaled = [t for r in records for t in r.get("report", {}).get("tensors", []) if ".experts." in t["name"]]
    assert len(journaled) == 3 * EXPERTS * BLOCKS and all(t["tokens"] > 0 for t in journaled)
    run.finish()
    assert [t["tokens"] for t in expert_tensors(report_of(run))] == [t["tokens"] for t in journaled]
