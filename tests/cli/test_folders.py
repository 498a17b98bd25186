"""Model folders with parts that nothing needs: they open, and transformers measures the same perplexity."""
import json

import pytest
import tiny_model
from freelunch_command import refusal, run, run_json
from reference import perplexity

LENGTH = 32


@pytest.fixture
def folder(tmp_path):
    """A model in several shards with an index."""
    tiny_model.make(tmp_path / "model", max_shard_size="100KB")
    return tmp_path / "model"


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "test.txt"
    path.write_text(tiny_model.text(300, seed=1))
    return path


def measured(folder, text):
    return run_json("perplexity", folder, "--text", text, "--length", LENGTH, "--windows", 0, "--compute",
                    "fp32")["perplexity"]


def change_json(path, change):
    held = json.loads(path.read_text())
    change(held)
    path.write_text(json.dumps(held))


def in_index(folder, name):
    index = folder / "model.safetensors.index.json"
    shard = sorted(json.loads(index.read_text())["weight_map"].values())[0]
    change_json(index, lambda held: held["weight_map"].update({name: shard}))


def test_an_index_may_name_a_tensor_that_no_shard_holds(folder, text, tmp_path):
    expected = perplexity(folder, text.read_text(), LENGTH)[0]
    in_index(folder, "model.layers.0.self_attn.rotary_emb.inv_freq")
    assert measured(folder, text) == pytest.approx(expected, rel=1e-4)
    run("convert", folder, "-o", tmp_path / "out")
    assert perplexity(tmp_path / "out", text.read_text(), LENGTH)[0] == pytest.approx(expected, rel=1e-6)


def test_a_tensor_that_the_model_needs_and_no_shard_holds_is_refused_with_its_name(folder, text):
    change_json(folder / "config.json", lambda config: config.update(attention_bias=True))
    in_index(folder, "model.layers.0.self_attn.q_proj.bias")
    assert "model.layers.0.self_attn.q_proj.bias" in refusal(3, "perplexity", folder, "--text", text)


def with_a_token_more(folder):
    """The tokenizer gets <image>, for which the embedding has no row; returns its id."""
    ids = []

    def add(tokenizer):
        ids.append(max(tokenizer["model"]["vocab"].values()) + 1)
        tokenizer["added_tokens"].append(dict(id=ids[0], content="<image>", single_word=False, lstrip=False,
                                              rstrip=False, normalized=False, special=True))

    change_json(folder / "tokenizer.json", add)
    return ids[0]


def test_a_tokenizer_may_have_more_tokens_than_the_embedding_has_rows(folder, text):
    with_a_token_more(folder)
    expected = perplexity(folder, text.read_text(), LENGTH)[0]
    assert measured(folder, text) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("where", ["first", "last"])
def test_a_text_with_a_token_that_has_no_row_is_refused_with_its_id(folder, text, where):
    token = with_a_token_more(folder)
    words = text.read_text()
    text.write_text("<image>" + words if where == "first" else words[:400] + "<image>" + words[400:])
    line = refusal(3, "perplexity", folder, "--text", text, "--length", LENGTH, "--windows", 0, alone=False)
    assert f"id {token}" in line and "embedding" in line
