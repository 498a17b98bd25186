"""Logits equal transformers' in fp32: small random checkpoints of every architecture and variant, and those at hand."""
import pathlib
import sys
import tempfile

import numpy as np
import torch
from transformers import AutoModelForCausalLM

import architectures

probe, data = sys.argv[1], pathlib.Path(sys.argv[2])
failed = []


def compare(name, path, model, vocabulary):
    ids = torch.randint(0, vocabulary, (1, 80), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        theirs = model(ids).logits[0].float().numpy()
    try:
        ours = architectures.logits(probe, path, ids)
    except AssertionError as problem:
        print(f"{name}: {problem}")
        failed.append(name)
        return
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    print(f"{name}: largest difference {error:.2e} of the largest logit")
    if not error < 1e-4:
        failed.append(name)


with tempfile.TemporaryDirectory() as temporary:
    for name, (_, config) in architectures.cases.items():
        model = architectures.build(name)
        folder = pathlib.Path(temporary) / name.replace(",", "").replace(" ", "_")
        model.save_pretrained(folder)
        compare(name, folder, model, config.vocab_size)
    # files of the body alone leave out what the whole model puts in front of its names
    for name in ("gpt2", "llama, tied"):
        model = architectures.build(name)
        folder = pathlib.Path(temporary) / f"body_{name[:4]}"
        model.base_model.save_pretrained(folder)
        compare(f"{name}, body alone", folder, model, architectures.VOCABULARY)
for name in ("tiny_llama3", "tiny_mistral", "tiny_qwen3", "tiny_gemma3"):
    folder = data / "checkpoints" / name
    if not folder.exists():
        print(f"skipped: {folder.name} is not at hand")
        continue
    compare(name, folder, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), 256)
assert not failed, failed
