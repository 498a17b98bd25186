"""Logits equal those of transformers in fp32: random checkpoints of every architecture and variant, and shared ones."""
import architectures
import pytest
import torch
from places import place
from transformers import AutoModelForCausalLM


def expect_same_logits(probe, path, model, vocabulary):
    """The largest difference is below 1e-4 of the largest logit."""
    ids = torch.randint(0, vocabulary, (1, 80), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        theirs = model(ids).logits[0].float().numpy()
    ours = architectures.logits(probe, path, ids)
    assert architectures.difference(ours, theirs) < 1e-4


@pytest.mark.parametrize("name", architectures.cases)
def test_a_random_checkpoint_gives_the_logits_of_transformers(name, oracle_probe, tmp_path):
    model = architectures.build(name)
    model.save_pretrained(tmp_path / "model")
    expect_same_logits(oracle_probe, tmp_path / "model", model, model.config.vocab_size)


@pytest.mark.parametrize("name", ["gpt2", "llama, tied"])
def test_a_file_of_the_body_alone_has_names_without_prefix_and_the_same_logits(name, oracle_probe, tmp_path):
    model = architectures.build(name)
    model.base_model.save_pretrained(tmp_path / "body")
    expect_same_logits(oracle_probe, tmp_path / "body", model, architectures.VOCABULARY)


@pytest.mark.parametrize("name", ["tiny_llama3", "tiny_mistral", "tiny_qwen3", "tiny_gemma3"])
def test_a_shared_checkpoint_gives_the_logits_of_transformers(name, oracle_probe):
    folder = place("FREELUNCH_DATA", "checkpoints", name)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    expect_same_logits(oracle_probe, folder, model, 256)
