"""Ids equal those of the tokenizers library on 10,000 lines of mixed text.

Files of known models, every pre-tokenizer family of GGUF, and tokenizers trained here with the parts that these do not
use.
"""
import json

import pytest
from places import place
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers


def byte_level(regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)


def split(*regexes):
    splits = [pre_tokenizers.Split(Regex(r), "isolated") for r in regexes]
    return pre_tokenizers.Sequence([*splits, byte_level(False)])


def metaspace(scheme, split):
    return pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)


LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
           r"\p{N}+", r"[0-9][0-9][0-9]")
DIGITS = pre_tokenizers.Digits(individual_digits=True)
# tokenizer.ggml.pre -> pre-tokenizer, normalizer and ignore_merges in the original tokenizer.json of that family
FAMILIES = {
    "gpt-2": (byte_level(True), None, False),
    "smollm": (pre_tokenizers.Sequence([DIGITS, byte_level(True)]), None, False),
    "llama-bpe": (split(LLAMA3), None, True),
    "qwen2": (split(QWEN2), normalizers.NFC(), False),
    "gpt-neox": (byte_level(True), normalizers.NFC(), False),
    "dbrx": (split(LLAMA3), None, False),
    "tekken": (split(TEKKEN), None, True),
    "default": (split(*DEFAULT), None, False),
}
LOWERCASE = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()])
PUNCTUATION = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("contiguous")])
CONTIGUOUS = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"\p{L}{1,3}"), "contiguous"),
                                      pre_tokenizers.Digits(individual_digits=False)])
