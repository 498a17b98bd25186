"""The main job on SmolLM2-135M, against figures of a reference implementation and against transformers."""
import functools
import json
import math
import time
import types

import pytest
import torch
import torch.nn.functional as F
from freelunch_command import digest, run, run_json
from places import place
from transformers import AutoModelForCausalLM, AutoTokenizer

pytestmark = pytest.mark.slow
# perplexity of the reference implementation on 10 windows of WikiText-2 after each repair
LIMITS = {"solve": 37.46, "solve,sublayer": 32.82, "solve,model": 31.94, "solve,sublayer,model": 31.37, "auto": 31.37}


@pytest.fixture(scope="module")
def gguf():
    return place("FREELUNCH_DEMO", "SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture(scope="module")
def wiki():
    return place("FREELUNCH_DATA", "wikitext2/wiki.test.raw")


@pytest.fixture(scope="module")
def c4():
    return place("FREELUNCH_DATA", "calib/c4_en_sample.jsonl")


@pytest.fixture(scope="module")
def compressed(gguf, wiki, c4, tmp_path_factory):
    """repair -> folder, report and perplexity of the halved model, run once."""

    @functools.cache
    def compress(repair):
        out = tmp_path_factory.mktemp("smollm2") / "out"
        start = time.time()
        report = run_json("compress", gguf, "--output", out, "--sparsity", 0.5, "--repair", repair, "--calibration", c4,
                          "--samples", 64, "--length", 512, "--evaluate", wiki)
        seconds = time.time() - start
        held_out = run_json("perplexity", out, "--text", c4, "--windows", 10, "--from-end")["perplexity"]
        got = report["figures"]["repaired"]["perplexity"]
        print(f"{repair}: WikiText-2 {got:.3f}, C4 held out {held_out:.3f}, {seconds:.0f} s, "
              f"peak {report['peak_bytes'] / 1e6:.0f} MB")
        return types.SimpleNamespace(out=out, report=report, perplexity=got)

    return compress


def test_the_dense_perplexity_is_the_known_one(gguf, wiki):
    dense = run_json("perplexity", gguf, "--text", wiki, "--windows", 20)
    assert abs(dense["perplexity"] / 20.861 - 1) < 0.005


def test_convert_makes_a_folder(gguf, tmp_path):
    start = time.time()
    run("convert", gguf, "--output", tmp_path / "out")
    print(f"convert: {time.time() - start:.2f} s")
    assert json.loads((tmp_path / "out/config.json").read_text())["model_type"] == "llama"


@pytest.mark.parametrize("repair", ["none", *LIMITS])
def test_half_of_each_row_is_zero(repair, compressed):
    assert all(t["zeros"] == t["shape"][0] * (t["shape"][1] // 2) for t in compressed(repair).report["tensors"])


def test_pruning_alone_gives_the_perplexity_of_the_reference(compressed):
    assert abs(compressed("none").perplexity / 44.66 - 1) < 0.02


@pytest.mark.parametrize("repair", LIMITS)
def test_repair_reaches_the_perplexity_of_the_reference(repair, compressed):
    assert compressed(repair).perplexity < 1.01 * LIMITS[repair]


def test_the_same_plan_twice_writes_the_same_bytes(compressed):
    """auto stands for solve,sublayer,model."""
    assert digest(compressed("auto").out) == digest(compressed("solve,sublayer,model").out)


def test_transformers_finds_the_reported_perplexity(compressed, wiki):
    made, windows, length = compressed("auto"), 10, 2048
    model = AutoModelForCausalLM.from_pretrained(made.out, dtype=torch.bfloat16).eval()
    tokenizer = AutoTokenizer.from_pretrained(made.out)
    ids = tokenizer(wiki.read_text(encoding="utf-8"), return_tensors="pt").input_ids[0]
    total = 0
    with torch.no_grad():
        for i in range(windows):
            x = ids[i * length:(i + 1) * length]
            total += F.cross_entropy(model(x[None]).logits[0, :-1].float(), x[1:]).item()
    assert abs(math.exp(total / windows) / made.perplexity - 1) < 0.005
