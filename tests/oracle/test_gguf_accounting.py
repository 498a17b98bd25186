"""One key or one tensor of a GGUF file is removed, added or changed: the logits are those of the unchanged file where
llama.cpp would compute the same, or the file is refused with its name. There is no third outcome."""
import functools

import architectures
import gguf
import numpy as np
import pytest
import test_gguf_models
import torch
from architectures import difference, each_logits
from freelunch_command import call, refusal, run_json
from gguf import GGUFValueType as Type
from test_gguf_models import NAMES

FILES = [name for name in NAMES if name != "llama, tied"]  # every architecture, and llama with all its biases
IDS = torch.randint(0, architectures.VOCABULARY, (1, 40), generator=torch.Generator().manual_seed(4))

# A value that a reader assumes without the key, or that says nothing about the forward pass.
HARMLESS = {
    "vocab_size": (Type.UINT32, architectures.VOCABULARY), "tensor_data_layout": (Type.STRING, "Meta AI original pth"),
    "attention.causal": (Type.BOOL, True), "attention.clamp_kqv": (Type.FLOAT32, 0.0),
    "attention.max_alibi_bias": (Type.FLOAT32, 0.0), "logit_scale": (Type.FLOAT32, 1.0),
    "residual_scale": (Type.FLOAT32, 1.0), "expert_shared_count": (Type.UINT32, 0), "pooling_type": (Type.UINT32, 0),
    "leading_dense_block_count": (Type.UINT32, 0), "rope.scaling.finetuned": (Type.BOOL, True),
    "rope.scaling.type": (Type.STRING, "none"),
}
# Values that change the forward pass of some reader. None of these files has the key.
HARMFUL = {
    "attention.clamp_kqv": (Type.FLOAT32, 0.1), "attention.max_alibi_bias": (Type.FLOAT32, 8.0),
    "attention.scale": (Type.FLOAT32, 0.5), "attention.output_scale": (Type.FLOAT32, 0.5),
    "attention.causal": (Type.BOOL, False), "attention.value_length": (Type.UINT32, 8),
    "attention.key_length_swa": (Type.UINT32, 8), "attention.shared_kv_layers": (Type.UINT32, 1),
    "attention.temperature_scale": (Type.FLOAT32, 0.1), "attention.group_norm_groups": (Type.UINT32, 2),
    "attention.sliding_window_pattern": (Type.UINT32, 5), "logit_scale": (Type.FLOAT32, 0.5),
    "residual_scale": (Type.FLOAT32, 0.5), "embedding_scale": (Type.FLOAT32, 3.0),
    "expert_shared_count": (Type.UINT32, 1), "expert_weights_scale": (Type.FLOAT32, 2.0),
    "expert_gating_func": (Type.UINT32, 2), "expert_group_count": (Type.UINT32, 2),
    "leading_dense_block_count": (Type.UINT32, 1), "interleave_moe_layer_step": (Type.UINT32, 2),
    "nextn_predict_layers": (Type.UINT32, 1), "router_logit_softcapping": (Type.FLOAT32, 0.5),
    "rope.freq_base_swa": (Type.FLOAT32, 77.0), "rope.dimension_count_swa": (Type.UINT32, 2),
    "rope.dimension_sections": (Type.ARRAY, [2, 2, 2, 2]), "rope.scaling.alpha": (Type.FLOAT32, 2.0),
    "rope.scaling.attn_factor": (Type.FLOAT32, 1.5), "unheard_of": (Type.FLOAT32, 1.0),
}
# What only some architectures do not read.
HARMFUL_FOR = {
    "attention.sliding_window": ((Type.UINT32, 8), ("llama", "qwen2", "qwen3", "gpt2", "gpt_neox", "olmo2", "mixtral")),
    "attn_logit_softcapping": ((Type.FLOAT32, 0.5), ("llama", "qwen2", "phi3", "gemma3_text", "olmo2", "gpt2")),
    "final_logit_softcapping": ((Type.FLOAT32, 0.5), ("llama", "qwen2", "phi3", "olmo2", "gpt2")),
    "use_parallel_residual": ((Type.BOOL, True), ("llama", "qwen2", "gpt2", "phi3")),
}
# Tensors that an architecture of gguf knows and that change what is computed.
TENSORS = ["blk.1.attn_q.bias", "blk.1.attn_k.bias", "blk.0.attn_output.bias", "blk.2.attn_output.bias",
           "blk.1.ffn_gate.bias", "blk.1.ffn_up.bias", "blk.2.ffn_down.bias", "blk.1.attn_sub_norm.weight",
           "blk.1.attn_norm_2.weight", "blk.1.layer_output_norm.weight", "blk.1.attn_q_norm.bias",
           "blk.1.attn_sinks.weight", "blk.1.ffn_gate_shexp.weight", "blk.0.attn_q.scale", "blk.9.attn_q.weight",
           "output.bias", "output_norm.bias", "token_embd_norm.weight", "cls.weight", "rope_freqs.weight"]


