"""Tokens as freelunch takes them, for the peers."""
import json

import torch


def calibration_windows(tokenizer, path, samples, length):
    """(samples, length) int64: documents of a JSONL tokenised one by one without special tokens, joined, cut from the start."""
    ids = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if len(ids) >= samples * length:
                break
            ids += tokenizer(json.loads(line)["text"], add_special_tokens=False).input_ids
    return torch.tensor(ids[:samples * length]).view(samples, length)


def text_windows(tokenizer, path, windows, length):
    """(windows, length) int64: the first windows of a text read as it is."""
    with open(path, encoding="utf-8") as file:
        ids = tokenizer(file.read(), add_special_tokens=False).input_ids
    return torch.tensor(ids[:windows * length]).view(windows, length)
