"""One key of config.json or one tensor is removed, renamed, added or changed: our logits are those of transformers, or
the model is refused. There is no third outcome."""
import json
import os
import re

import architectures
import numpy as np
import pytest
import torch
from architectures import ROPE, difference, each_logits
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

logging.disable_progress_bar()
BASES = [name for name in architectures.cases if "," not in name]
IDS = torch.randint(0, architectures.VOCABULARY, (1, 40), generator=torch.Generator().manual_seed(2))
LAYERS = ["sliding_attention", "full_attention"] * 3

# Every key that the forward pass of some model of transformers reads, with values that change it. All architectures
# get all of them: an architecture that does not read a key must ignore it, or refuse it.
VALUES = {
    "hidden_act": ["gelu", "gelu_new", "relu", "quick_gelu", "swish"], "hidden_activation": ["silu", "relu"],
    "activation_function": ["silu", "relu", "gelu"],
    "rms_norm_eps": [0.1], "layer_norm_eps": [0.1], "layer_norm_epsilon": [0.1],
    "layer_norm_elementwise_affine": [False],
    "rope_theta": [30.0], "rotary_emb_base": [30.0], "rope_local_base_freq": [30.0], "rotary_pct": [0.5],
    "partial_rotary_factor": [0.5, 0.35], "original_max_position_embeddings": [16],
    "rope_scaling": [dict(scaling) for scaling in ROPE.values()] + [dict(type="su", factor=2.0),
                                                                     dict(rope_type="proportional", factor=2.0), {}],
    "rope_parameters": [dict(rope_type="linear", factor=4.0), dict(rope_type="default", rope_theta=30.0),
                        dict(rope_type="default", partial_rotary_factor=0.5),
                        dict(rope_type="linear", factor=4.0, partial_rotary_factor=0.5),
                        dict(full_attention=dict(rope_type="linear", factor=4.0)),
                        dict(sliding_attention=dict(rope_type="linear", factor=4.0)), {}],
    "max_position_embeddings": [32],
    "sliding_window": [8, None], "use_sliding_window": [True], "max_window_layers": [1],
    "layer_types": ["half", ["full_attention", "full_attention", "chunked_attention"]],
    "sliding_window_pattern": [2], "_sliding_window_pattern": [2], "use_bidirectional_attention": [True],
    "attention_bias": [True, False], "mlp_bias": [True], "enable_bias": [False], "attention_out_bias": [True],
    "head_dim": [8, None], "num_key_value_heads": [1, 4, None], "num_attention_heads": [2, 8],
    "num_hidden_layers": [2, 4],
    "query_pre_attn_scalar": [7], "attn_logit_softcapping": [0.3, None], "final_logit_softcapping": [0.3, None],
    "scale_attn_weights": [False], "scale_attn_by_inverse_layer_idx": [True], "reorder_and_upcast_attn": [True],
    "add_cross_attention": [True], "use_parallel_residual": [True, False], "do_layer_norm_before": [True, False],
    "_remove_final_layer_norm": [True], "word_embed_proj_dim": [32],
    "num_experts_per_tok": [1], "num_local_experts": [2], "num_experts": [2], "norm_topk_prob": [True, False],
    "decoder_sparse_step": [2], "mlp_only_layers": [[0], None], "moe_intermediate_size": [32], "n_inner": [None, 64],
    "intermediate_size": [64], "embedding_multiplier": [3.0], "residual_multiplier": [0.5], "logits_scaling": [2.0],
    "tie_word_embeddings": [True, False],
    "attention_multiplier": [0.5], "logit_scale": [2.0], "clip_qkv": [0.1], "pretraining_tp": [2], "layerdrop": [0.5],
}
READ_BY_NAME = ["head_dim", "sliding_window", "rope_theta", "partial_rotary_factor", "original_max_position_embeddings"]
# without pad_token_id, Phi-3's class assumes one that a small vocabulary does not have
KEPT = {"model_type", "architectures", "dtype", "transformers_version", "pad_token_id"}
WITHOUT_ROTARY = ("gpt2", "opt")  # their classes fail on what they never read


def variants(config):
    """(what was done, the config.json) for each change of one key."""
    for key in config.keys() - KEPT:
        yield f"without {key}", {k: v for k, v in config.items() if k != key}
        yield f"{key} renamed", {"my_" * (k == key) + k: v for k, v in config.items()}
    for key, values in VALUES.items():
        if config["model_type"] in WITHOUT_ROTARY and key.startswith("rope_"):
            continue
        for value in values:
            if value == "half":
                value = LAYERS[:config.get("num_hidden_layers", 3)]
            yield f"{key} = {value}", {**config, key: value}


