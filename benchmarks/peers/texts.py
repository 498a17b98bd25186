"""Tokens as freelunch takes them, and perplexity on them, for the peers."""

import json
import math

import torch
from torch.nn.functional import cross_entropy


def documents(tokenizer, path):
    """Token ids of each line of a JSONL with a "text" field, without special tokens."""
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            yield tokenizer(json.loads(line)["text"], add_special_tokens=False).input_ids


def calibration_windows(tokenizer, path, samples, length):
    """(samples, length) int64: documents of a JSONL tokenised one by one, joined, cut from the start."""
    ids = []
    for document in documents(tokenizer, path):
        ids += document
        if len(ids) >= samples * length:
            break
    return torch.tensor(ids[: samples * length]).view(samples, length)


def last_windows(tokenizer, path, windows, length):
    """(at most windows, length) int64: the end of the joined documents, which calibration does not reach."""
    ids = [token for document in documents(tokenizer, path) for token in document]
    count = min(windows, len(ids) // length)
    return torch.tensor(ids[len(ids) - count * length :]).view(count, length)


def text_windows(tokenizer, path, windows, length):
    """(at most windows, length) int64: the first windows of a text read as it is."""
    with open(path, encoding="utf-8") as file:
        ids = tokenizer(file.read(), add_special_tokens=False).input_ids
    count = min(windows, len(ids) // length)
    return torch.tensor(ids[: count * length]).view(count, length)


def perplexity(model, windows):
    """Of the next-token predictions of all windows, under bf16 autocast; 512 rows of logits at a time."""
    total = 0.0
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        for window in windows:
            hidden = model.model(window[None], use_cache=False)[0][0]
            for i in range(0, len(window) - 1, 512):
                end = min(i + 512, len(window) - 1)
                logits = model.lm_head(hidden[i:end]).float()
                total += cross_entropy(logits, window[i + 1 : end + 1], reduction="sum").item()
    return math.exp(total / (len(windows) * (windows.shape[1] - 1)))
