"""Perplexity by llama.cpp on freelunch's windows: llama_cpp_perplexity.py FILE.gguf --text FILE --windows N --length N

Prints {"seconds", "perplexity", "decoded_per_second"}: the time from the loaded packages to the result, opening
included, and the rate of greedy decoding over 128 tokens, which is not part of the seconds.
"""
import argparse
import json
import math
import os
import time

import numpy as np
from llama_cpp import Llama

from llama_cpp_as_stored import keep_weights_as_stored

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--text", required=True)
parser.add_argument("--windows", type=int, default=10)
parser.add_argument("--length", type=int, default=2048)
parser.add_argument("--as-stored",
                    action="store_true",
                    help="weights stay in the file's layout: for machines on which the AMX kernels crash")
arguments = parser.parse_args()

if arguments.as_stored:
    keep_weights_as_stored()

start = time.time()
model = Llama(arguments.model,
              n_ctx=arguments.length,
              n_batch=512,
              n_threads=os.cpu_count(),
              n_threads_batch=os.cpu_count(),
              logits_all=True,
              verbose=False)
with open(arguments.text, "rb") as file:
    ids = model.tokenize(file.read(), add_bos=False, special=False)
total = 0.0
for i in range(arguments.windows):
    window = ids[i * arguments.length:(i + 1) * arguments.length]
    model.reset()
    model.eval(window)
    logits = model.scores
    for first in range(0, arguments.length - 1, 256):
        rows = logits[first:min(first + 256, arguments.length - 1)]
        top = rows.max(axis=1)
        log_sum = np.log(np.exp(rows - top[:, None]).sum(axis=1)) + top
        total += float(
            (log_sum - rows[np.arange(len(rows)), window[first + 1:first + 1 + len(rows)]]).sum(dtype=np.float64))
perplexity = math.exp(total / (arguments.windows * (arguments.length - 1)))
seconds = time.time() - start
model.reset()
model.eval(ids[:8])
start, decoded = time.time(), 0
while decoded < 128:
    model.eval([int(model.scores[model.n_tokens - 1].argmax())])
    decoded += 1
print(json.dumps({"seconds": seconds, "perplexity": perplexity, "decoded_per_second": decoded / (time.time() - start)}))
