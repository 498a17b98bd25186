"""Scaled rotary positions: logits equal those of transformers, in folders and GGUF files, or the model is refused."""
import json
import types

import architectures
import gguf
import numpy as np
import pytest
import test_gguf_models
import torch
from architectures import ROPE, difference, each_logits, small
from freelunch_command import refusal, run
from transformers import (
    AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig,
    LlamaForCausalLM, Phi3Config, Phi3ForCausalLM)

LENGTHS = (24, 100)  # shorter and longer than every length below
SIZES = dict(small, max_position_embeddings=64)
IDS = [torch.randint(0, architectures.VOCABULARY, (1, n), generator=torch.Generator().manual_seed(n)) for n in LENGTHS]


def random_model(cls, config):
    """Weights so large that attention is uneven and positions matter."""
    torch.manual_seed(5)
    model = cls(config).eval().float()
    for p in model.parameters():
        p.data *= 4 if p.dim() > 1 else 1
    return model


def logits_of(model):
    """One fresh model for each window: dynamic frequencies depend on the windows before."""
    model = model.float().eval()
    with torch.no_grad():
        return [model(ids).logits[0].numpy() for ids in IDS]


def loaded(folder):
    """Of the folder, in fp32, each window by a model of its own."""
    with torch.no_grad():
        return [AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()(ids).logits[0].numpy()
                for ids in IDS]


def expect_ours(probe, path, expected):
    for ours, theirs in zip(each_logits(probe, [(path, ids) for ids in IDS]), expected):
        assert isinstance(ours, np.ndarray), ours
        assert difference(ours, theirs) < 1e-4


