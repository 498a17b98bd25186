"""GGUF files written here run in llama.cpp: the same tokens, the same greedy continuation, the same perplexity (slow tier):
check_llama_cpp.py COMMAND DEMO_FOLDER SHARED_DATA

Needs the package llama-cpp-python; skipped without it. SmolLM2-135M is left out where scripts/demo has not brought it.
"""
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

try:
    from llama_cpp import Llama
except ImportError as error:
    print(f"skipped: llama-cpp-python is not installed ({error})")
    sys.exit(77)

root = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(root / "tests/cli"), str(root / "benchmarks/peers")]
import architectures  # noqa: E402
import tiny_model  # noqa: E402
from llama_cpp_as_stored import keep_weights_as_stored  # noqa: E402
from transformers import Qwen2Config, Qwen2ForCausalLM  # noqa: E402

keep_weights_as_stored()
command, demo, data = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])


def run(*arguments):
    result = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == 0, f"{arguments}: {result.stderr}"
    return result.stdout


def log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def compare(name, source, base, prompts, text, length, windows, dtypes=("f32", "f16", "bf16", "q8_0"), bos=False):
    for dtype in dtypes:
        path = base / f"{name}-{dtype}.gguf"
        run("convert", source, "-o", path, "--dtype", dtype)
        llm = Llama(str(path), n_ctx=max(length, 256), n_batch=length, n_ubatch=length, logits_all=True, n_threads=2, n_threads_batch=2, verbose=False)
        for prompt in prompts:
            ours = json.loads(run("generate", path, "--prompt", prompt, "--tokens", 64, "--past-end", "--compute", "fp32", "--json"))
            ids = llm.tokenize(prompt.encode(), add_bos=bos, special=True)
            assert ids == ours["prompt"], (prompt, ids, ours["prompt"])
            llm.reset()
            llm.eval(ids)
            theirs, gaps = [], []
            for _ in range(64):
                logits = llm.scores[llm.n_tokens - 1]
                best, second = np.sort(logits)[[-1, -2]]
                gaps.append(best - second)
                theirs.append(int(logits.argmax()))
                llm.eval(theirs[-1:])
            same = next((i for i, (a, b) in enumerate(zip(theirs, ours["tokens"])) if a != b), 64)
            print(f"{name} {dtype}: {same} of 64 greedy tokens alike" + ("" if same == 64 else f"; the two largest logits then differ by {gaps[same]:.3f}"), flush=True)
            # llama.cpp rounds activations to the weights' type: there a near tie may fall the other way
            assert same == 64 or (dtype != "f32" and gaps[same] < 0.25), (prompt, theirs, ours["tokens"])
        got = json.loads(run("perplexity", path, "--text", text, "--protocol", "llama.cpp", "--length", length, "--windows", windows, "--compute", "fp32", "--json"))
        ids = llm.tokenize(text.read_bytes(), add_bos=bos, special=True)
        first = [llm.token_bos()] if bos else []  # in place of a window's first token, as llama.cpp's own tool does it
        total = count = 0
        for i in range(windows):
            window = ids[i * length:(i + 1) * length]
            llm.reset()
            llm.eval(first + window[len(first):])
            log_p = log_softmax(llm.scores[:length])
            for t in range(length // 2 + 1, length):
                total -= log_p[t - 1, window[t]]
                count += 1
        theirs = math.exp(total / count)
        print(f"{name} {dtype}: perplexity {got['perplexity']:.4f}, llama.cpp {theirs:.4f} ({100 * (got['perplexity'] / theirs - 1):+.3f} %)", flush=True)
        # over Q8_0 weights llama.cpp rounds activations to eight bits
        assert abs(got["perplexity"] / theirs - 1) < (0.01 if dtype == "q8_0" else 0.005)
        del llm


with tempfile.TemporaryDirectory() as temporary:
    base = pathlib.Path(temporary)
    tiny_model.make(base / "tiny", initializer_range=0.2, max_position_embeddings=256)
    (base / "text.txt").write_text(tiny_model.text(3000, seed=1))
    tiny_model.make(base / "tiny-qwen2", initializer_range=0.2, max_position_embeddings=256, classes=(Qwen2Config, Qwen2ForCausalLM))
    compare("tiny-qwen2", base / "tiny-qwen2", base, [tiny_model.text(24, seed=5)], base / "text.txt", 128, 4)
    compare("tiny", base / "tiny", base, [tiny_model.text(24, seed=5)], base / "text.txt", 128, 4)
    tiny_model.make_with_sentencepiece(base / "tiny-sentencepiece", initializer_range=0.2, max_position_embeddings=256)
    compare("tiny-sentencepiece", base / "tiny-sentencepiece", base, [tiny_model.text(24, seed=5)], base / "text.txt", 128, 4, bos=True)
    for name in ("llama, biases", "llama, rope llama3", "mixtral", "qwen3", "qwen3_moe", "gemma2", "gemma3_text", "phi3", "gpt2", "gpt_neox", "olmo2"):
        # llama.cpp expects Microsoft's tokens of every model that is called phi3
        folder = base / name.replace(", ", "-").replace(" ", "-").replace("phi3", "phi-three")
        architectures.build_for_gguf(name).save_pretrained(folder)
        tiny_model.make_tokenizer(folder)
        compare(folder.name, folder, base, [tiny_model.text(24, seed=5)], base / "text.txt", 128, 4, dtypes=["f32"])
    gguf = demo / "SmolLM2-135M-Instruct.Q4_1.gguf"
    wiki = data / "wikitext2/wiki.test.raw"
    if not gguf.exists() or not wiki.exists():
        print("left out: SmolLM2-135M or WikiText-2 is not at hand")
        sys.exit(0)
    (base / "wiki.txt").write_text(wiki.read_text(encoding="utf-8")[:12000])
    run("convert", gguf, "-o", base / "smollm2")  # so that metadata and names are derived, not kept
    compare("SmolLM2-135M", base / "smollm2", base, ["The capital of France is", "def fibonacci(n):\n"], base / "wiki.txt", 512, 4)
