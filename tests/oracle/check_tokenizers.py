"""Ids equal the tokenizers library's on 10,000 lines of mixed text: files of known models, every pre-tokenizer family of GGUF, and
tokenizers trained here for the parts that these lack; the token count of WikiText-2; speed."""
import json
import pathlib
import sys
import tempfile

from mixed_lines import Probe, mixed_lines, wikitext
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

probe, data = sys.argv[1], pathlib.Path(sys.argv[2])
if not (data / "tokenizers").exists():
    print("skipped: no tokenizers at hand")
    sys.exit(77)
ours = Probe(probe)
compare = ours.compare

byte_level = lambda regex: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)", r"\p{N}+", r"[0-9][0-9][0-9]")
split = lambda *regexes: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r), "isolated") for r in regexes] + [byte_level(False)])
FAMILIES = {  # tokenizer.ggml.pre -> what the original tokenizer.json of that family holds
    "gpt-2": (byte_level(True), None, False),
    "smollm": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(True)]), None, False),
    "llama-bpe": (split(LLAMA3), None, True),
    "qwen2": (split(QWEN2), normalizers.NFC(), False),
    "gpt-neox": (byte_level(True), normalizers.NFC(), False),
    "dbrx": (split(LLAMA3), None, False),
    "tekken": (split(TEKKEN), None, True),
    "default": (split(*DEFAULT), None, False),
}
metaspace = lambda scheme, split: pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
CHARACTER_LEVEL = {  # parts that byte-level tokenizers do not use: name -> normalizer, pre-tokenizer
    "llama": (normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None),
    "gemma": (normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous")),
    "metaspace always": (None, metaspace("always", True)),
    "metaspace first": (normalizers.NFKC(), metaspace("first", True)),
    "metaspace never, whole": (normalizers.NFD(), metaspace("never", False)),
    "metaspace first, whole": (None, metaspace("first", False)),
    "whitespace": (normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]), pre_tokenizers.Whitespace()),
    "punctuation": (normalizers.Strip(), pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("contiguous")])),
    "removed": (normalizers.Replace(Regex(r"\s{2,}|\p{Nd}+"), "¤"), pre_tokenizers.Split(Regex(r"[aeiou]+|\s"), "removed")),
    "words": (None, pre_tokenizers.Split(Regex(r"\w+|\W"), "isolated")),
    "merged with previous": (None, pre_tokenizers.Split(Regex(r"[,.\s]"), "merged_with_previous")),
    "merged with next, inverted": (None, pre_tokenizers.Split(Regex(r"\p{L}+"), "merged_with_next", invert=True)),
    "merged with previous, inverted": (None, pre_tokenizers.Split(Regex(r"\p{L}{1,3}"), "merged_with_previous", invert=True)),
    "contiguous": (None, pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"\p{L}{1,3}"), "contiguous"), pre_tokenizers.Digits(individual_digits=False)])),
}
lines = mixed_lines(10500)[:10000]
gpt2 = data / "tokenizers/gpt2-tokenizer.json"
with tempfile.TemporaryDirectory() as temporary:
    for path in (gpt2, data / "tokenizers/torchtune-tiny_bpe_tokenizer.json", data / "tokenizers/allenai_gpt-neox-olmo-dolma-v1_5.json"):
        compare(path.stem, path, Tokenizer.from_file(str(path)), lines)
    vocabulary = json.loads(gpt2.read_text())["model"]
    tokens = sorted(vocabulary["vocab"], key=vocabulary["vocab"].get)
    merges = [m if isinstance(m, str) else " ".join(m) for m in vocabulary["merges"]]
    specials = ["<|im_start|>", "<|im_end|>"]
    types = [3 if t == "<|endoftext|>" else 1 for t in tokens] + [3, 4]
    for pre, (pre_tokenizer, normalizer, ignore_merges) in FAMILIES.items():
        reference = Tokenizer.from_file(str(gpt2))
        reference.pre_tokenizer = pre_tokenizer
        if normalizer is not None:
            reference.normalizer = normalizer
        reference.model.ignore_merges = ignore_merges
        reference.add_special_tokens([AddedToken("<|im_start|>", normalized=False)])
        reference.add_tokens([AddedToken("<|im_end|>", normalized=False)])
        path = pathlib.Path(temporary) / f"{pre}.gguf.json"
        path.write_text(json.dumps(dict(model="gpt2", pre=pre, tokens=tokens + specials, merges=merges, token_types=types, add_bos=False)))
        compare(pre, path, reference, lines)
    # Character-level models, trained on part of WikiText-2: BPE with and without byte tokens, and unigram.
    sample = wikitext(data)[:300000].split("\n")
    BYTES = [f"<0x{b:02X}>" for b in range(256)]
    for name, (normalizer, pre_tokenizer) in CHARACTER_LEVEL.items():
        for kind in ("BPE", "BPE with bytes", "Unigram"):
            if kind == "Unigram":
                reference = Tokenizer(models.Unigram())
                trainer = trainers.UnigramTrainer(vocab_size=600, unk_token="<unk>", special_tokens=["<unk>", "<s>"] + BYTES[:5], show_progress=False)
            else:
                fallback = kind == "BPE with bytes"
                reference = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=fallback, fuse_unk="merged" not in name))
                trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=["<unk>", "<s>"] + (BYTES if fallback else []), show_progress=False)
            if normalizer is not None:
                reference.normalizer = normalizer
            if pre_tokenizer is not None:
                reference.pre_tokenizer = pre_tokenizer
            # What is trained without a pre-tokenizer merges across words, as no known model does.
            training = pre_tokenizer or metaspace("always", True)
            reference.pre_tokenizer = training
            reference.train_from_iterator(sample, trainer)
            trained = json.loads(reference.to_str())
            if pre_tokenizer is None:
                trained["pre_tokenizer"] = None
            # byte tokens are vocabulary, not added tokens
            trained["added_tokens"] = [t for t in trained["added_tokens"] if not t["content"].startswith("<0x")]
            reference = Tokenizer.from_str(json.dumps(trained))
            reference.add_special_tokens([AddedToken("<|im_start|>", lstrip=True), AddedToken("<|endoftext|>", rstrip=True)])
            reference.add_tokens([AddedToken("they", single_word=True, normalized=False), AddedToken("façade", normalized=True), AddedToken("x[i]", normalized=True)])
            reference.post_processor = processors.TemplateProcessing(single="<s> $A <|im_end|>", special_tokens=[("<s>", 1), ("<|im_end|>", 0)])
            path = pathlib.Path(temporary) / "trained.json"
            reference.save(str(path))
            compare(f"{kind}, {name}", path, reference, lines[:2000])
    # A folder with vocab.json and merges.txt, as GPT-2 and OPT have it.
    folder = pathlib.Path(temporary) / "gpt2"
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(vocabulary["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    compare("vocab.json and merges.txt", folder, Tokenizer.from_file(str(gpt2)), lines)
    # Lines of one character class must neither fail nor take quadratic time.
    for filler in ("a", " ", "1", "\n", "é", "!"):
        got, seconds = ours(str(gpt2), [(filler * 1000000).encode()])
        assert got[0] and seconds < 60, filler
    text = wikitext(data).encode()
    got, _ = ours(str(gpt2), [text])
    assert len(got[0]) == 287644, len(got[0])
    print("WikiText-2: 287,644 tokens with GPT-2's tokenizer")
    print(f"speed: {ours.speed(str(gpt2), text):.1f} MB/s")
