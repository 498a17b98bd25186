"""Opens a GGUF file or a folder in transformers: hf_open.py MODEL [--text FILE --length N]

Prints {"seconds", "perplexity"}: the time from the loaded packages to the perplexity of one short window. Without a
text it prints the time until the weights are loaded.
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
parser.add_argument("--text")
parser.add_argument("--length", type=int, default=16)
arguments = parser.parse_args()

start = time.time()
folder, options = arguments.model, {}
if os.path.isfile(folder):
    folder, options["gguf_file"] = os.path.split(os.path.abspath(folder))
model = AutoModelForCausalLM.from_pretrained(folder, **options, dtype=torch.bfloat16).eval()
if arguments.text is None:
    print(json.dumps({"seconds": time.time() - start}))
    raise SystemExit
window = text_windows(AutoTokenizer.from_pretrained(folder, **options), arguments.text, 1, arguments.length)[0]
with torch.no_grad():
    loss = cross_entropy(model(window[None]).logits[0, :-1].float(), window[1:]).item()
print(json.dumps({"seconds": time.time() - start, "perplexity": math.exp(loss)}))
