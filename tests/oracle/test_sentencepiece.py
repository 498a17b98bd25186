"""Ids equal those of the SentencePiece library on 10,000 lines of mixed text.

The tokenizer comes from a .model file, or from the scores in GGUF metadata. The tokenizer.json written for the latter
gives the same ids in the tokenizers library.
"""
import functools
import io
import json
import subprocess

import pytest
import sentencepiece
from places import place
from tokenizers import Tokenizer

IDENTITY = dict(normalization_rule_name="identity", remove_extra_whitespaces=False)
USER_DEFINED = ["▁▁", "▁▁▁▁", "\n\n", "<tool>", "TODO"]
TRAINED = {  # name -> options of SentencePiece's trainer
    "unigram, nmt_nfkc": dict(model_type="unigram", vocab_size=1500),
    "unigram, identity": dict(model_type="unigram", vocab_size=1500, byte_fallback=True, **IDENTITY),
    "bpe, nfkc_cf": dict(model_type="bpe", vocab_size=1500, normalization_rule_name="nfkc_cf", byte_fallback=True),
    "bpe like Gemma": dict(model_type="bpe", vocab_size=1500, byte_fallback=True, add_dummy_prefix=False,
                           user_defined_symbols=USER_DEFINED, **IDENTITY),
    "bpe, no bytes": dict(model_type="bpe", vocab_size=1200, character_coverage=0.99, **IDENTITY),
    "characters": dict(model_type="char", vocab_size=300, hard_vocab_limit=False),
    "suffix": dict(model_type="unigram", vocab_size=1500, treat_whitespace_as_suffix=True),
}
IN_GGUF = {  # name -> what GGUF metadata says besides tokens, scores and types
    "Llama 2": dict(model="llama"),
    "bpe like Gemma": dict(model="llama", add_space_prefix=False),
    "bpe, no bytes": dict(model="llama", add_bos=False),
    "unigram, identity": dict(model="t5"),
}


@pytest.fixture(scope="module")
def llama2():
    return place("FREELUNCH_DATA", "tokenizers/llama2-tokenizer.model").read_bytes()


@pytest.fixture(scope="module")
def model_of(text, request):
    """name -> the bytes of a .model file, trained once on part of WikiText-2."""

    @functools.cache
    def model_of(name):
        if name == "Llama 2":
            return request.getfixturevalue("llama2")
        model = io.BytesIO()
        sample = [line for line in text[:400000].split("\n") if line.strip()]
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(sample), model_writer=model, minloglevel=2,
                                                 num_threads=1, **TRAINED[name])
        return model.getvalue()

    return model_of


@pytest.fixture(scope="module")
def folder_of(model_of, tmp_path_factory):
    """(name, tokenizer_config.json) -> a folder with the tokenizer."""

    def folder_of(name, **config):
        folder = tmp_path_factory.mktemp("folder")
        (folder / "tokenizer.model").write_bytes(model_of(name))
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        return folder

    return folder_of


@pytest.fixture(scope="module")
def gguf_of(model_of, tmp_path_factory):
    """name -> GGUF metadata as llama.cpp's converter writes it."""

    @functools.cache
    def gguf_of(name):
        processor = sentencepiece.SentencePieceProcessor(model_proto=model_of(name))
        kinds = (("is_unknown", 2), ("is_control", 3), ("is_unused", 5), ("is_byte", 6))
        n = processor.get_piece_size()
        tokens = [processor.id_to_piece(i) for i in range(n)]
        types = [next((t for check, t in kinds if getattr(processor, check)(i)), 1) for i in range(n)]
        user_defined = TRAINED.get(name, {}).get("user_defined_symbols", [])
        types = [4 if t in user_defined else k for t, k in zip(tokens, types)]
        path = tmp_path_factory.mktemp("gguf") / "tokenizer.gguf.json"
        path.write_text(json.dumps(dict(tokens=tokens, scores=[processor.get_score(i) for i in range(n)],
                                        token_types=types, bos=1, eos=2, **IN_GGUF[name])))
        return path

    return gguf_of


@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_model_gives_the_ids_of_sentencepiece(name, ours, folder_of, model_of, lines):
    processor = sentencepiece.SentencePieceProcessor(model_proto=model_of(name))
    folder = folder_of(name, add_bos_token=False, add_eos_token=True)
    ours.compare(folder, lambda text: processor.encode(text) + [2], lines)


def test_llama_2_gives_the_ids_of_sentencepiece(ours, folder_of, llama2, lines):
    processor = sentencepiece.SentencePieceProcessor(model_proto=llama2)
    ours.compare(folder_of("Llama 2"), lambda text: [1] + processor.encode(text), lines)


@pytest.mark.parametrize("name", IN_GGUF)
def test_scores_in_gguf_give_the_ids_of_sentencepiece(name, ours, gguf_of, model_of, lines):
    processor = sentencepiece.SentencePieceProcessor(model_proto=model_of(name))
    llama = IN_GGUF[name]["model"] == "llama"
    start = [1] if IN_GGUF[name].get("add_bos", llama) else []
    end = [] if llama else [2]
    ours.compare(gguf_of(name), lambda text: start + processor.encode(text) + end, lines)


@pytest.mark.parametrize("name", IN_GGUF)
def test_the_tokenizer_json_written_of_gguf_gives_the_same_ids_in_tokenizers(name, ours, gguf_of, lines,
                                                                             tokenizer_probe):
    written = subprocess.run([tokenizer_probe, "write", gguf_of(name)], capture_output=True, check=True).stdout
    ours.compare(gguf_of(name), Tokenizer.from_str(written.decode()), lines)


SOURCES = ["folder of Llama 2", "GGUF of Llama 2", "folder of unigram, identity", "GGUF of unigram, identity"]


@pytest.fixture
def path(request, folder_of, gguf_of):
    kind, name = request.param.split(" of ")
    return gguf_of(name) if kind == "GGUF" else folder_of(name)


@pytest.mark.parametrize("path", SOURCES[:2], indirect=True)
def test_wikitext_has_the_known_number_of_llama_2_tokens(path, ours, text):
    got, _ = ours(path, [text.encode()])
    assert len(got[0]) == 341469


@pytest.mark.parametrize("path", SOURCES, indirect=True)
@pytest.mark.parametrize("filler", ["a", " ", "1", "\n", "é", "日"])
def test_a_long_line_of_one_character_takes_no_quadratic_time(path, filler, ours):
    got, seconds = ours(path, [(filler * 300000).encode()])
    assert got[0] and seconds < 60


# The SentencePiece library itself encodes what a folder holds, at 0.1 MB/s and more; scores in GGUF are encoded here.
@pytest.mark.parametrize("path", SOURCES[1::2], indirect=True)
def test_wikitext_is_encoded_at_half_a_megabyte_a_second_or_faster(path, ours, text):
    speed = ours.speed(path, text.encode())
    print(f"{speed:.1f} MB/s")
    assert speed > 0.5
