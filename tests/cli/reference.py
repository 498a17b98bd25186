"""Perplexity by its definition, in a dozen lines of PyTorch."""
import math

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer


def perplexity_of_ids(model, ids, length, first=1):
    """(perplexity, windows) of windows of `length` tokens; tokens before `first` are context only."""
    losses = []
    for i in range(len(ids) // length):
        window = torch.as_tensor(ids[i * length:(i + 1) * length])
        with torch.no_grad():
            logits = model(window[None]).logits[0]
        losses.append(F.cross_entropy(logits[first - 1:-1], window[first:]).item())
    return math.exp(sum(losses) / len(losses)), len(losses)


def perplexity(folder, text, length, first=1):
    """(perplexity, windows) of a Hugging Face folder in fp32 on a text."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return perplexity_of_ids(model, AutoTokenizer.from_pretrained(folder)(text).input_ids, length, first)
