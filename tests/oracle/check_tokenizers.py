"""Ids equal the tokenizers library's on 10,000 lines of mixed text, for every pre-tokenizer family; token counts of WikiText-2."""
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers

probe, data = sys.argv[1], pathlib.Path(sys.argv[2])
if not (data / "tokenizers").exists():
    print("skipped: no tokenizers at hand")
    sys.exit(77)
rng = random.Random(0)
WORDS = "the of and to in a is that it was for on are as with his they I'm you're don't THEY'LL we've Straße naïve façade Ünïcödé coöperate".split()
PIECES = [
    lambda: " ".join(rng.choices(WORDS, k=rng.randint(1, 8))),
    lambda: f"for (int i = 0; i < {rng.randint(0, 99999)}; ++i) {{ x[i] += {rng.random():.4f}f; }} // TODO",
    lambda: "def f(x):\n\treturn x ** 2\r\n\r\n    " + "_" * rng.randint(1, 5),
    lambda: "".join(rng.choice("日本語中文字漢한국어テスト、。「」") for _ in range(rng.randint(1, 9))),
    lambda: rng.choice(["👩‍👩‍👧‍👦", "🏳️‍🌈", "😀😃", "👍🏽", "🇩🇪🇫🇷", "☕️"]) * rng.randint(1, 3),
    lambda: rng.choice(["e\u0301", "a\u0308\u0304", "\u1100\u1161\u11a8", "q\u0307\u0323", "क्षि", "ﬁ", "Å", "\u212b"]) + rng.choice(["", "x", " "]),
    lambda: rng.choice(["مرحبا بالعالم", "שלום", "Привет, мир!", "Ελληνικά", "ภาษาไทย", "नमस्ते"]),
    lambda: "".join(chr(rng.choice([0, 2, 7, 8, 9, 11, 12, 13, 27, 127, 133, 160, 0x1680, 0x180e, 0x2003, 0x2028, 0x202f, 0x3000, 0xfeff])) for _ in range(rng.randint(1, 4))),
    lambda: rng.choice([" ", "\n", "\t", "\r\n"]) * rng.randint(1, 12),
    lambda: "".join(rng.choice("0123456789٣४²½Ⅷ①") for _ in range(rng.randint(1, 12))),
    lambda: "".join(rng.choice("!?.,;:'\"()[]{}<>/\\|@#$%^&*-+=~`…—«»€£") for _ in range(rng.randint(1, 8))),
    lambda: rng.choice(["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|endoftext", " <|endoftext|> ", "<|begin_of_text|>"]),
    lambda: "a" * rng.randint(30, 300),
]


def mixed_lines(count):
    lines = []
    for i in range(count):
        line = rng.choice(["", " "]).join(rng.choice(PIECES)() for _ in range(rng.randint(1, 6))).encode()
        if i % 7 == 0:  # invalid UTF-8: cut sequences, lone continuation bytes, surrogates, overlong forms
            bad = rng.choice([b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\x80\x80", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xf0\x80"])
            at = rng.randint(0, len(line))
            line = line[:at] + bad + line[at:]
        lines.append(line.replace(b"\x01", b""))
    return [line for line in lines if line]


def ours(path, texts):
    start = time.time()
    out = subprocess.run([probe, "tokenise", path], input=b"\x01".join(texts), capture_output=True)
    assert out.returncode == 0, out.stderr.decode()
    seconds = time.time() - start
    numbers, at, result = np.frombuffer(out.stdout, np.int32), 0, []
    while at < len(numbers):
        result.append(numbers[at + 1:at + 1 + numbers[at]].tolist())
        at += 1 + numbers[at]
    return result, seconds


def compare(name, path, reference, lines):
    got, _ = ours(path, lines)
    assert len(got) == len(lines)
    for line, ids in zip(lines, got):
        expected = reference.encode(line.decode("utf-8", "replace")).ids
        assert ids == expected, f"{name}: {line!r}\n ours  {ids}\n theirs {expected}"
    print(f"{name}: {len(lines)} lines equal")


def wikitext():
    text = (data / "wikitext2/wiki.test.raw").read_text(encoding="utf-8")
    rows = text.split("\n")
    rows = [r + "\n" for r in rows[:-1]] + ([rows[-1]] if rows[-1] else [])
    joined = "\n\n".join("" if not r.strip() else r for r in rows)
    assert len(joined) == 1294336, len(joined)
    return joined


byte_level = lambda regex: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
split = lambda regex: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), "isolated"), byte_level(False)])
FAMILIES = {  # tokenizer.ggml.pre -> what the original tokenizer.json of that family holds
    "gpt-2": (byte_level(True), None, False),
    "smollm": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(True)]), None, False),
    "llama-bpe": (split(LLAMA3), None, True),
    "qwen2": (split(QWEN2), normalizers.NFC(), False),
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
    # Lines of one character class must neither fail nor take quadratic time.
    for filler in ("a", " ", "1", "\n", "é", "!"):
        got, seconds = ours(str(gpt2), [(filler * 1000000).encode()])
        assert got[0] and seconds < 60, filler
    text = wikitext().encode()
    got, _ = ours(str(gpt2), [text])
    assert len(got[0]) == 287644, len(got[0])
    print("WikiText-2: 287,644 tokens with GPT-2's tokenizer")
    _, once = ours(str(gpt2), [text])
    _, many = ours(str(gpt2), [text * 9])
    print(f"speed: {8 * len(text) / 1e6 / (many - once):.1f} MB/s")
