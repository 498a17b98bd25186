"""A model with a SentencePiece tokenizer, as a folder with tokenizer.model and as GGUF with scores.

Ids equal those of the sentencepiece package, perplexity that of PyTorch, and conversion keeps both.
"""
import gguf
import pytest
import sentencepiece
import tiny_model
from freelunch_command import refusal, run, run_json
from reference import perplexity_of_ids
from transformers import AutoModelForCausalLM, AutoTokenizer

LENGTH = 64
TEXT = tiny_model.text(3000, seed=1) + "  ünïcödé 日本 \n\n\tx"


def add_scored_tokenizer(processor):
    """Adds the tokenizer to a GGUF writer as llama.cpp's converter does."""

    def add(writer, _):
        n = processor.get_piece_size()
        kinds = (("is_unknown", 2), ("is_control", 3), ("is_byte", 6))
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list([processor.id_to_piece(i) for i in range(n)])
        writer.add_token_scores([processor.get_score(i) for i in range(n)])
        writer.add_token_types([next((t for check, t in kinds if getattr(processor, check)(i)), 1) for i in range(n)])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)

    return add


def fields(path):
    """The tokenizer section of a GGUF file's metadata."""
    prefix = "tokenizer.ggml."
    found = gguf.GGUFReader(path).fields.items()
    return {key.removeprefix(prefix): field.contents() for key, field in found if key.startswith(prefix)}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """folder, model.gguf; converted and from-*.gguf, which the command made of them; test.txt."""
    base = tmp_path_factory.mktemp("sentencepiece")
    model = tiny_model.make_with_sentencepiece(base / "folder")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(base / "folder/tokenizer.model"))
    tiny_model.write_gguf(base / "model.gguf", base / "folder", model, add_scored_tokenizer(processor))
    (base / "test.txt").write_text(TEXT)
    run("convert", base / "model.gguf", "--output", base / "converted")
    run("convert", base / "folder", "--output", base / "from-model.gguf")
    run("convert", base / "converted", "--output", base / "from-json.gguf")
    return base


@pytest.fixture(scope="module")
def ids(base):
    processor = sentencepiece.SentencePieceProcessor(model_file=str(base / "folder/tokenizer.model"))
    return [1] + processor.encode(TEXT)


@pytest.fixture(scope="module")
def expected_perplexity(base, ids):
    model = AutoModelForCausalLM.from_pretrained(base / "folder").eval()
    return perplexity_of_ids(model, ids, LENGTH)


@pytest.mark.parametrize("path", ["folder", "model.gguf", "converted", "from-model.gguf", "from-json.gguf"])
def test_perplexity_is_that_of_pytorch_on_the_ids_of_sentencepiece(path, base, expected_perplexity):
    got = run_json("perplexity", base / path, "--text", base / "test.txt", "--length", LENGTH, "--compute", "fp32")
    expected, windows = expected_perplexity
    assert got["windows"] == windows and abs(got["perplexity"] / expected - 1) < 1e-4


def test_the_converted_folder_gives_the_ids_of_sentencepiece_in_transformers(base, ids):
    assert AutoTokenizer.from_pretrained(base / "converted")(TEXT).input_ids == ids
    assert AutoModelForCausalLM.from_pretrained(base / "converted").config.bos_token_id == 1


# from tokenizer.model come the scores, from tokenizer.json come scores that make the same merges
@pytest.mark.parametrize("name", ["from-model.gguf", "from-json.gguf"])
def test_gguf_made_of_a_folder_has_the_same_tokens(name, base):
    expected, got = fields(base / "model.gguf"), fields(base / name)
    for key in ("model", "tokens", "token_type", "bos_token_id", "eos_token_id", "unknown_token_id"):
        assert got[key] == expected[key], key
    assert got["add_space_prefix"] and got["add_bos_token"] and not got["add_eos_token"], got


def test_gguf_made_of_a_tokenizer_model_has_the_same_scores(base):
    assert fields(base / "from-model.gguf")["scores"] == fields(base / "model.gguf")["scores"]


def test_a_cut_tokenizer_model_is_refused(base, tmp_path):
    tiny_model.make_with_sentencepiece(tmp_path / "cut")
    (tmp_path / "cut/tokenizer.model").write_bytes(tiny_model.sentencepiece_model()[:-3])
    line = refusal(3, "perplexity", tmp_path / "cut", "--text", base / "test.txt")
    assert "tokenizer.model: truncated" in line
