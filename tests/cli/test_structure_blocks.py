"""Structured pruning of whole blocks: the smaller model is the dense one without them, and what is removed and how it is
made up for."""
import json

import architectures
import pytest
import tiny_model
import torch
from freelunch_command import refusal, run, tensors
from safetensors.torch import save_file
from smaller_models import ARCHITECTURES, IDS, WINDOWS, build, expect_equal, transformers_logits
from transformers import AutoModelForCausalLM

BLOCK_TENSOR = {"gpt2": "transformer.h.{}.", "gpt_neox": "gpt_neox.layers.{}.", "opt": "model.decoder.layers.{}."}


def dense_blocks_of(name, dense, small):
    """Which block of the dense model each block of the small one is, by a tensor that no refit changes."""
    prefix = BLOCK_TENSOR.get(name, "model.layers.{}.")
    norm = next(n for n in small if n.startswith(prefix.format(0)) and small[n].dim() == 1)[len(prefix.format(0)):]
    blocks = 0
    kept = []
    while prefix.format(blocks) + norm in small:
        value = small[prefix.format(blocks) + norm]
        kept.append(next(b for b in range(99) if torch.equal(dense[prefix.format(b) + norm], value)))
        blocks += 1
    return prefix, kept


@pytest.mark.parametrize("name", ARCHITECTURES + ["qwen3_moe, some blocks"])
def test_fewer_blocks_are_the_dense_model_without_those_blocks(name, train_text, oracle_probe, tmp_path):
    """Repair none: the model computes what transformers computes when it skips the removed blocks."""
    folder = build(name, tmp_path / "dense")
    tiny_model.make_tokenizer(folder)
    dense = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    small = tmp_path / "small"
    run("compress", folder, "-o", small, "--blocks", str(dense.config.num_hidden_layers - 1), "--repair", "none",
        "--criterion", "magnitude", "--unit-criterion", "magnitude", "--calibration", train_text, *WINDOWS)
    prefix, kept = dense_blocks_of(name, tensors(folder), tensors(small))
    assert len(kept) == dense.config.num_hidden_layers - 1 and kept == sorted(kept)
    (removed,) = set(range(dense.config.num_hidden_layers)) - set(kept)
    layers = dense.get_submodule(prefix.format(removed).rsplit(".", 2)[0])
    skip = type(layers[removed])
    forward = skip.forward

    def skipping(self, hidden_states, *args, **kwargs):
        if self is not layers[removed]:
            return forward(self, hidden_states, *args, **kwargs)
        out = forward(self, hidden_states, *args, **kwargs)
        return (hidden_states, *out[1:]) if isinstance(out, tuple) else hidden_states

    skip.forward = skipping
    try:
        with torch.no_grad():
            expected = dense(IDS).logits[0].numpy()
    finally:
        skip.forward = forward
    expect_equal(transformers_logits(small), expected)
    expect_equal(architectures.logits(oracle_probe, small, IDS), expected)


@pytest.mark.parametrize("criterion", ["loss", "influence", "angular", "residual"])
def test_a_block_that_does_nothing_is_removed_first(criterion, train_text, tmp_path):
    folder = tmp_path / "dense"
    tiny_model.make(folder, num_hidden_layers=4)
    weights = tensors(folder)
    for matrix in ("self_attn.o_proj", "mlp.down_proj"):
        weights[f"model.layers.2.{matrix}.weight"] *= 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    run("compress", folder, "-o", tmp_path / "small", "--blocks", "3", "--block-criterion", criterion, "--repair", "none",
        "--calibration", train_text, *WINDOWS)
    small = tensors(tmp_path / "small")
    for ours, theirs in enumerate([0, 1, 3]):
        assert torch.equal(small[f"model.layers.{ours}.mlp.up_proj.weight"],
                           weights[f"model.layers.{theirs}.mlp.up_proj.weight"])


def test_the_residual_of_a_refit_is_refused_where_nothing_can_be_refitted(train_text, tmp_path):
    build("gemma2", tmp_path / "dense")
    tiny_model.make_tokenizer(tmp_path / "dense")
    assert "residual refits the MLP before the removed blocks" in refusal(
        2, "compress", tmp_path / "dense", "-o", tmp_path / "small", "--blocks", "1", "--block-criterion", "residual",
        "--calibration", train_text, *WINDOWS)


def test_the_refit_at_a_seam_and_the_later_stages_make_up_for_a_block(train_text, tmp_path):
    folder = tmp_path / "dense"
    tiny_model.make(folder, num_hidden_layers=4)
    divergence = {}
    for repair in ("none", "solve", "solve,sublayer,model", "blocks:2"):
        output = tmp_path / repair.replace(",", "+").replace(":", "")
        run("compress", folder, "-o", output, "--blocks", "3", "--mlp", "96", "--block-criterion", "influence", "--repair",
            repair, "--calibration", train_text, *WINDOWS)
        report = json.loads((output / "freelunch.json").read_text())
        divergence[repair] = [s["divergence"] for s in report["stages"] if "divergence" in s]
        assert report["stages"][-2]["name"] != "cut" or repair in ("none", "solve")
    assert divergence["solve"][-1] < divergence["none"][-1]
    assert divergence["solve,sublayer,model"][-1] < divergence["solve"][-1]
    assert divergence["blocks:2"][-1] <= divergence["blocks:2"][0]
