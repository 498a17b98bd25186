"""GGUF files of every architecture give the logits of the transformers model that they were made from.

The gguf package writes them as llama.cpp's converter does: names from the package's tables, tensors changed as the
converter changes them. The folder that convert makes of a file gives the same logits, and converts back to the file.
"""
import functools
import types

import architectures
import gguf
import numpy as np
import pytest
import torch
from architectures import logits
from freelunch_command import run
from safetensors.numpy import load_file
from tiny_model import permute
from transformers import AutoModelForCausalLM

ARCH = gguf.MODEL_ARCH
NAMES = {"llama": ARCH.LLAMA, "llama, biases": ARCH.LLAMA, "llama, tied": ARCH.LLAMA, "qwen2": ARCH.QWEN2,
         "qwen3": ARCH.QWEN3, "gemma2": ARCH.GEMMA2, "gemma3_text": ARCH.GEMMA3, "phi3": ARCH.PHI3, "gpt2": ARCH.GPT2,
         "gpt_neox": ARCH.GPTNEOX, "olmo2": ARCH.OLMO2, "mixtral": ARCH.LLAMA, "qwen3_moe": ARCH.QWEN3MOE,
         "starcoder2": ARCH.STARCODER2}
IDS = torch.randint(0, architectures.VOCABULARY, (1, 80), generator=torch.Generator().manual_seed(1))
# Mixtral's experts are stacked under the names of the original release, which the package's table knows.
EXPERTS = {"mixtral": "layers.{}.feed_forward.experts.{}.weight", "qwen3_moe": "model.layers.{}.mlp.experts.{}.weight"}


def converted(name, tensors, config):
    """The tensors as llama.cpp's converter leaves them, still under names that the package's tables know."""
    heads = config.num_attention_heads
    experts = {}
    for key, w in tensors.items():
        if ".experts." in key:
            parts = key.split(".")
            i = parts.index("experts")
            experts.setdefault((parts[2], parts[i + 2]), []).append(w)
            continue
        if name.startswith(("llama", "mixtral")) and "q_proj" in key:
            w = permute(w, heads)
        if name.startswith(("llama", "mixtral")) and "k_proj" in key:
            w = permute(w, config.num_key_value_heads)
        if name.startswith("gemma") and key.endswith("norm.weight"):
            w = w + 1
        if name == "gpt2" and key.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
            w = w.T
        if name == "gpt_neox" and "query_key_value" in key:
            w = w.reshape(heads, 3, -1, *w.shape[1:]).swapaxes(0, 1).reshape(w.shape)
        yield key, w
    for (block, part), stack in experts.items():
        yield EXPERTS[name].format(block, part), np.stack(stack)


def add_sizes(writer, name, c):
    writer.add_block_count(c.num_hidden_layers)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_feed_forward_length(getattr(c, "intermediate_size", None) or c.n_inner)
    writer.add_head_count(c.num_attention_heads)
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    if name in ("gpt2", "gpt_neox"):
        writer.add_layer_norm_eps(c.layer_norm_epsilon if name == "gpt2" else c.layer_norm_eps)
    else:
        writer.add_head_count_kv(c.num_key_value_heads)
        if name == "starcoder2":
            writer.add_layer_norm_eps(c.norm_epsilon)
        else:
            writer.add_layer_norm_rms_eps(c.rms_norm_eps)
        writer.add_key_length(head_dim)
    rope = getattr(c, "rope_parameters", None) or {}
    rope = rope.get("full_attention", rope)
    if rope:
        writer.add_rope_freq_base(rope["rope_theta"])
        writer.add_rope_dimension_count(int(rope.get("partial_rotary_factor", 1.0) * head_dim))


