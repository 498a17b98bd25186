#!/usr/bin/env python3
"""How much faster a smaller model runs than the dense one it was cut from, in transformers or in llama.cpp.

smaller_speed.py DENSE SMALLER [--pairs N] [--threads N] [--prompt TOKENS] [--new TOKENS]

Both are Hugging Face folders, which run in transformers in bf16, or both are GGUF files, which run in llama.cpp
(scripts/setup --peers). Prompts and greedy decoding are timed in turn, dense and smaller in pairs; the ratio is the
median over the pairs. Expected for prompts: the ratio of the numbers of weights in the blocks, since each weight costs
an operation for each token. Expected for decoding: the ratio of the bytes of weights in blocks and head, which every
token reads.
"""
import argparse
import os
import statistics
import time


class Transformers:
    """A Hugging Face folder."""

    def __init__(self, path, options):
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(options.threads)
        self.torch, self.options = torch, options
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16).eval()
        generator = torch.Generator().manual_seed(0)
        self.ids = torch.randint(0, self.model.config.vocab_size, (1, options.prompt), generator=generator)
        blocks = sum(p.numel() for name, p in self.model.named_parameters() if ".layers." in name or ".h." in name)
        self.operations = blocks
        self.read = blocks + self.model.get_output_embeddings().weight.numel()

    def prompt(self):
        with self.torch.no_grad():
            self.model(self.ids, logits_to_keep=1)

    def decode(self):
        start = self.ids[:, :8]
        self.model.generate(start, attention_mask=self.torch.ones_like(start), max_new_tokens=self.options.new,
                            min_new_tokens=self.options.new, do_sample=False, pad_token_id=0)


class LlamaCpp:
    """A GGUF file."""

    def __init__(self, path, options):
        import llama_cpp
        from gguf import GGUFReader

        self.options = options
        self.llm = llama_cpp.Llama(path, n_ctx=options.prompt + options.new, n_batch=options.prompt,
                                   n_ubatch=options.prompt, n_threads=options.threads, n_threads_batch=options.threads,
                                   verbose=False)
        self.ids = [(7919 * i + 13) % self.llm.n_vocab() for i in range(options.prompt)]
        tensors = {t.name: t for t in GGUFReader(path).tensors}
        blocks = [t for name, t in tensors.items() if name.startswith("blk.")]
        head = tensors.get("output.weight", tensors["token_embd.weight"])  # tied where there is no other
        self.operations = sum(int(t.n_elements) for t in blocks)
        self.read = sum(int(t.n_bytes) for t in blocks) + int(head.n_bytes)

    def prompt(self):
        self.llm.reset()
        self.llm.eval(self.ids)

    def decode(self):
        self.llm.reset()
        self.llm.eval(self.ids[:8])
        for _ in range(self.options.new):
            self.llm.eval([self.llm.sample(temp=0)])


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dense")
    parser.add_argument("smaller")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--new", type=int, default=64)
    o = parser.parse_args()
    engine = LlamaCpp if o.dense.endswith(".gguf") else Transformers
    dense, smaller = (engine(path, o) for path in (o.dense, o.smaller))
    expected = {"prompt": dense.operations / smaller.operations, "decode": dense.read / smaller.read}
    for kind, ratio in expected.items():
        works = [getattr(model, kind) for model in (dense, smaller)]
        for work in works:
            work()  # once to warm up
        times = [[seconds(work) for work in works] for _ in range(o.pairs)]
        measured = statistics.median(a / b for a, b in times)
        medians = [statistics.median(column) for column in zip(*times)]
        print(f"{kind}: dense {medians[0]:.3f} s, smaller {medians[1]:.3f} s: {measured:.2f} times as fast, expected "
              f"{ratio:.2f}, {measured / ratio:.0%} of that ({o.pairs} pairs)", flush=True)


if __name__ == "__main__":
    main()
