"""Which matrix is the LM head follows from config.json and the files together, as in transformers and llama.cpp."""
import json

import architectures
import gguf
import numpy as np
import pytest
import tiny_model
import torch
from freelunch_command import call, refusal, run, run_json, tensors
from gguf_files import gguf_tensors
from reference import perplexity
from safetensors.torch import load_file, save_file, save_model
from transformers import AutoModelForCausalLM

# Hugging Face names of embedding and head
NAMES = {"gpt2": ("transformer.wte.weight", "lm_head.weight"),
         "gpt_neox": ("gpt_neox.embed_in.weight", "embed_out.weight"),
         "opt": ("model.decoder.embed_tokens.weight", "lm_head.weight")}
ARCHITECTURES = [name for name in architectures.cases if "," not in name]
IDS = torch.randint(0, architectures.VOCABULARY, (1, 24), generator=torch.Generator().manual_seed(2))


def names(architecture):
    return NAMES.get(architecture, ("model.embed_tokens.weight", "lm_head.weight"))


def set_tied(folder, tied):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": tied}))


def build(architecture, folder):
    """A folder with a tokenizer; the files hold the embedding, and the head if the two are not tied."""
    architectures.build(architecture).save_pretrained(folder)
    tiny_model.make_tokenizer(folder)
    return folder


def make(architecture, how, folder):
    """how: "differs", config.json says tied and the files hold another head; "renamed", tied and only the head is there.
    """
    build(architecture, folder)
    embedding, head = names(architecture)
    file = folder / "model.safetensors"
    weights = load_file(file)
    if how == "differs":
        other = torch.randn(weights[embedding].shape, generator=torch.Generator().manual_seed(7))
        weights[head] = other * weights[embedding].std()
        save_file(weights, file, metadata={"format": "pt"})
    else:
        weights[head] = weights.pop(embedding)
        save_file(weights, file, metadata={"format": "pt", embedding: head})
    set_tied(folder, True)
    return folder


def expected_logits(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(IDS).logits[0].numpy()


@pytest.mark.parametrize("how", ["differs", "renamed"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_are_those_of_transformers(architecture, how, oracle_probe, tmp_path):
    folder = make(architecture, how, tmp_path / "in")
    assert architectures.difference(architectures.logits(oracle_probe, folder, IDS), expected_logits(folder)) < 1e-4


@pytest.mark.parametrize("how", ["differs", "renamed"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_written_folder_says_which_head_it_has(architecture, how, tmp_path):
    folder = make(architecture, how, tmp_path / "in")
    run("convert", folder, "-o", tmp_path / "out")
    embedding, head = names(architecture)
    assert json.loads((tmp_path / "out/config.json").read_text())["tie_word_embeddings"] is (how == "renamed")
    assert embedding in tensors(tmp_path / "out") and (head in tensors(tmp_path / "out")) is (how == "differs")
    assert np.array_equal(expected_logits(tmp_path / "out"), expected_logits(folder))


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "opt"])
def test_gguf_gets_the_head_that_differs(architecture, tmp_path):
    if architecture.startswith(("gemma", "qwen3_moe")):
        architectures.build_for_gguf(architecture)
    folder = make(architecture, "differs", tmp_path / "in")
    run("convert", folder, "-o", tmp_path / "out.gguf")
    written, weights = gguf_tensors(tmp_path / "out.gguf"), tensors(folder)
    for name, key in zip(("token_embd.weight", "output.weight"), names(architecture), strict=True):
        assert np.array_equal(written[name][1], weights[key].float().numpy()), name


@pytest.fixture
def llama(tmp_path):
    """The folder of a tiny Llama whose config.json says tied and whose file holds another head."""
    tiny_model.make(tmp_path / "llama")
    set_tied(tmp_path / "llama", True)
    return tmp_path / "llama"


def test_figures_of_a_run_are_those_of_the_written_folder(llama, tmp_path):
    text = tiny_model.text(300, seed=1)  # fewer windows than a run evaluates
    (tmp_path / "test.txt").write_text(text)
    result = call("compress", llama, "-o", tmp_path / "out", "--criterion", "magnitude", "--repair", "none",
                  "--evaluate", tmp_path / "test.txt", "--compute", "fp32", "--json")
    assert result.returncode == 0 and "warning: config.json ties 'lm_head.weight'" in result.stderr, result.stderr
    figures = json.loads(result.stdout)["figures"]
    for figure, folder in (("dense", llama), ("repaired", tmp_path / "out")):
        expected, _ = perplexity(folder, text, 128)
        assert abs(figures[figure]["perplexity"] / expected - 1) < 1e-4, figure


def test_a_head_that_equals_the_embedding_is_tied(llama, tmp_path):
    weights = load_file(llama / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, llama / "model.safetensors", metadata={"format": "pt"})
    result = call("inspect", llama, "--json")
    assert json.loads(result.stdout)["tied_embeddings"] and "warning" not in result.stderr
    run("convert", llama, "-o", tmp_path / "out")
    assert (tmp_path / "out/config.json").read_bytes() == (llama / "config.json").read_bytes()


def test_what_save_model_of_safetensors_writes_is_read(llama, evaluation_text, tmp_path):
    file = llama / "model.safetensors"
    file.unlink()
    model = tiny_model.make(tmp_path / "tied", tie_word_embeddings=True)
    save_model(model, str(file))
    assert "model.embed_tokens.weight" not in load_file(file)
    expected, _ = perplexity(llama, evaluation_text.read_text(), 64)
    for tied in (True, False):  # the file itself says that the two share memory
        set_tied(llama, tied)
        got = run_json("perplexity", llama, "--text", evaluation_text, "--length", 64, "--compute", "fp32")
        assert abs(got["perplexity"] / expected - 1) < 1e-4


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "opt"])
def test_an_untied_model_without_a_head_is_refused(architecture, tmp_path):
    """transformers draws a random head for it."""
    folder = build(architecture, tmp_path / "in")
    embedding, head = names(architecture)
    weights = load_file(folder / "model.safetensors")
    weights.pop(head, None)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    set_tied(folder, False)
    line = refusal(3, "convert", folder, "-o", tmp_path / "out", alone=False)
    assert head in line and "tie_word_embeddings" in line


def test_gguf_with_an_output_matrix_is_not_tied(dense_model, evaluation_text, tmp_path):
    """llama.cpp uses output.weight where there is one, and the embedding where there is none."""
    folder, model = dense_model
    tiny_model.write_gguf(tmp_path / "m.gguf", folder, model)
    assert "output.weight" in gguf_tensors(tmp_path / "m.gguf")
    run("convert", tmp_path / "m.gguf", "-o", tmp_path / "out", "--dtype", "f32")
    assert json.loads((tmp_path / "out/config.json").read_text())["tie_word_embeddings"] is False
    expected, _ = perplexity(folder, evaluation_text.read_text(), 64)
    got = run_json("perplexity", tmp_path / "m.gguf", "--text", evaluation_text, "--length", 64, "--compute", "fp32")
    assert abs(got["perplexity"] / expected - 1) < 1e-4
    assert gguf.GGUFReader(tmp_path / "m.gguf").get_field("llama.block_count").contents() == 2
