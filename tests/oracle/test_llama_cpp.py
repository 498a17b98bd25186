"""GGUF files written here run in llama.cpp: the same tokens, the same greedy continuation, the same perplexity.

Needs the package llama-cpp-python, which scripts/setup --peers installs in .venv-peers; skipped without it.
"""
import functools
import math
import types

import numpy as np
import pytest

llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (scripts/setup --peers)")
import architectures  # noqa: E402
import tiny_model  # noqa: E402
from freelunch_command import run, run_json  # noqa: E402
from llama_cpp_as_stored import keep_weights_as_stored  # noqa: E402
from places import place  # noqa: E402
from transformers import Qwen2Config, Qwen2ForCausalLM  # noqa: E402

pytestmark = pytest.mark.slow
keep_weights_as_stored()
DTYPES = ("f32", "f16", "bf16", "q8_0")
TINY = dict(initializer_range=0.2, max_position_embeddings=256)
ARCHITECTURES = ("llama, biases", "llama, rope llama3", "mixtral", "qwen3", "qwen3_moe", "gemma2", "gemma3_text",
                 "phi3", "gpt2", "gpt_neox", "olmo2")
# what structured pruning removes: --kv-groups where llama.cpp takes any number of heads, --experts in mixtures
CUT = " cut"
CUTS = {name + CUT: ("--mlp", "0.67") for name in ARCHITECTURES}
for name in ("llama, biases", "qwen3", "gemma2", "gemma3_text"):
    CUTS[name + CUT] += ("--kv-groups", "1")
for name in ("mixtral", "qwen3_moe"):
    CUTS[name + CUT] += ("--experts", "3", "--expert-criterion", "random")
# name of the model -> dtypes of its GGUF files; each is compared in a case of its own
MODELS = {"tiny": DTYPES, "tiny-qwen2": DTYPES, "tiny-sentencepiece": DTYPES, "SmolLM2-135M": DTYPES,
          **{name: ("f32",) for name in (*ARCHITECTURES, *CUTS)}}
CASES = [(name, dtype) for name, dtypes in MODELS.items() for dtype in dtypes]
TOKENS = 64


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    base = tmp_path_factory.mktemp("llama_cpp")
    (base / "text.txt").write_text(tiny_model.text(3000, seed=1))
    return base


def make_folder(name, base):
    """The Hugging Face folder that the GGUF files are made of."""
    # llama.cpp expects Microsoft's tokens of every model that is called phi3
    folder = base / name.replace(", ", "-").replace(" ", "-").replace("phi3", "phi-three")
    if name == "tiny":
        tiny_model.make(folder, **TINY)
    elif name == "tiny-qwen2":
        tiny_model.make(folder, **TINY, classes=(Qwen2Config, Qwen2ForCausalLM))
    elif name == "tiny-sentencepiece":
        tiny_model.make_with_sentencepiece(folder, **TINY)
    elif name == "SmolLM2-135M":  # by way of a folder, so that metadata and names are derived, not kept
        run("convert", place("FREELUNCH_DEMO", "SmolLM2-135M-Instruct.Q4_1.gguf"), "-o", folder)
    elif name in CUTS:
        run("compress", make_folder(name.removesuffix(CUT), base), "-o", folder, *CUTS[name], "--unit-criterion", "random",
            "--repair", "none", "--criterion", "magnitude")
    else:
        architectures.build_for_gguf(name).save_pretrained(folder)
        tiny_model.make_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def source(base):
    """name -> folder, prompts, text, length of a window, whether a sequence starts with BOS."""

    @functools.cache
    def source(name):
        made = types.SimpleNamespace(folder=make_folder(name, base), prompts=[tiny_model.text(24, seed=5)],
                                     text=base / "text.txt", length=128, bos=name == "tiny-sentencepiece")
        if name == "SmolLM2-135M":
            wiki = place("FREELUNCH_DATA", "wikitext2/wiki.test.raw").read_text(encoding="utf-8")
            made.text, made.length = base / "wiki.txt", 512
            made.text.write_text(wiki[:12000])
            made.prompts = ["The capital of France is", "def fibonacci(n):\n"]
        return made

    return source


