"""Logits equal transformers' in fp32: small random checkpoints of every architecture and variant, and those at hand."""
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from transformers import (AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM)

probe, data = sys.argv[1], pathlib.Path(sys.argv[2])
torch.manual_seed(0)
small = dict(vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=256)
llama3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
cases = {
    "llama": (LlamaForCausalLM, LlamaConfig(**small)),
    "llama, tied": (LlamaForCausalLM, LlamaConfig(**small, tie_word_embeddings=True)),
    "llama, biases": (LlamaForCausalLM, LlamaConfig(**small, attention_bias=True, mlp_bias=True)),
    "llama, own head size": (LlamaForCausalLM, LlamaConfig(**small, head_dim=32)),
    "llama, rope llama3": (LlamaForCausalLM, LlamaConfig(**small, rope_theta=500000.0, rope_scaling=llama3)),
    "llama, rope linear": (LlamaForCausalLM, LlamaConfig(**small, rope_scaling=dict(rope_type="linear", factor=4.0))),
    "llama, no grouping": (LlamaForCausalLM, LlamaConfig(**{**small, "num_key_value_heads": 4})),
    "mistral": (MistralForCausalLM, MistralConfig(**small, sliding_window=None)),
    "mistral, sliding window": (MistralForCausalLM, MistralConfig(**small, sliding_window=16)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**small)),
    "qwen2, tied": (Qwen2ForCausalLM, Qwen2Config(**small, tie_word_embeddings=True)),
}


def compare(name, folder, model, vocabulary):
    ids = torch.randint(0, vocabulary, (1, 80), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        theirs = model(ids).logits[0].float().numpy()
    out = subprocess.run([probe, "logits", str(folder), *map(str, ids[0].tolist())], capture_output=True)
    assert out.returncode == 0, f"{name}: {out.stderr.decode()}"
    ours = np.frombuffer(out.stdout, np.float32).reshape(theirs.shape)
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    print(f"{name}: largest difference {error:.2e} of the largest logit")
    assert error < 1e-4, name


with tempfile.TemporaryDirectory() as temporary:
    for name, (cls, config) in cases.items():
        torch.manual_seed(3)
        model = cls(config).eval().float()
        for key, p in model.named_parameters():  # biases and norms start at 0 and 1: a test that cannot see them is none
            if p.dim() == 1:
                p.data += 0.3 * torch.randn_like(p)
        folder = pathlib.Path(temporary) / name.replace(",", "").replace(" ", "_")
        model.save_pretrained(folder)
        compare(name, folder, model, config.vocab_size)
for name in ("tiny_llama3", "tiny_mistral"):
    folder = data / "checkpoints" / name
    if not folder.exists():
        print(f"skipped: {folder.name} is not at hand")
        continue
    compare(name, folder, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), 256)