def add_what_one_architecture_has(writer, name, c):
    if name == "gpt_neox":
        writer.add_parallel_residual(c.use_parallel_residual)
    if name.startswith("gemma"):
        writer.add_sliding_window(c.sliding_window)
    if name == "gemma2":
        writer.add_attn_logit_softcapping(c.attn_logit_softcapping)
        writer.add_final_logit_softcapping(c.final_logit_softcapping)
    if name == "mixtral":
        writer.add_expert_count(c.num_local_experts)
    if name == "qwen3_moe":
        writer.add_expert_count(c.num_experts)
        writer.add_expert_feed_forward_length(c.moe_intermediate_size)
    if name in ("mixtral", "qwen3_moe"):
        writer.add_expert_used_count(c.num_experts_per_tok)


def add_vocabulary(writer, size):
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(["t", "1", "t1"] + [f"t{i}" for i in range(3, size)])
    writer.add_token_types([1] * size)
    writer.add_token_merges(["t 1"])


def write(path, name, model, change=None):
    """The file of a model. `change` may alter the writer's keys and tensors before it writes."""
    c = model.config
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[NAMES[name]])
    add_sizes(writer, name, c)
    add_what_one_architecture_has(writer, name, c)
    add_vocabulary(writer, c.vocab_size)
    table = gguf.get_tensor_name_map(NAMES[name], c.num_hidden_layers)
    folder = path.with_name("saved")
    model.save_pretrained(folder)
    for key, w in converted(name, load_file(folder / "model.safetensors"), c):
        stored = table.get_name(key, try_suffixes=(".weight", ".bias"))
        assert stored, key
        writer.add_tensor(stored, np.ascontiguousarray(w, dtype=np.float32))
    if change:
        change(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """architecture -> the GGUF file that the package wrote and transformers' logits of IDS, made once."""

    @functools.cache
    def make(name):
        path = tmp_path_factory.mktemp("gguf") / "model.gguf"
        model = architectures.build_for_gguf(name)
        with torch.no_grad():
            expected = model(IDS).logits[0].numpy()
        write(path, name, model)
        return types.SimpleNamespace(path=path, logits=expected)

    return make


@pytest.fixture(scope="module")
def folder(written):
    """architecture -> the folder that convert makes of that file."""

    @functools.cache
    def convert(name):
        out = written(name).path.with_name("folder")
        run("convert", written(name).path, "--output", out)
        return out

    return convert


def expect_near(got, expected):
    assert np.abs(got - expected).max() / np.abs(expected).max() < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_a_gguf_file_gives_the_logits_of_transformers(name, written, oracle_probe):
    expect_near(logits(oracle_probe, written(name).path, IDS), written(name).logits)


@pytest.mark.parametrize("name", NAMES)
def test_the_converted_folder_gives_the_same_logits_in_transformers(name, written, folder):
    model = AutoModelForCausalLM.from_pretrained(folder(name), dtype=torch.float32).eval()
    with torch.no_grad():
        expect_near(model(IDS).logits[0].numpy(), written(name).logits)


def expect_same_file(theirs, ours):
    """The same tensors in F32, and every key that the gguf package wrote with its value; ours may hold more keys."""
    theirs, ours = gguf.GGUFReader(theirs), gguf.GGUFReader(ours)
    expected, got = ({t.name: t.data for t in reader.tensors} for reader in (theirs, ours))
    assert expected.keys() == got.keys(), expected.keys() ^ got.keys()
    for key, values in expected.items():
        assert np.array_equal(np.asarray(got[key], np.float32), values), key
    for key, field in theirs.fields.items():
        if key.startswith("GGUF."):
            continue
        assert key in ours.fields, key
        a, b = field.contents(), ours.fields[key].contents()
        assert a == b or (isinstance(a, float) and abs(a / b - 1) < 1e-6), (key, a, b)


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_converts_back_to_the_same_file(name, written, folder, oracle_probe, tmp_path):
    again = tmp_path / "again.gguf"
    run("convert", folder(name), "--output", again)
    expect_same_file(written(name).path, again)
    assert np.array_equal(logits(oracle_probe, again, IDS), logits(oracle_probe, written(name).path, IDS))