# parts that byte-level tokenizers do not use: name -> normalizer, pre-tokenizer
CHARACTER_LEVEL = {
    "llama": (normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None),
    "gemma": (normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous")),
    "metaspace always": (None, metaspace("always", True)),
    "metaspace first": (normalizers.NFKC(), metaspace("first", True)),
    "metaspace never, whole": (normalizers.NFD(), metaspace("never", False)),
    "metaspace first, whole": (None, metaspace("first", False)),
    "whitespace": (LOWERCASE, pre_tokenizers.Whitespace()),
    "punctuation": (normalizers.Strip(), PUNCTUATION),
    "removed": (normalizers.Replace(Regex(r"\s{2,}|\p{Nd}+"), "¤"),
                pre_tokenizers.Split(Regex(r"[aeiou]+|\s"), "removed")),
    "words": (None, pre_tokenizers.Split(Regex(r"\w+|\W"), "isolated")),
    "merged with previous": (None, pre_tokenizers.Split(Regex(r"[,.\s]"), "merged_with_previous")),
    "merged with next, inverted": (None, pre_tokenizers.Split(Regex(r"\p{L}+"), "merged_with_next", invert=True)),
    "merged with previous, inverted": (
        None, pre_tokenizers.Split(Regex(r"\p{L}{1,3}"), "merged_with_previous", invert=True)),
    "contiguous": (None, CONTIGUOUS),
}
BYTES = [f"<0x{b:02X}>" for b in range(256)]


@pytest.fixture(scope="module")
def gpt2():
    return place("FREELUNCH_DATA", "tokenizers/gpt2-tokenizer.json")


@pytest.fixture(scope="module")
def vocabulary(gpt2):
    """The vocabulary of GPT-2 and its merges, each as two tokens with a space between them."""
    model = json.loads(gpt2.read_text())["model"]
    return model["vocab"], [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]


@pytest.mark.parametrize("file", ["gpt2-tokenizer.json", "torchtune-tiny_bpe_tokenizer.json",
                                  "allenai_gpt-neox-olmo-dolma-v1_5.json"])
def test_a_known_file_gives_the_ids_of_tokenizers(file, ours, lines):
    path = place("FREELUNCH_DATA", "tokenizers", file)
    ours.compare(path, Tokenizer.from_file(str(path)), lines)


@pytest.mark.parametrize("pre", FAMILIES)
def test_a_family_of_gguf_gives_the_ids_of_its_original(pre, ours, gpt2, vocabulary, lines, tmp_path):
    reference = Tokenizer.from_file(str(gpt2))
    reference.pre_tokenizer, normalizer, reference.model.ignore_merges = FAMILIES[pre]
    if normalizer is not None:
        reference.normalizer = normalizer
    reference.add_special_tokens([AddedToken("<|im_start|>", normalized=False)])
    reference.add_tokens([AddedToken("<|im_end|>", normalized=False)])
    ids, merges = vocabulary
    tokens = sorted(ids, key=ids.get)
    types = [3 if t == "<|endoftext|>" else 1 for t in tokens] + [3, 4]
    path = tmp_path / "metadata.gguf.json"
    path.write_text(json.dumps(dict(model="gpt2", pre=pre, tokens=[*tokens, "<|im_start|>", "<|im_end|>"],
                                    merges=merges, token_types=types, add_bos=False)))
    ours.compare(path, reference, lines)


def untrained(kind, name):
    """A tokenizer without vocabulary, and its trainer."""
    if kind == "Unigram":
        trainer = trainers.UnigramTrainer(vocab_size=600, unk_token="<unk>", show_progress=False,
                                          special_tokens=["<unk>", "<s>", *BYTES[:5]])
        return Tokenizer(models.Unigram()), trainer
    fallback = kind == "BPE with bytes"
    model = models.BPE(unk_token="<unk>", byte_fallback=fallback, fuse_unk="merged" not in name)
    trainer = trainers.BpeTrainer(vocab_size=900, show_progress=False,
                                  special_tokens=["<unk>", "<s>", *(BYTES if fallback else [])])
    return Tokenizer(model), trainer


def trained(kind, name, text):
    """A character-level tokenizer trained on part of WikiText-2, with added tokens of every kind and a template."""
    normalizer, pre_tokenizer = CHARACTER_LEVEL[name]
    tokenizer, trainer = untrained(kind, name)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    # What is trained without a pre-tokenizer merges across words, as no known model does.
    tokenizer.pre_tokenizer = pre_tokenizer or metaspace("always", True)
    tokenizer.train_from_iterator(text[:300000].split("\n"), trainer)
    content = json.loads(tokenizer.to_str())
    if pre_tokenizer is None:
        content["pre_tokenizer"] = None
    # byte tokens are vocabulary, not added tokens
    content["added_tokens"] = [t for t in content["added_tokens"] if not t["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.add_special_tokens([AddedToken("<|im_start|>", lstrip=True), AddedToken("<|endoftext|>", rstrip=True)])
    tokenizer.add_tokens([AddedToken("they", single_word=True, normalized=False),
                          AddedToken("façade", normalized=True), AddedToken("x[i]", normalized=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A <|im_end|>", special_tokens=[("<s>", 1), ("<|im_end|>", 0)])
    return tokenizer


@pytest.mark.parametrize("kind", ["BPE", "BPE with bytes", "Unigram"])
@pytest.mark.parametrize("name", CHARACTER_LEVEL)
def test_a_trained_tokenizer_gives_the_ids_of_tokenizers(kind, name, ours, text, lines, tmp_path):
    reference = trained(kind, name, text)
    reference.save(str(tmp_path / "trained.json"))
    ours.compare(tmp_path / "trained.json", reference, lines[:2000])


def test_a_folder_with_vocab_json_and_merges_txt_gives_the_ids_of_tokenizers(ours, gpt2, vocabulary, lines, tmp_path):
    """As GPT-2 and OPT have it."""
    ids, merges = vocabulary
    (tmp_path / "vocab.json").write_text(json.dumps(ids))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    ours.compare(tmp_path, Tokenizer.from_file(str(gpt2)), lines)


@pytest.mark.parametrize("filler", ["a", " ", "1", "\n", "é", "!"])
def test_a_long_line_of_one_character_takes_no_quadratic_time(filler, ours, gpt2):
    got, seconds = ours(gpt2, [(filler * 1000000).encode()])
    assert got[0] and seconds < 60


def test_wikitext_has_the_known_number_of_gpt_2_tokens(ours, gpt2, text):
    got, _ = ours(gpt2, [text.encode()])
    assert len(got[0]) == 287644


def test_wikitext_is_encoded_at_a_megabyte_a_second_or_faster(ours, gpt2, text):
    speed = ours.speed(gpt2, text.encode())
    print(f"{speed:.1f} MB/s")
    assert speed > 1
