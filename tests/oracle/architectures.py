"""Small random checkpoints of every architecture and its variants, made by transformers; and our logits."""
import subprocess

import numpy as np
import torch
from transformers import (
    Gemma2Config, Gemma2ForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig, GPT2Config, GPT2LMHeadModel, GPTNeoXConfig,
    GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, MixtralConfig,
    MixtralForCausalLM, Olmo2Config, Olmo2ForCausalLM, OPTConfig, OPTForCausalLM, Phi3Config, Phi3ForCausalLM,
    Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM, Starcoder2Config, Starcoder2ForCausalLM)

VOCABULARY = 416
small = dict(vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=256, bos_token_id=1, eos_token_id=0, pad_token_id=None)
alike = {k: v for k, v in small.items() if k != "num_key_value_heads"}  # as many heads for keys and values
gemma = dict(small, num_hidden_layers=6, head_dim=32, sliding_window=16, query_pre_attn_scalar=24,
             tie_word_embeddings=True)
gpt2 = dict(vocab_size=VOCABULARY, n_positions=256, n_embd=64, n_layer=3, n_head=4, n_inner=96, bos_token_id=1,
            eos_token_id=0)
opt = dict(vocab_size=VOCABULARY, hidden_size=64, ffn_dim=96, num_hidden_layers=3, num_attention_heads=4,
           max_position_embeddings=256, word_embed_proj_dim=64)
moe = dict(small, head_dim=32, moe_intermediate_size=48)
llama3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
scaled = dict(full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
              sliding_attention=dict(rope_type="default", rope_theta=1e4))
partial = dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.25)

yarn = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32)
divisors = dict(short_factor=[1.0 + 0.1 * i for i in range(8)], long_factor=[1.0 + i for i in range(8)])
longrope = dict(divisors, rope_type="longrope", original_max_position_embeddings=48)
# Every scaling of rotary positions. The windows of the tests are longer and shorter than the lengths here.
ROPE = {
    "linear": dict(rope_type="linear", factor=4.0),
    "dynamic": dict(rope_type="dynamic", factor=4.0),
    "llama3": dict(llama3, original_max_position_embeddings=32),
    "yarn": yarn,
    "yarn, own bounds": dict(yarn, beta_fast=8.0, beta_slow=0.5, truncate=False),
    "yarn, own attention factor": dict(yarn, attention_factor=0.7),
    "yarn, DeepSeek's scales": dict(yarn, mscale=0.8, mscale_all_dim=0.4),
    "yarn, factor of the lengths": dict(yarn, factor=None),
    "longrope": longrope,
    "longrope, factor": dict(longrope, factor=16.0),
    "longrope, attention factor": dict(longrope, attention_factor=1.3),
}

