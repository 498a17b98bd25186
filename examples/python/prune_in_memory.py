"""Prunes a transformers model in memory, compares perplexities, and saves it.

prune_in_memory.py MODEL TEXT OUTPUT
"""
import sys

from transformers import AutoModelForCausalLM, AutoTokenizer

import freelunch

model_path, text, output = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(model_path, dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(model_path)

before = freelunch.perplexity(model, text, tokenizer=tokenizer, length=64, windows=4)
with open(text, encoding="utf-8") as file:
    texts = [line for line in file if line.strip()]  # any iterable of strings, such as dataset["text"]
report = freelunch.compress(model, tokenizer=tokenizer, sparsity=0.5, calibration=texts, samples=16, length=64)
after = freelunch.perplexity(model, text, tokenizer=tokenizer, length=64, windows=4)

print(f"zeros: {report['sparsity']['pruned_tensors']:.1%}")
print(f"perplexity: {before['perplexity']:.2f} before, {after['perplexity']:.2f} after")
model.save_pretrained(output)
tokenizer.save_pretrained(output)
report.to_html(f"{output}/report.html")
