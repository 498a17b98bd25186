"""Perplexity by transformers under bf16 autocast: hf_perplexity.py FOLDER --text FILE --windows N --length N

Prints {"seconds", "perplexity"}: from the loaded packages to the figure, opening the model included.
"""
import argparse
import json
import math
import os
import time

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

from texts import text_windows

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--text", required=True)
parser.add_argument("--windows", type=int, default=10)
parser.add_argument("--length", type=int, default=2048)
arguments = parser.parse_args()

start = time.time()
model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
windows = text_windows(AutoTokenizer.from_pretrained(arguments.model), arguments.text, arguments.windows, arguments.length)
total = 0.0
with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
    for window in windows:
        hidden = model.model(window[None], use_cache=False)[0][0]
        for i in range(0, len(window) - 1, 512):  # all logits at once would take 400 MB
            end = min(i + 512, len(window) - 1)
            total += cross_entropy(model.lm_head(hidden[i:end]).float(), window[i + 1:end + 1], reduction="sum").item()
perplexity = math.exp(total / (len(windows) * (arguments.length - 1)))
print(json.dumps({"seconds": time.time() - start, "perplexity": perplexity}))