@pytest.fixture(scope="module", params=CASES, ids=lambda case: " ".join(case))
def case(request, base, source):
    """A GGUF file and llama.cpp with it: pytest runs all tests of one file before it opens the next."""
    name, dtype = request.param
    made = source(name)
    path = base / f"{name}-{dtype}.gguf".replace(" ", "-")
    run("convert", made.folder, "-o", path, "--dtype", dtype)
    llm = llama_cpp.Llama(str(path), n_ctx=max(made.length, 256), n_batch=made.length, n_ubatch=made.length,
                          logits_all=True, n_threads=2, n_threads_batch=2, verbose=False)
    return types.SimpleNamespace(name=name, dtype=dtype, path=path, llm=llm, **vars(made))


def continuation(llm, ids):
    """The greedy tokens that llama.cpp gives, and by how much the largest logit of each exceeds the next."""
    llm.reset()
    llm.eval(ids)
    tokens, gaps = [], []
    for _ in range(TOKENS):
        logits = llm.scores[llm.n_tokens - 1]
        best, second = np.sort(logits)[[-1, -2]]
        gaps.append(best - second)
        tokens.append(int(logits.argmax()))
        llm.eval(tokens[-1:])
    return tokens, gaps


def test_greedy_generation_gives_the_tokens_of_llama_cpp(case):
    for prompt in case.prompts:
        ours = run_json("generate", case.path, "--prompt", prompt, "--tokens", TOKENS, "--past-end",
                        "--compute", "fp32")
        ids = case.llm.tokenize(prompt.encode(), add_bos=case.bos, special=True)
        assert ids == ours["prompt"], prompt
        theirs, gaps = continuation(case.llm, ids)
        same = next((i for i, (a, b) in enumerate(zip(theirs, ours["tokens"])) if a != b), TOKENS)
        print(f"{case.name} {case.dtype}: {same} of {TOKENS} greedy tokens alike"
              + ("" if same == TOKENS else f"; the two largest logits then differ by {gaps[same]:.3f}"))
        # llama.cpp rounds activations to the weights' type: there a near tie may fall the other way
        assert same == TOKENS or (case.dtype != "f32" and gaps[same] < 0.25), (prompt, theirs, ours["tokens"])


def log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def perplexity(llm, ids, length, windows, bos):
    """As llama.cpp's own tool computes it: the second half of each window counts, and BOS replaces its first token."""
    first = [llm.token_bos()] if bos else []
    total = count = 0
    for i in range(windows):
        window = ids[i * length:(i + 1) * length]
        llm.reset()
        llm.eval(first + window[len(first):])
        log_p = log_softmax(llm.scores[:length])
        for t in range(length // 2 + 1, length):
            total -= log_p[t - 1, window[t]]
            count += 1
    return math.exp(total / count)


def test_perplexity_is_that_of_llama_cpp(case):
    windows = 4
    ours = run_json("perplexity", case.path, "--text", case.text, "--protocol", "llama.cpp", "--length", case.length,
                    "--windows", windows, "--compute", "fp32")["perplexity"]
    ids = case.llm.tokenize(case.text.read_bytes(), add_bos=case.bos, special=True)
    theirs = perplexity(case.llm, ids, case.length, windows, case.bos)
    print(f"{case.name} {case.dtype}: perplexity {ours:.4f}, llama.cpp {theirs:.4f} "
          f"({100 * (ours / theirs - 1):+.3f} %)")
    # over Q8_0 weights llama.cpp rounds activations to eight bits
    assert abs(ours / theirs - 1) < (0.01 if case.dtype == "q8_0" else 0.005)