def read_by_transformers(folder):
    """What the forward pass can read of the configuration, as text; a key that no class has is not read."""
    config = AutoConfig.from_pretrained(folder)
    fields = [*type(config).__dataclass_fields__, *READ_BY_NAME]
    return json.dumps({key: getattr(config, key, None) for key in fields} | {"model": config.model_type}, default=str)


def transformers_logits(folder):
    """None if transformers refuses the folder, or invents weights for it."""
    try:
        model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                           output_loading_info=True)
        if info["missing_keys"] or info["mismatched_keys"]:
            return None
        with torch.no_grad():
            return model.eval()(IDS).logits[0].numpy()
    except Exception:  # any: what matters is that there are no logits
        return None


class Oracle:
    """transformers' logits of folders with the same weights, once for each configuration that it tells apart."""

    def __init__(self):
        self.known = {}

    def __call__(self, folder):
        try:
            key = read_by_transformers(folder)
        except Exception:
            return None
        if key not in self.known:
            self.known[key] = transformers_logits(folder)
        return self.known[key]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """architecture -> the folder of its random checkpoint."""
    folders = {}
    for name in BASES:
        folders[name] = tmp_path_factory.mktemp("every_key") / name
        architectures.build(name).save_pretrained(folders[name])
    return folders


def expect_no_third_outcome(probe, variants, oracle):
    """variants: (what was done, folder)."""
    faults = []
    for (what, folder), ours in zip(variants, each_logits(probe, [(folder, IDS) for _, folder in variants])):
        if not isinstance(ours, np.ndarray):
            assert ours[0] in (3, 4), (what, ours)
            continue
        theirs = oracle(folder)
        if theirs is None:
            faults.append(f"{what}: transformers refuses it")
        elif not difference(ours, theirs) < 1e-4:
            faults.append(f"{what}: differs by {difference(ours, theirs):.3g}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", BASES)
def test_a_changed_key_gives_the_logits_of_transformers_or_is_refused(name, saved, oracle_probe, tmp_path):
    config = json.loads((saved[name] / "config.json").read_text())
    if name == "mixtral":  # without it, transformers fails for every scaling that depends on the length
        config["head_dim"] = 16
    folders = []
    for i, (what, changed) in enumerate(variants(config)):
        folder = tmp_path / str(i)
        folder.mkdir()
        os.symlink(saved[name] / "model.safetensors", folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(changed))
        folders.append((what, folder))
    expect_no_third_outcome(oracle_probe, folders, Oracle())


def kinds(tensors):
    """A tensor of each kind: those of block 1 and those outside."""
    return [key for key in tensors if not any(f".{b}." in key for b in (0, 2, 3, 4, 5))]


def heads(tensors, config):
    """(what was done, config.json, tensors) for each way to store and to declare embedding and head."""
    embedding = next(key for key in tensors if re.search(r"(embed_tokens|wte|embed_in)\.weight$", key))
    head = "embed_out.weight" if config["model_type"] == "gpt_neox" else "lm_head.weight"
    body = {k: t for k, t in tensors.items() if k not in (embedding, head)}
    one = tensors[embedding]
    other = torch.randn(one.shape, generator=torch.Generator().manual_seed(7)) * one.std()
    stored = {"the embedding alone": {embedding: one}, "the head alone": {head: one},
              "the same twice": {embedding: one, head: one.clone()}, "both": {embedding: one, head: other}, "neither": {}}
    for what, pair in stored.items():
        for tied in (True, False, None):
            declared = {k: v for k, v in config.items() if k != "tie_word_embeddings"}
            if tied is not None:
                declared["tie_word_embeddings"] = tied
            yield f"{what}, tied: {tied}", declared, {**body, **pair}


@pytest.mark.parametrize("name", BASES)
def test_a_changed_tensor_gives_the_logits_of_transformers_or_is_refused(name, saved, oracle_probe, tmp_path):
    tensors = load_file(saved[name] / "model.safetensors")
    config = json.loads((saved[name] / "config.json").read_text())
    changed = list(heads(tensors, config))
    for key in kinds(tensors):
        rest = {k: t for k, t in tensors.items() if k != key}
        changed.append((f"without {key}", config, rest))
        changed.append((f"{key} renamed", config, {**rest, key + "_2": tensors[key]}))
        if key.endswith(".weight") and key[:-6] + "bias" not in tensors:
            bias = torch.ones(tensors[key].shape[0])
            changed.append((f"{key[:-6]}bias added", config, {**tensors, key[:-6] + "bias": bias}))
        if tensors[key].dim() == 1 and len(tensors[key]) > 2:
            changed.append((f"{key} shorter", config, {**tensors, key: tensors[key][:-2].clone()}))
    folders = []
    for i, (what, declared, held) in enumerate(changed):
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(declared))
        save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
        folders.append((what, folder))
    expect_no_third_outcome(oracle_probe, folders, transformers_logits)