def rewrite(folder, **changes):
    """Changes keys of config.json; None removes one."""
    config = json.loads((folder / "config.json").read_text())
    for key, value in changes.items():
        config.pop(key, None)
        if value is not None:
            config[key] = value
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The logits without scaling, which every scaling changes."""
    return logits_of(random_model(LlamaForCausalLM, LlamaConfig(**SIZES)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", ROPE)
def test_a_scaling_gives_the_logits_of_transformers(name, dtype, plain, oracle_probe, tmp_path):
    model = random_model(LlamaForCausalLM, LlamaConfig(**SIZES, rope_scaling=dict(ROPE[name])))
    model.to(dtype).save_pretrained(tmp_path / "model")
    expected = loaded(tmp_path / "model")
    assert difference(expected[1], plain[1]) > 1e-3
    expect_ours(oracle_probe, tmp_path / "model", expected)


@pytest.mark.parametrize("name", ROPE)
def test_the_old_spelling_means_the_same(name, oracle_probe, tmp_path):
    model = random_model(LlamaForCausalLM, LlamaConfig(**SIZES, rope_scaling=dict(ROPE[name])))
    model.save_pretrained(tmp_path / "model")
    scaling = {key: value for key, value in ROPE[name].items() if key != "rope_type"}
    rewrite(tmp_path / "model", rope_parameters=None, rope_theta=10000.0,
            rope_scaling=dict(scaling, type=ROPE[name]["rope_type"]))
    expect_ours(oracle_probe, tmp_path / "model", loaded(tmp_path / "model"))


def test_rope_scaling_takes_the_place_of_rope_parameters_and_the_top_level_length_of_the_inner(oracle_probe, tmp_path):
    model = random_model(LlamaForCausalLM, LlamaConfig(**SIZES))
    model.save_pretrained(tmp_path / "model")
    rewrite(tmp_path / "model", rope_theta=500.0, original_max_position_embeddings=16, rope_scaling=dict(ROPE["yarn"]),
            rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=20.0))
    expect_ours(oracle_probe, tmp_path / "model", loaded(tmp_path / "model"))


PHI3 = dict(SIZES, partial_rotary_factor=0.5, original_max_position_embeddings=48)
PHI3_ROPE = dict(rope_type="longrope", short_factor=[1.0, 1.5, 2.0, 2.5], long_factor=[1.0, 3.0, 5.0, 7.0])


@pytest.mark.parametrize("spelling", ["rope_parameters", "longrope", "yarn"])
def test_phi3_has_longrope_on_a_share_of_each_head(spelling, oracle_probe, tmp_path):
    model = random_model(Phi3ForCausalLM, Phi3Config(**PHI3, rope_scaling=dict(PHI3_ROPE)))
    model.save_pretrained(tmp_path / "model")
    if spelling != "rope_parameters":  # as in the first releases
        old = {key: value for key, value in PHI3_ROPE.items() if key != "rope_type"}
        rewrite(tmp_path / "model", rope_parameters=None, rope_theta=10000.0, partial_rotary_factor=0.5,
                rope_scaling=dict(old, type=spelling))
    expect_ours(oracle_probe, tmp_path / "model", loaded(tmp_path / "model"))


def test_phi3_without_an_original_length_has_that_of_its_class(oracle_probe, tmp_path):
    config = Phi3Config(**{**PHI3, "max_position_embeddings": 8192}, rope_scaling=dict(PHI3_ROPE))
    random_model(Phi3ForCausalLM, config).save_pretrained(tmp_path / "model")
    rewrite(tmp_path / "model", original_max_position_embeddings=None)
    expect_ours(oracle_probe, tmp_path / "model", loaded(tmp_path / "model"))


def test_gemma2_has_one_base_and_one_scaling_for_all_blocks(oracle_probe, tmp_path):
    config = Gemma2Config(**dict(architectures.gemma, max_position_embeddings=64), rope_theta=300.0,
                          rope_scaling=dict(ROPE["yarn"]))
    random_model(Gemma2ForCausalLM, config).save_pretrained(tmp_path / "model")
    expect_ours(oracle_probe, tmp_path / "model", loaded(tmp_path / "model"))


def test_gemma3_has_scalings_for_full_and_for_sliding_attention(oracle_probe, tmp_path):
    rope = dict(full_attention=dict(ROPE["yarn"], rope_theta=1e6),
                sliding_attention=dict(rope_type="linear", factor=3.0, rope_theta=700.0))
    config = Gemma3TextConfig(**dict(architectures.gemma, max_position_embeddings=64), rope_parameters=rope)
    random_model(Gemma3ForCausalLM, config).save_pretrained(tmp_path / "model")
    expect_ours(oracle_probe, tmp_path / "model", loaded(tmp_path / "model"))


@pytest.mark.parametrize("scaling, code, named", [
    (dict(rope_type="proportional", factor=2.0), 4, "'proportional'"),
    (dict(rope_type="mrope", factor=2.0), 4, "'mrope'"),
    (dict(rope_type="longrope", short_factor=[1.0] * 8), 3, "'long_factor' is missing"),
    (dict(rope_type="longrope", short_factor=[1.0] * 8, long_factor=[1.0] * 7), 3, "7 factors, expected 8"),
    (dict(rope_type="yarn"), 3, "'factor' is missing"),
    (dict(rope_type="linear", factor=2.0, partial_rotary_factor=0.5), 4, "partial_rotary_factor 0.5"),
    (dict(full_attention=dict(rope_type="linear", factor=2.0)), 4, "'full_attention'"),
])
def test_other_scalings_are_refused(scaling, code, named, tmp_path):
    random_model(LlamaForCausalLM, LlamaConfig(**SIZES)).save_pretrained(tmp_path / "model")
    rewrite(tmp_path / "model", rope_parameters=scaling)
    assert named in refusal(code, "inspect", tmp_path / "model")


# what each scaling is in a GGUF file; the value of llama.cpp's attn_factor for longrope is that of transformers
GGUF_LLAMA = {
    "linear": {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
    "linear, without a type": {"rope.scaling.factor": 4.0},
    "linear, the old key": {"rope.scale_linear": 4.0},
    "none, with a factor": {"rope.scaling.type": "none", "rope.scaling.factor": 4.0},
    "yarn": {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32},
    "yarn, own attention factor": {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
                                   "rope.scaling.original_context_length": 32,
                                   "rope.scaling.attn_factor": 0.7 / (0.1 * np.log(4.0) + 1)},
    "longrope": {"rope.scaling.type": "longrope", "rope.scaling.original_context_length": 48,
                 "rope.scaling.attn_factor": np.sqrt(1 + np.log(64 / 48) / np.log(48))},
}


def add_keys(writer, architecture, keys):
    for key, value in keys.items():
        key = f"{architecture}.{key}"
        if isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_float32(key, float(value))


def add_factors(writer, rope):
    for kind in ("long", "short"):
        writer.add_tensor(f"rope_factors_{kind}.weight", np.array(rope[f"{kind}_factor"], np.float32))


def gguf_file(folder, name):
    """A GGUF file of llama with this scaling, and the logits of the model that it says."""
    scaling = ROPE.get(name.removesuffix(", without a type").removesuffix(", the old key"))
    config = LlamaConfig(**SIZES, rope_scaling=dict(scaling) if scaling else None)
    model = random_model(LlamaForCausalLM, config)

    def change(writer):
        add_keys(writer, "llama", GGUF_LLAMA[name])
        if name == "longrope":
            add_factors(writer, ROPE[name])

    test_gguf_models.write(folder / "model.gguf", "llama", model, change)
    return types.SimpleNamespace(path=folder / "model.gguf", logits=loaded(folder / "saved"))


@pytest.mark.parametrize("name", GGUF_LLAMA)
def test_a_gguf_file_is_scaled_as_its_keys_say_and_converts_to_the_same_folder(name, oracle_probe, tmp_path):
    written = gguf_file(tmp_path, name)
    expect_ours(oracle_probe, written.path, written.logits)
    run("convert", written.path, "--output", tmp_path / "folder")
    for ours, theirs in zip(loaded(tmp_path / "folder"), written.logits):
        assert difference(ours, theirs) < 1e-4
    run("convert", tmp_path / "folder", "--output", tmp_path / "again.gguf")
    expect_ours(oracle_probe, tmp_path / "again.gguf", written.logits)


def test_a_gguf_file_of_phi3_holds_its_factors_in_tensors(oracle_probe, tmp_path):
    model = random_model(Phi3ForCausalLM, Phi3Config(**PHI3, rope_scaling=dict(PHI3_ROPE)))

    def change(writer):  # as the converter, which writes no type
        add_keys(writer, "phi3", {"rope.scaling.original_context_length": 48,
                                  "rope.scaling.attn_factor": np.sqrt(1 + np.log(64 / 48) / np.log(48))})
        add_factors(writer, PHI3_ROPE)

    test_gguf_models.write(tmp_path / "model.gguf", "phi3", model, change)
    expected = loaded(tmp_path / "saved")
    expect_ours(oracle_probe, tmp_path / "model.gguf", expected)
    run("convert", tmp_path / "model.gguf", "--output", tmp_path / "folder")
    for ours, theirs in zip(loaded(tmp_path / "folder"), expected):
        assert difference(ours, theirs) < 1e-4
    run("convert", tmp_path / "folder", "--output", tmp_path / "again.gguf")
    ours, theirs = (gguf.GGUFReader(tmp_path / name) for name in ("again.gguf", "model.gguf"))
    assert {t.name for t in ours.tensors} == {t.name for t in theirs.tensors}


@pytest.mark.parametrize("name", ["dynamic", "yarn, own bounds"])
def test_what_gguf_cannot_say_is_not_written(name, tmp_path):
    model = random_model(LlamaForCausalLM, LlamaConfig(**SIZES, rope_scaling=dict(ROPE[name])))
    model.save_pretrained(tmp_path / "model")
    assert "GGUF has no field for" in refusal(4, "convert", tmp_path / "model", "--output", tmp_path / "model.gguf")


REFUSED = {
    "an unknown type": ({"rope.scaling.type": "su"}, [], "'su'"),
    "longrope without tensors": ({"rope.scaling.type": "longrope"}, [], "rope_factors_short.weight"),
    "one of two tensors": ({}, ["long"], "rope_factors_short.weight"),
    "tensors and a factor": ({"rope.scaling.factor": 2.0}, ["long", "short"], "llama.rope.scaling.factor"),
    "tensors and yarn": ({"rope.scaling.type": "yarn"}, ["long", "short"], "yarn"),
    "an attention factor without yarn": ({"rope.scaling.attn_factor": 1.2}, [], "attn_factor"),
    "own bounds of yarn": ({"rope.scaling.type": "yarn", "rope.scaling.factor": 2.0,
                            "rope.scaling.yarn_beta_fast": 8.0}, [], "yarn_beta_fast is 8"),
    "a share of yarn": ({"rope.scaling.type": "yarn", "rope.scaling.factor": 2.0, "rope.scaling.yarn_ext_factor": 0.5},
                        [], "yarn_ext_factor is 0.5"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_gguf_file_with_another_scaling_is_refused(case, tmp_path):
    keys, tensors, named = REFUSED[case]
    model = random_model(LlamaForCausalLM, LlamaConfig(**SIZES))

    def change(writer):
        add_keys(writer, "llama", keys)
        for kind in tensors:
            writer.add_tensor(f"rope_factors_{kind}.weight", np.ones(8, np.float32))

    test_gguf_models.write(tmp_path / "model.gguf", "llama", model, change)
    assert named in refusal(4, "inspect", tmp_path / "model.gguf")
