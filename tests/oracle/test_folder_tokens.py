"""Files next to tokenizer.json name more tokens than it does, or change them: ids are those of transformers."""
import json
import shutil

import pytest
import tiny_model
from freelunch_command import call, refusal, run
from gguf_files import metadata
from mixed_lines import Probe
from transformers import AutoTokenizer


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens") / "plain"
    tiny_model.make(folder, vocab_size=404)  # a few rows more than tokens
    return folder


@pytest.fixture
def folder(plain, tmp_path):
    return shutil.copytree(plain, tmp_path / "in")


@pytest.fixture(scope="module")
def word(plain):
    """A token of two letters that merges make."""
    vocabulary = json.loads((plain / "tokenizer.json").read_text())["model"]["vocab"]
    return next(token for token in vocabulary if len(token) == 2 and token.isascii() and token.isalpha())


def edit(path, **values):
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | values))


def add(folder, content, id, **flags):
    """An entry of added_tokens in tokenizer.json."""
    plain = dict(special=False, lstrip=False, rstrip=False, single_word=False, normalized=False)
    root = json.loads((folder / "tokenizer.json").read_text())
    root["added_tokens"].append(plain | flags | dict(id=id, content=content))
    (folder / "tokenizer.json").write_text(json.dumps(root))


def id_of(folder, word):
    return json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"][word]


def named(file="tokenizer_config.json", **entries):
    """The entries with WORD replaced by the word."""
    def change(folder, word):
        edit(folder / file, **json.loads(json.dumps(entries).replace("WORD", word)))
    return change


def decoder(*entries):
    """An added_tokens_decoder, after the entries of tokenizer.json itself: (content, id, flags)."""
    def change(folder, word):
        own = {"0": dict(content="<|endoftext|>", special=True, normalized=False)}
        more = {str(id or id_of(folder, word)): dict(flags, content=content.replace("WORD", word))
                for content, id, flags in entries}
        edit(folder / "tokenizer_config.json", added_tokens_decoder=own | more)
    return change


def both(own, change):
    """`own` are flags of the word in tokenizer.json."""
    def changes(folder, word):
        add(folder, word, id_of(folder, word), **own)
        change(folder, word)
    return changes


CHANGES = {
    "pad_token": named(pad_token="WORD"),
    "bos_token": named(bos_token="WORD"),
    "a token as an object": named(pad_token={"__type": "AddedToken", "content": "WORD", "lstrip": True}),
    "a token of a name of its own": named(image_token="WORD"),
    "additional_special_tokens": named(additional_special_tokens=["WORD"]),
    "extra_special_tokens, list": named(extra_special_tokens=["WORD", "<new>"]),
    "extra_special_tokens, object": named(extra_special_tokens={"image_token": "WORD"}),
    "new tokens": named(pad_token="<new>", bos_token="<newer>"),
    "special_tokens_map.json": named("special_tokens_map.json", pad_token="WORD"),
    "special_tokens_map.json, object": named("special_tokens_map.json", pad_token={"content": "WORD", "rstrip": True}),
    "added_tokens.json": lambda folder, word: edit(folder / "added_tokens.json", **{word: id_of(folder, word)}),
    "added_tokens.json, new": lambda folder, word: edit(folder / "added_tokens.json", **{"<new>": 402, "<newer>": 401}),
    "added_tokens_decoder": decoder(("WORD", None, {})),
    "added_tokens_decoder, special": decoder(("WORD", None, dict(special=True, rstrip=True))),
    "added_tokens_decoder, new": decoder(("<newer>", 402, {}), ("<new>", 401, dict(special=True))),
    "added_tokens_decoder hides the old files": lambda folder, word: [
        decoder()(folder, word), named("special_tokens_map.json", pad_token="WORD")(folder, word),
        edit(folder / "added_tokens.json", **{word: id_of(folder, word)})],
    "other flags": both(dict(lstrip=True), decoder(("WORD", None, dict(rstrip=True)))),
    "fewer flags": both(dict(single_word=True), decoder(("WORD", None, {}))),
    "tokenizer.json alone": both(dict(single_word=True), named()),
    "space in front, GPT-2": named(tokenizer_class="GPT2Tokenizer", add_prefix_space=True),
    "space in front, GPT-NeoX": named(tokenizer_class="GPTNeoXTokenizerFast", add_prefix_space=True),
    "space in front, another class": named(tokenizer_class="PreTrainedTokenizerFast", add_prefix_space=True),
}


def lines(word):
    return [f"abc{word}d {word} {word}{word} x", f"{word} ", f"a <new> b<new><newer>{word}", f"<|endoftext|>{word}",
            "plain text", f"  {word}  {word}.", f"{word}abc"]


@pytest.mark.parametrize("name", CHANGES)
def test_ids_are_those_of_transformers(name, folder, word, ours):
    CHANGES[name](folder, word)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ours.compare(folder, lambda text: tokenizer(text).input_ids, [line.encode() for line in lines(word)])


def test_the_changes_change_ids(plain, folder, word, tokenizer_probe):
    """Otherwise the test above would pass without them."""
    texts = [line.encode() for line in lines(word)]
    before, _ = Probe(tokenizer_probe)(plain, texts)
    for name in ("pad_token", "new tokens", "added_tokens.json", "added_tokens_decoder"):
        changed = shutil.copytree(plain, folder.parent / name)
        CHANGES[name](changed, word)
        assert Probe(tokenizer_probe)(changed, texts)[0] != before, name


def test_gguf_gets_the_tokens_that_the_configuration_names(folder, word, tmp_path):
    decoder(("<user>", 400, {}), ("WORD", None, dict(special=True)))(folder, word)
    named(pad_token="<pad>")(folder, word)
    run("convert", folder, "-o", tmp_path / "m.gguf")
    fields, tokenizer = metadata(tmp_path / "m.gguf"), AutoTokenizer.from_pretrained(folder)
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    for content, kind in (("<user>", 4), (word, 3), ("<pad>", 3)):  # 3: control, 4: user-defined
        id = tokenizer.convert_tokens_to_ids(content)
        assert tokens[id] == content and types[id] == kind, content
    assert fields["tokenizer.ggml.padding_token_id"] == tokenizer.pad_token_id


def test_a_new_token_without_a_row_is_refused_only_in_a_text(folder, word, tmp_path):
    named(pad_token="<0>", extra_special_tokens=["<1>", "<2>", "<3>", "<4>"])(folder, word)
    (tmp_path / "text.txt").write_text(tiny_model.text(600))
    result = call("perplexity", folder, "--text", tmp_path / "text.txt")
    assert result.returncode == 0 and "warning: the tokenizer has ids up to 404" in result.stderr
    (tmp_path / "text.txt").write_text("<4>" + tiny_model.text(600))
    assert "<4>" in refusal(3, "perplexity", folder, "--text", tmp_path / "text.txt", alone=False)


def test_special_tokens_that_are_split_are_refused(folder, word):
    named(split_special_tokens=True)(folder, word)
    assert "split_special_tokens" in refusal(4, "generate", folder, "--prompt", "a", alone=False)
