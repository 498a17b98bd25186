"""10,000 lines of mixed text, WikiText-2, and our tokenizer on them; for the tokenizer oracles."""
import random
import subprocess
import time

import numpy as np
from places import place

rng = random.Random(0)
WORDS = ("the of and to in a is that it was for on are as with his they I'm you're don't THEY'LL we've Straße naïve "
         "façade Ünïcödé coöperate").split()
MARKS = ["e\u0301", "a\u0308\u0304", "\u1100\u1161\u11a8", "q\u0307\u0323", "क्षि", "ﬁ", "Å", "\u212b"]
CONTROLS = [0, 2, 7, 8, 9, 11, 12, 13, 27, 127, 133, 160, 0x1680, 0x180e, 0x2003, 0x2028, 0x202f, 0x3000, 0xfeff]
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|endoftext", " <|endoftext|> ", "<|begin_of_text|>"]
# invalid UTF-8: cut sequences, lone continuation bytes, surrogates, overlong forms
INVALID = [b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\x80\x80", b"\xed\xa0\x80", b"\xc0\xaf",
           b"\xf4\x90\x80\x80", b"\xf0\x80"]
PIECES = [
    lambda: " ".join(rng.choices(WORDS, k=rng.randint(1, 8))),
    lambda: f"for (int i = 0; i < {rng.randint(0, 99999)}; ++i) {{ x[i] += {rng.random():.4f}f; }} // TODO",
    lambda: "def f(x):\n\treturn x ** 2\r\n\r\n    " + "_" * rng.randint(1, 5),
    lambda: "".join(rng.choice("日本語中文字漢한국어テスト、。「」") for _ in range(rng.randint(1, 9))),
    lambda: rng.choice(["👩‍👩‍👧‍👦", "🏳️‍🌈", "😀😃", "👍🏽", "🇩🇪🇫🇷", "☕️"]) * rng.randint(1, 3),
    lambda: rng.choice(MARKS) + rng.choice(["", "x", " "]),
    lambda: rng.choice(["مرحبا بالعالم", "שלום", "Привет, мир!", "Ελληνικά", "ภาษาไทย", "नमस्ते"]),
    lambda: "".join(chr(rng.choice(CONTROLS)) for _ in range(rng.randint(1, 4))),
    lambda: rng.choice([" ", "\n", "\t", "\r\n"]) * rng.randint(1, 12),
    lambda: "".join(rng.choice("0123456789٣४²½Ⅷ①") for _ in range(rng.randint(1, 12))),
    lambda: "".join(rng.choice("!?.,;:'\"()[]{}<>/\\|@#$%^&*-+=~`…—«»€£") for _ in range(rng.randint(1, 8))),
    lambda: rng.choice(SPECIALS),
    lambda: "a" * rng.randint(30, 300),
]


def mixed_lines(count):
    """About so many lines as bytes, the same at each call; one in seven holds invalid UTF-8."""
    rng.seed(0)
    lines = []
    for i in range(count):
        line = rng.choice(["", " "]).join(rng.choice(PIECES)() for _ in range(rng.randint(1, 6))).encode()
        if i % 7 == 0:
            bad = rng.choice(INVALID)
            at = rng.randint(0, len(line))
            line = line[:at] + bad + line[at:]
        lines.append(line.replace(b"\x01", b""))
    return [line for line in lines if line]


class Probe:
    """tokenizer_probe: ids of many texts with one start of the program."""

    def __init__(self, program):
        self.program = program

    def __call__(self, path, texts):
        """(ids of each text, seconds)"""
        start = time.time()
        out = subprocess.run([self.program, "ids", path], input=b"\x01".join(texts), capture_output=True)
        assert out.returncode == 0, out.stderr.decode()
        seconds = time.time() - start
        numbers, at, result = np.frombuffer(out.stdout, np.int32), 0, []
        while at < len(numbers):
            result.append(numbers[at + 1:at + 1 + numbers[at]].tolist())
            at += 1 + numbers[at]
        return result, seconds

    def compare(self, path, reference, lines):
        """The ids of every line are those of `reference`: a tokenizers.Tokenizer, or a function from text to ids."""
        expect = reference if callable(reference) else lambda text: reference.encode(text).ids
        got, _ = self(path, lines)
        assert len(got) == len(lines)
        for line, ids in zip(lines, got):
            expected = expect(line.decode("utf-8", "replace"))
            assert ids == expected, f"{line!r}\n ours  {ids}\n theirs {expected}"

    def speed(self, path, text):
        """MB/s on one core, start-up taken off."""
        _, once = self(path, [text])
        _, many = self(path, [text * 9])
        return 8 * len(text) / 1e6 / (many - once)


def wikitext():
    """The test set as the perplexity of papers has it."""
    text = place("FREELUNCH_DATA", "wikitext2/wiki.test.raw").read_text(encoding="utf-8")
    rows = text.split("\n")
    rows = [r + "\n" for r in rows[:-1]] + ([rows[-1]] if rows[-1] else [])
    joined = "\n\n".join("" if not r.strip() else r for r in rows)
    assert len(joined) == 1294336, len(joined)
    return joined
