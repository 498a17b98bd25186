"""Perplexity by transformers under bf16 autocast: hf_perplexity.py FOLDER --text FILE --windows N --length N

Prints {"seconds", "perplexity"}: from the loaded packages to the figure, opening the model included.
"""

import argparse
import json
import os
import time

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from texts import perplexity, text_windows

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--text", required=True)
parser.add_argument("--windows", type=int, default=10)
parser.add_argument("--length", type=int, default=2048)
arguments = parser.parse_args()

start = time.time()
model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
windows = text_windows(AutoTokenizer.from_pretrained(arguments.model), arguments.text, arguments.windows,
                       arguments.length)
result = perplexity(model, windows)
print(json.dumps({"seconds": time.time() - start, "perplexity": result}))
