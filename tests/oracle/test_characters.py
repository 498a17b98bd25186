"""Python's white space and capitals, character by character: the rules of lm-eval are written with them."""
import subprocess
import unicodedata

from places import place


def test_every_character_is_stripped_and_capitalised_as_python_does():
    probe = subprocess.run([place("FREELUNCH_TOKENIZER_PROBE"), "characters", "-"], capture_output=True, check=True)
    ours = probe.stdout.split(b"\xff")
    different = []
    for code in range(0x110000):
        c = chr(code)
        if 0xD800 <= code < 0xE000 or unicodedata.category(c) == "Cn":
            continue  # Python's version of Unicode may be older than ICU's
        expected = "b" if (c + "." + c).strip() == "." else f"{c}A{c}A{c}".capitalize()
        if ours[code].decode() != expected:
            different.append((hex(code), ours[code].decode(), expected))
    assert different == []