# tests/cli/test_architectures.py makes whole runs with the first of each architecture
cases = {
    "llama": (LlamaForCausalLM, LlamaConfig(**small)),
    "llama, tied": (LlamaForCausalLM, LlamaConfig(**small, tie_word_embeddings=True)),
    "llama, biases": (LlamaForCausalLM, LlamaConfig(**small, attention_bias=True, mlp_bias=True)),
    "llama, own head size": (LlamaForCausalLM, LlamaConfig(**small, head_dim=32)),
    "llama, rope llama3": (LlamaForCausalLM, LlamaConfig(**small, rope_theta=500000.0, rope_scaling=llama3)),
    "llama, rope linear": (LlamaForCausalLM, LlamaConfig(**small, rope_scaling=dict(rope_type="linear", factor=4.0))),
    "llama, no grouping": (LlamaForCausalLM, LlamaConfig(**{**small, "num_key_value_heads": 4})),
    "mistral": (MistralForCausalLM, MistralConfig(**small, sliding_window=16)),
    "mistral, no window": (MistralForCausalLM, MistralConfig(**small, sliding_window=None)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**small)),
    "qwen2, tied": (Qwen2ForCausalLM, Qwen2Config(**small, tie_word_embeddings=True)),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**small, head_dim=32)),
    "gemma2": (Gemma2ForCausalLM, Gemma2Config(**gemma, attn_logit_softcapping=0.5, final_logit_softcapping=2.0)),
    "gemma2, no caps": (Gemma2ForCausalLM, Gemma2Config(**gemma, attn_logit_softcapping=None,
                                                         final_logit_softcapping=None)),
    "gemma3_text": (Gemma3ForCausalLM, Gemma3TextConfig(**gemma)),
    "gemma3_text, scaled": (Gemma3ForCausalLM, Gemma3TextConfig(**gemma, rope_parameters=scaled)),
    "phi3": (Phi3ForCausalLM, Phi3Config(**small, partial_rotary_factor=0.5)),
    "phi3, window": (Phi3ForCausalLM, Phi3Config(**small, sliding_window=16)),
    "gpt2": (GPT2LMHeadModel, GPT2Config(**gpt2)),
    "gpt2, untied": (GPT2LMHeadModel, GPT2Config(**gpt2, tie_word_embeddings=False)),
    "opt": (OPTForCausalLM, OPTConfig(**opt)),
    "opt, 350m": (OPTForCausalLM, OPTConfig(**{**opt, "word_embed_proj_dim": 32}, do_layer_norm_before=False)),
    "opt, no biases": (OPTForCausalLM, OPTConfig(**opt, enable_bias=False)),
    "gpt_neox": (GPTNeoXForCausalLM, GPTNeoXConfig(**alike, rope_parameters=partial)),
    "gpt_neox, sequential": (GPTNeoXForCausalLM, GPTNeoXConfig(**alike, use_parallel_residual=False)),
    "gpt_neox, no biases": (GPTNeoXForCausalLM, GPTNeoXConfig(**alike, attention_bias=False)),
    "olmo2": (Olmo2ForCausalLM, Olmo2Config(**small)),
    "starcoder2": (Starcoder2ForCausalLM, Starcoder2Config(**small)),
    "starcoder2, window": (Starcoder2ForCausalLM, Starcoder2Config(**small, sliding_window=16)),
    "starcoder2, no biases": (Starcoder2ForCausalLM, Starcoder2Config(**small, use_bias=False)),
    "mixtral": (MixtralForCausalLM, MixtralConfig(**small, num_local_experts=4)),
    "qwen3_moe": (Qwen3MoeForCausalLM, Qwen3MoeConfig(**moe, num_experts=6, num_experts_per_tok=2)),
    "qwen3_moe, some blocks": (Qwen3MoeForCausalLM, Qwen3MoeConfig(
        **moe, num_experts=4, num_experts_per_tok=3, norm_topk_prob=True, decoder_sparse_step=2, mlp_only_layers=[0])),
}


def build(name):
    """The model in fp32, the same each time.

    Weights are large enough for attention to be uneven, biases and norms are moved off 0 and 1, so that leaving one out
    changes the logits.
    """
    cls, config = cases[name]
    torch.manual_seed(3)
    model = cls(config).eval().float()
    for p in model.parameters():
        if p.dim() == 1:
            p.data += 0.3 * torch.randn_like(p)
        else:
            p.data *= 2
    return model


def build_for_gguf(name):
    """The model with the values that GGUF files cannot express set to what readers of GGUF assume."""
    config = cases[name][1]
    if name.startswith("gemma"):
        config.query_pre_attn_scalar = config.head_dim
    if name == "qwen3_moe":
        config.norm_topk_prob = True
    return build(name)


def logits(probe, path, ids):
    """(tokens, vocabulary) by our forward pass in fp32, of one sequence (1, tokens)."""
    out = subprocess.run([probe, "logits", str(path), *map(str, ids[0].tolist())], capture_output=True)
    assert out.returncode == 0, out.stderr.decode()
    return np.frombuffer(out.stdout, np.float32).reshape(ids.shape[1], -1)


def each_logits(probe, models):
    """Our logits of each (folder or file, ids), by one process: an array, or (exit code, message) of a refusal."""
    lines = "".join(f"{path} {' '.join(map(str, ids[0].tolist()))}\n" for path, ids in models)
    out = subprocess.run([probe, "each"], input=lines.encode(), capture_output=True)
    assert out.returncode == 0, out.stderr.decode()
    results, at = [], 0
    for _, ids in models:
        end = out.stdout.index(b"\n", at)
        word, rest = out.stdout[at:end].decode().split(" ", 1)
        at = end + 1
        if word == "ok":
            values = np.frombuffer(out.stdout, np.float32, int(rest), at)
            results.append(values.reshape(ids.shape[1], -1))
            at += values.nbytes
        else:
            kind, message = rest.split(" ", 1)
            results.append((int(kind), message))
    return results


def difference(ours, theirs):
    """The largest difference, as a share of the largest logit."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