@pytest.fixture(scope="module")
def model():
    """architecture -> its random model, made once."""
    return functools.cache(architectures.build_for_gguf)


def prefix(name):
    return gguf.MODEL_ARCH_NAMES[NAMES[name]] + "."


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    """(architecture, change) -> the file with that change."""
    folder = tmp_path_factory.mktemp("accounting")
    count = iter(range(100000))

    def make(name, change=None):
        path = folder / f"{next(count)}.gguf"
        test_gguf_models.write(path, name, model(name), change)
        return path

    return make


def with_key(name, key, kind, value):
    def change(writer):
        sub = Type.UINT32 if kind == Type.ARRAY else None
        writer.kv_data[0].pop(prefix(name) + key, None)
        writer.add_key_value(prefix(name) + key, value, kind, sub)
    return change


def outcome(probe, paths):
    return each_logits(probe, [(path, IDS) for path in paths])


@pytest.mark.parametrize("name", FILES)
def test_a_harmless_key_changes_nothing(name, file, oracle_probe):
    paths = [file(name)] + [file(name, with_key(name, key, *value)) for key, value in HARMLESS.items()]
    plain, *rest = outcome(oracle_probe, paths)
    for key, got in zip(HARMLESS, rest):
        assert isinstance(got, np.ndarray) and np.array_equal(got, plain), (key, got)


@pytest.mark.parametrize("name", FILES)
def test_a_key_that_changes_the_forward_pass_is_refused_by_name(name, file, oracle_probe):
    keys = dict(HARMFUL)
    if name == "gpt2":  # positions are learned
        keys.pop("rope.scaling.attn_factor")
    keys.update({key: value for key, (value, names) in HARMFUL_FOR.items() if name in names})
    if "gemma3" in name:
        keys.pop("rope.freq_base_swa")  # read
    paths = [file(name, with_key(name, key, *value)) for key, value in keys.items()]
    for key, got in zip(keys, outcome(oracle_probe, paths)):
        assert isinstance(got, tuple) and got[0] == 4 and prefix(name) + key in got[1], (key, got)


# What llama.cpp assumes without a key, where the file has another value.
ASSUMED = {"gemma2.attention.sliding_window": (Type.UINT32, 4096),
           "gemma2.attn_logit_softcapping": (Type.FLOAT32, 50.0),
           "gemma2.final_logit_softcapping": (Type.FLOAT32, 30.0), "phi3.rope.dimension_count": (Type.UINT32, 16),
           "gptneox.rope.dimension_count": (Type.UINT32, 16)}


@pytest.mark.parametrize("name", FILES)
def test_without_a_key_the_file_is_the_same_or_refused(name, file, oracle_probe):
    keys = []
    file(name, lambda writer: keys.extend(k for k in writer.kv_data[0] if k.startswith(prefix(name))))
    changes = [functools.partial(lambda writer, key: writer.kv_data[0].pop(key), key=key) for key in keys]
    same = [with_key(name, key.removeprefix(prefix(name)), *ASSUMED[key]) if key in ASSUMED else None
            for key in keys]
    got = outcome(oracle_probe, [file(name, change) for change in changes + same])
    for key, without, expected in zip(keys, got, got[len(keys):]):
        assert isinstance(without, tuple) or difference(without, expected) == 0, key


