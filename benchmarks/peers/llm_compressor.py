"""One-shot pruning by llm-compressor.

llm_compressor.py MODEL OUTPUT --criterion wanda|sparsegpt --calibration FILE.jsonl [...]

MODEL is a Hugging Face folder. Prints {"seconds": ...}: the time from the loaded packages to the saved folder.
"""
import argparse
import json
import os
import time

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
from loguru import logger
from transformers import AutoModelForCausalLM, AutoTokenizer

from texts import calibration_windows

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("output")
parser.add_argument("--criterion", choices=["wanda", "sparsegpt"], required=True)
parser.add_argument("--calibration", required=True)
parser.add_argument("--sparsity", type=float, default=0.5)
parser.add_argument("--samples", type=int, default=64)
parser.add_argument("--length", type=int, default=512)
parser.add_argument("--dtype", default="auto", help="auto: as stored")
parser.add_argument("--prune-head", action="store_true", help="the modifiers' default: the LM head is pruned too")
arguments = parser.parse_args()
logger.disable("llmcompressor")

start = time.time()
model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=arguments.dtype)
tokenizer = AutoTokenizer.from_pretrained(arguments.model)
windows = calibration_windows(tokenizer, arguments.calibration, arguments.samples, arguments.length)
rows = windows.tolist()
data = Dataset.from_dict({"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows]})
modifier = {"wanda": WandaPruningModifier, "sparsegpt": SparseGPTModifier}[arguments.criterion]
recipe = modifier(sparsity=arguments.sparsity, ignore=[] if arguments.prune_head else ["re:.*lm_head"])
oneshot(model=model,
        tokenizer=tokenizer,
        dataset=data,
        recipe=recipe,
        max_seq_length=arguments.length,
        num_calibration_samples=arguments.samples,
        shuffle_calibration_samples=False)
pruned = time.time()
model.save_pretrained(arguments.output, save_compressed=False)
tokenizer.save_pretrained(arguments.output)
print(json.dumps({"seconds": time.time() - start, "pruning": pruned - start}))
