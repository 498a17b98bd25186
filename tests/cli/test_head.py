"""Whether the head is the embedding is decided from configuration and files together, as transformers decides it.

transformers measures the folder that goes in and every folder that comes out.
"""
import json

import pytest
import tiny_model
import torch
from freelunch_command import refusal, run, run_json, tensors
from gguf_files import gguf_tensors
from reference import perplexity
from safetensors.torch import load_file, save_file, save_model
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

LENGTH = 32
CLASSES = {"llama": (LlamaConfig, LlamaForCausalLM), "gpt2": (GPT2Config, GPT2LMHeadModel)}
EMBEDDING = {"llama": "model.embed_tokens.weight", "gpt2": "transformer.wte.weight"}


@pytest.fixture(params=CLASSES)
def tied(request, tmp_path):
    """(architecture, folder, model) with head and embedding tied."""
    folder = tmp_path / "tied"
    model = tiny_model.make(folder, tie_word_embeddings=True, classes=CLASSES[request.param])
    return request.param, folder, model


def change_tensors(folder, change):
    held = load_file(folder / "model.safetensors")
    change(held)
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    config.update(values)
    (folder / "config.json").write_text(json.dumps(config))


def measured(folder, text):
    return run_json("perplexity", folder, "--text", text, "--length", LENGTH, "--windows", 0, "--compute",
                    "fp32")["perplexity"]


def expect_the_figure_of_transformers(folder, text):
    theirs = perplexity(folder, text.read_text(), LENGTH)[0]
    assert measured(folder, text) == pytest.approx(theirs, rel=1e-4)
    return theirs


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "test.txt"
    path.write_text(tiny_model.text(300, seed=1))
    return path


def test_a_head_of_its_own_is_used_although_the_configuration_says_tied(tied, text, tmp_path):
    architecture, folder, _ = tied
    before = expect_the_figure_of_transformers(folder, text)
    embedding = load_file(folder / "model.safetensors")[EMBEDDING[architecture]]
    head = embedding + torch.randn(embedding.shape, generator=torch.Generator().manual_seed(0))
    change_tensors(folder, lambda held: held.update({"lm_head.weight": head}))
    figure = expect_the_figure_of_transformers(folder, text)
    assert abs(figure / before - 1) > 0.05  # else it would not matter which is used

    run("convert", folder, "-o", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False
    assert expect_the_figure_of_transformers(tmp_path / "out", text) == pytest.approx(figure, rel=1e-6)
    run("convert", folder, "-o", tmp_path / "out.gguf")
    assert "output.weight" in gguf_tensors(tmp_path / "out.gguf")
    assert measured(tmp_path / "out.gguf", text) == pytest.approx(figure, rel=1e-4)


def test_a_copy_of_the_embedding_is_no_head_of_its_own(tied, text, tmp_path):
    architecture, folder, _ = tied
    change_tensors(folder, lambda held: held.update({"lm_head.weight": held[EMBEDDING[architecture]].clone()}))
    expect_the_figure_of_transformers(folder, text)
    run("convert", folder, "-o", tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    run("convert", folder, "-o", tmp_path / "out.gguf")
    assert "output.weight" not in gguf_tensors(tmp_path / "out.gguf")


def test_an_untied_model_without_a_head_is_refused(tied, text):
    _, folder, _ = tied
    change_config(folder, tie_word_embeddings=False)
    line = refusal(3, "perplexity", folder, "--text", text, "--length", LENGTH)
    assert "lm_head.weight" in line and "tie_word_embeddings" in line


def test_a_matrix_stored_under_the_name_of_the_head_is_the_embedding(tied, text, tmp_path):
    architecture, folder, model = tied
    before = expect_the_figure_of_transformers(folder, text)
    save_model(model, folder / "model.safetensors", metadata={"format": "pt"})
    if EMBEDDING[architecture] in load_file(folder / "model.safetensors"):  # which name it keeps is its choice
        change_tensors(folder, lambda held: held.update({"lm_head.weight": held.pop(EMBEDDING[architecture])}))
    assert expect_the_figure_of_transformers(folder, text) == pytest.approx(before, rel=1e-6)

    run("convert", folder, "-o", tmp_path / "out")
    assert EMBEDDING[architecture] in tensors(tmp_path / "out")
    assert expect_the_figure_of_transformers(tmp_path / "out", text) == pytest.approx(before, rel=1e-6)
    run("convert", folder, "-o", tmp_path / "out.gguf")
    assert measured(tmp_path / "out.gguf", text) == pytest.approx(before, rel=1e-4)