@pytest.mark.parametrize("name", FILES)
def test_a_tensor_that_the_architecture_does_not_know_is_refused_by_name(name, file, oracle_probe):
    def with_tensor(tensor):
        def change(writer):
            if tensor not in writer.tensors[0]:
                writer.add_tensor(tensor, np.full(64, 1.5, np.float32))
        return change

    known = []
    file(name, lambda writer: known.extend(writer.tensors[0]))
    added = [tensor for tensor in TENSORS if tensor not in known]
    for tensor, got in zip(added, outcome(oracle_probe, [file(name, with_tensor(tensor)) for tensor in added])):
        assert isinstance(got, tuple) and got[0] in (3, 4) and tensor.rsplit(".", 1)[0] in got[1], (tensor, got)
        assert got[0] == 4 or tensor == "rope_freqs.weight", (tensor, got)


@pytest.mark.parametrize("name", FILES)
def test_without_a_tensor_or_with_it_renamed_the_file_is_refused_by_name(name, file, oracle_probe):
    tensors = []
    file(name, lambda writer: tensors.extend(t for t in writer.tensors[0] if t.startswith(("blk.1.", "output_norm"))))

    def renamed(writer, tensor):
        writer.tensors[0] = {(k + "_2" if k == tensor else k): v for k, v in writer.tensors[0].items()}

    changes = [functools.partial(lambda writer, tensor: writer.tensors[0].pop(tensor), tensor=t) for t in tensors]
    changes += [functools.partial(renamed, tensor=t) for t in tensors]
    for tensor, got in zip(tensors * 2, outcome(oracle_probe, [file(name, change) for change in changes])):
        assert isinstance(got, tuple) and got[0] in (3, 4) and tensor in got[1], (tensor, got)


def test_sizes_of_each_block_are_unsupported_unless_they_are_the_same(file, oracle_probe):
    paths = [file("llama", with_key("llama", "attention.head_count_kv", Type.ARRAY, heads))
             for heads in ([2, 2, 2], [2, 1, 2])]
    plain, same, other = outcome(oracle_probe, [file("llama"), *paths])
    assert np.array_equal(plain, same)
    assert other[0] == 4 and "llama.attention.head_count_kv" in other[1]


def test_the_command_refuses_with_one_line_and_exit_code_4(file):
    path = file("llama", with_key("llama", "attention.clamp_kqv", Type.FLOAT32, 8.0))
    assert "llama.attention.clamp_kqv = 8" in refusal(4, "inspect", path)
    path = file("llama", lambda writer: writer.add_tensor("blk.1.attn_k.bias", np.ones(32, np.float32)))
    assert "blk.1.attn_k.bias" in refusal(4, "inspect", path)


def test_inspect_names_what_it_ignored(file):
    def change(writer):
        writer.add_string("llama.tensor_data_layout", "Meta AI original pth")
        writer.add_string("other.comment", "hello")
        writer.add_tensor("blk.1.attn_rot_embd.weight", np.ones(8, np.float32))

    path = file("llama", change)
    ignored = run_json("inspect", path)["ignored"]
    assert ignored["keys"] == ["llama.tensor_data_layout", "other.comment"]
    assert ignored["tensors"] == ["blk.1.attn_rot_embd.weight"]
    printed = call("inspect", path).stdout
    assert "llama.tensor_data_layout" in printed and "blk.1.attn_rot_embd.weight" in printed


def test_biases_that_a_folder_cannot_say_are_not_written(file, tmp_path):
    def change(writer):  # llama has biases of q, k, v and o, or none
        for b in range(3):
            for part, size in (("q", 64), ("k", 32), ("v", 32)):
                writer.add_tensor(f"blk.{b}.attn_{part}.bias", np.ones(size, np.float32))

    message = refusal(4, "convert", file("llama", change), "--output", tmp_path / "folder", alone=False)
    assert "config.json has no key for the biases" in message
