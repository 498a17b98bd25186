"""GGUF files of every architecture that has one, written with the gguf package as llama.cpp's converter writes them: names from its own tables, tensors
changed as it changes them. Logits equal those of transformers on the model they were made from, and so do those of the folder that convert makes:
check_gguf_models.py PROBE DATA COMMAND"""
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cli"))
import architectures  # noqa: E402
from architectures import logits  # noqa: E402
from tiny_model import permute  # noqa: E402

probe, command = sys.argv[1], sys.argv[3]
chosen = sys.argv[4:]
ARCH = gguf.MODEL_ARCH
names = {"llama": ARCH.LLAMA, "llama, biases": ARCH.LLAMA, "llama, tied": ARCH.LLAMA, "qwen2": ARCH.QWEN2, "qwen3": ARCH.QWEN3, "gemma2": ARCH.GEMMA2, "gemma3_text": ARCH.GEMMA3,
         "phi3": ARCH.PHI3, "gpt2": ARCH.GPT2, "gpt_neox": ARCH.GPTNEOX, "olmo2": ARCH.OLMO2, "mixtral": ARCH.LLAMA, "qwen3_moe": ARCH.QWEN3MOE}


def converted(name, tensors, config):
    """The tensors as llama.cpp's converter leaves them, still under names that its tables know."""
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
        where = "layers.{}.feed_forward.experts.{}.weight" if name == "mixtral" else "model.layers.{}.mlp.experts.{}.weight"
        yield where.format(block, part), np.stack(stack)


def write(path, name, model):
    c = model.config
    arch = names[name]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
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
        writer.add_layer_norm_rms_eps(c.rms_norm_eps)
        writer.add_key_length(head_dim)
    rope = getattr(c, "rope_parameters", None) or {}
    rope = rope.get("full_attention", rope)
    if rope:
        writer.add_rope_freq_base(rope["rope_theta"])
        writer.add_rope_dimension_count(int(rope.get("partial_rotary_factor", 1.0) * head_dim))
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
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"t{i}" for i in range(c.vocab_size)])
    writer.add_token_types([1] * c.vocab_size)
    writer.add_token_merges([])
    table = gguf.get_tensor_name_map(arch, c.num_hidden_layers)
    folder = path.parent / "saved"
    model.save_pretrained(folder)
    for key, w in converted(name, load_file(folder / "model.safetensors"), c):
        stored = table.get_name(key, try_suffixes=(".weight", ".bias"))
        assert stored, key
        writer.add_tensor(stored, np.ascontiguousarray(w, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def compare(theirs, written):
    """The same tensors in F32, and every key that the gguf package wrote with its value; ours may say more."""
    theirs, written = gguf.GGUFReader(theirs), gguf.GGUFReader(written)
    expected, got = ({t.name: t.data for t in reader.tensors} for reader in (theirs, written))
    assert expected.keys() == got.keys(), expected.keys() ^ got.keys()
    for key, values in expected.items():
        assert np.array_equal(np.asarray(got[key], np.float32), values), key
    for key, field in theirs.fields.items():
        if key.startswith("GGUF."):
            continue
        assert key in written.fields, key
        a, b = field.contents(), written.fields[key].contents()
        assert a == b or (isinstance(a, float) and abs(a / b - 1) < 1e-6), (key, a, b)


failed = []
for name in chosen or names:
    model = architectures.build_for_gguf(name)
    ids = torch.randint(0, architectures.VOCABULARY, (1, 80), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        theirs = model(ids).logits[0].numpy()
    with tempfile.TemporaryDirectory() as temporary:
        base = pathlib.Path(temporary)
        path = base / "model.gguf"
        try:
            write(path, name, model)
            error = np.abs(logits(probe, path, ids) - theirs).max() / np.abs(theirs).max()
            print(f"{name} in GGUF: largest difference {error:.2e} of the largest logit", flush=True)
            assert error < 1e-4, name
            result = subprocess.run([command, "convert", path, "--output", base / "folder"], capture_output=True, text=True)
            assert result.returncode == 0, result.stderr
            with torch.no_grad():
                again = AutoModelForCausalLM.from_pretrained(base / "folder", dtype=torch.float32).eval()(ids).logits[0].numpy()
            error = np.abs(again - theirs).max() / np.abs(theirs).max()
            print(f"{name} converted, in transformers: {error:.2e}", flush=True)
            assert error < 1e-4, name
            result = subprocess.run([command, "convert", base / "folder", "--output", base / "again.gguf"], capture_output=True, text=True)
            assert result.returncode == 0, result.stderr
            compare(path, base / "again.gguf")
            assert np.array_equal(logits(probe, base / "again.gguf", ids), logits(probe, path, ids))
            print(f"{name} and back: the gguf package's tensors and keys", flush=True)
        except AssertionError as problem:
            print(f"{name}: {problem}", flush=True)
            failed.append(name)
assert not failed, failed
