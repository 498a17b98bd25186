#!/usr/bin/env python3
"""How much faster a smaller model runs in transformers than the dense one it was cut from.

smaller_speed.py DENSE SMALLER [--pairs N] [--threads N] [--prompt TOKENS] [--new TOKENS]

Both are Hugging Face folders. Prompts and decoding are timed in turn, dense and smaller in pairs, in bf16 with greedy
decoding; the ratio is that of the medians. Expected: prompts by the operations of the blocks, decoding by the weights
that a token reads, blocks and head.
"""
import argparse
import statistics
import time

import torch
from transformers import AutoModelForCausalLM


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def weights_read(model):
    """(of the blocks, of the head)"""
    blocks = sum(p.numel() for name, p in model.named_parameters() if ".layers." in name or ".h." in name)
    return blocks, model.get_output_embeddings().weight.numel()


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dense")
    parser.add_argument("smaller")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--new", type=int, default=64)
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    models = [AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16).eval() for path in (o.dense, o.smaller)]
    ids = torch.randint(0, models[0].config.vocab_size, (1, o.prompt), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    kinds = {
        "prompt": lambda m: m(ids, logits_to_keep=1),
        "decode": lambda m: m.generate(ids[:, :8], attention_mask=mask[:, :8], max_new_tokens=o.new, min_new_tokens=o.new,
                                       do_sample=False, pad_token_id=0),
    }
    (dense_blocks, head), (blocks, small_head) = map(weights_read, models)
    expected = {"prompt": dense_blocks / blocks, "decode": (dense_blocks + head) / (blocks + small_head)}
    for kind, work in kinds.items():
        for model in models:
            work(model)  # once to warm up
        times = [[seconds(lambda: work(model)) for model in models] for _ in range(o.pairs)]
        dense, small = (statistics.median(t[i] for t in times) for i in (0, 1))
        print(f"{kind}: dense {dense:.3f} s, smaller {small:.3f} s: {dense / small:.2f} times as fast, expected "
              f"{expected[kind]:.2f}, {dense / small / expected[kind]:.0%} of that ({o.pairs} pairs)")


if __name__ == "__main__":
    main()
