"""What a text is comes from its content: the perplexity of every form of one text is that of its plain form, and what
Python reads is read as Python reads it. Python's own modules write the files and say what is in them."""
import bz2
import gzip
import io
import json
import lzma
import math
import subprocess
import tarfile
import zipfile

import pytest
import torch
from freelunch_command import call, refusal, run, run_json
from reference import perplexity_of_ids
from transformers import AutoTokenizer

LENGTH = 32
DOCUMENTS = ["Once upon a time, é日本 there\nwas a fox. " * 9, "It ran \"away\" \\ \u2028 and\tback. " * 9, "Ende 🦊. " * 20]


@pytest.fixture(scope="module")
def expected(dense_model):
    """documents -> their perplexity by transformers, tokenised one by one and joined."""
    folder, model = dense_model
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def compute(documents):
        ids = [i for d in documents for i in tokenizer(d, add_special_tokens=False).input_ids]
        with torch.no_grad():
            return perplexity_of_ids(model, ids, LENGTH)[0]

    return compute


@pytest.fixture
def measure(dense, tmp_path):
    """(name of the file, its bytes, options) -> what the command measures on it."""

    def perplexity(name, content, *options):
        path = tmp_path / name
        path.write_bytes(content)
        return run_json("perplexity", dense, "--text", path, "--length", LENGTH, "--compute", "fp32",
                        *options)["perplexity"]

    return perplexity


@pytest.fixture
def refused(dense, tmp_path):
    """(exit code, name of the file, its bytes) -> the line that refuses it."""

    def line_of(code, name, content, *options):
        path = tmp_path / name
        path.write_bytes(content)
        line = refusal(code, "perplexity", dense, "--text", path, "--length", LENGTH, *options)
        assert name in line
        return line

    return line_of


def lines(documents, field="text", **more):
    return "".join(json.dumps({"url": "x", field: d, **more}) + "\n" for d in documents).encode()


def zstd(content):
    return subprocess.run(["zstd", "-c"], input=content, capture_output=True, check=True).stdout


LINES = lines(DOCUMENTS)
HALF = LINES.index(b"\n") + 1
FORMS = {
    "c4.json": LINES,
    "c4-train.00000-of-01024.json.gz": gzip.compress(LINES),
    "a.jsonl": LINES,
    "named.txt": LINES,
    "no-name-at-all": gzip.compress(LINES),
    "members.gz": gzip.compress(LINES[:HALF]) + gzip.compress(LINES[HALF:]) + bytes(100),
    "a.jsonl.bz2": bz2.compress(LINES),
    "streams.bz2": bz2.compress(LINES[:HALF]) + bz2.compress(LINES[HALF:]),
    "a.jsonl.xz": lzma.compress(LINES),
    "streams.xz": lzma.compress(LINES[:HALF]) + lzma.compress(LINES[HALF:]),
    "wrong-name.gz": lzma.compress(LINES),
    "crlf.jsonl": LINES.replace(b"\n", b"\r\n"),
    "cr.jsonl": LINES.replace(b"\n", b"\r"),
    "blank.jsonl": b"\n \n" + LINES.replace(b"\n", b"\n\xc2\xa0\n"),
    "bom.jsonl": b"\xef\xbb\xbf" + LINES,
    "utf16.jsonl": "\ufeff".encode("utf-16-le") + LINES.decode().encode("utf-16-le"),
    "raw.jsonl": "".join(json.dumps({"text": d}, ensure_ascii=False) + "\n" for d in DOCUMENTS).encode(),
    "array.json": json.dumps([{"text": d, "id": i} for i, d in enumerate(DOCUMENTS)], indent=1).encode(),
    "strings.json": json.dumps(DOCUMENTS).encode(),
    "array-in-a.txt": b" \n" + json.dumps([{"text": d} for d in DOCUMENTS]).encode(),
    "nan.jsonl": lines(DOCUMENTS, a=math.nan, b=math.inf, c=-math.inf) + b'{"text": null, "d": 1e999}\n',
    "half-elsewhere.jsonl": lines(DOCUMENTS, title="\ud800 [x] \udfff"),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_json_documents_has_their_perplexity(name, measure, expected):
    assert measure(name, FORMS[name]) == pytest.approx(expected(DOCUMENTS), rel=1e-4)


@pytest.mark.parametrize("frames", [1, 2])
def test_zstd_is_unpacked(frames, measure, expected):
    content = zstd(LINES) if frames == 1 else zstd(LINES[:HALF]) + zstd(LINES[HALF:])
    assert measure("c4.jsonl.zst", content) == pytest.approx(expected(DOCUMENTS), rel=1e-4)


PLAIN = {
    "lf.txt": (DOCUMENTS[0].encode(), "utf-8"),
    "crlf.txt": (DOCUMENTS[0].replace("\n", "\r\n").encode(), "utf-8"),
    "cr.txt": (DOCUMENTS[0].replace("\n", "\r").encode(), "utf-8"),
    "mixed.txt": (b"a\r\r\nb\n\rc\r" * 40, "utf-8"),
    "marked.txt": (DOCUMENTS[0].encode("utf-8-sig"), "utf-8-sig"),
    "utf16.txt": (("\ufeff" + DOCUMENTS[2]).encode("utf-16-le"), "utf-16"),
    "utf16-big.txt": (("\ufeff" + DOCUMENTS[0]).encode("utf-16-be"), "utf-16"),
    "packed.txt.xz": (lzma.compress(DOCUMENTS[0].encode()), None),
    "brackets.txt": (b"[Verse 1]\nla la [la]\n" * 20, "utf-8"),
    "braces.txt": (b"{\n  int x;\n}\n" * 40, "utf-8"),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_text_is_what_python_reads_in_text_mode(name, measure, expected, tmp_path):
    content, encoding = PLAIN[name]
    found = measure(name, content)
    path = tmp_path / name
    with open(path, encoding=encoding) if encoding else lzma.open(path, "rt", encoding="utf-8") as file:
        text = file.read()
    assert found == pytest.approx(expected([text]), rel=1e-4)


@pytest.mark.parametrize("name, content, code, reason", [
    ("table.txt", b"PAR1" + bytes(99), 4, "Parquet"),
    ("data.arrow", b"ARROW1\0\0" + bytes(99), 4, "Arrow"),
    ("data-00000.arrow", b"\xff\xff\xff\xff\x10\x01\0\0" + bytes(99), 4, "Arrow"),
    ("nul.txt", b"some text\0more", 3, "offset 9"),
    ("wide.txt", "some text".encode("utf-16-le"), 3, "UTF-16"),
    ("latin.txt", "déjà vu".encode("latin1"), 3, "offset 1: byte 0xE9"),
    ("cut.txt", "déjà".encode()[:-1], 3, "offset 4"),
    ("latin.jsonl", b'{"text": "a"}\n{"text": "\xe9"}', 3, "offset 24"),
    ("twice.gz", gzip.compress(gzip.compress(LINES)), 4, "more than once"),
    ("cut.gz", gzip.compress(LINES)[:-6], 3, "truncated"),
    ("cut.bz2", bz2.compress(LINES)[:-6], 3, "truncated"),
    ("cut.xz", lzma.compress(LINES)[:-6], 3, "truncated"),
    ("garbage.gz", gzip.compress(LINES) + b"garbage", 3, "broken"),
    ("flipped.bz2", bz2.compress(LINES)[:40] + b"xxxx" + bz2.compress(LINES)[44:], 3, "broken"),
    ("half.utf16", b"\xff\xfe" + b"\x00\xd8" + "a".encode("utf-16-le"), 3, "offset 2: half of a surrogate"),
], ids=lambda v: v if isinstance(v, str) and "." in v else "")
def test_what_is_not_text_is_refused_with_the_reason(name, content, code, reason, refused):
    assert reason in refused(code, name, content)


def test_archives_are_refused_with_a_hint(refused):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.jsonl", LINES)
    assert "zip" in refused(4, "a.zip", packed.getvalue())
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        info = tarfile.TarInfo("a.jsonl")
        info.size = len(LINES)
        archive.addfile(info, io.BytesIO(LINES))
    assert "tar" in refused(4, "a.tar.gz", packed.getvalue())


@pytest.mark.parametrize("content, reason", [
    (b'{"text": "a"}\n{"body": "b", "id": 1}\n', 'line 2: no field "text"; the fields are: body, id; choose one with --field'),
    (b'{"text": "a"}\n\n{"text": 7}\n', 'line 3: field "text" is a number'),
    (b'{"text": "a"}\n[1]\n', "line 2: a list"),
    (b'{"text": "a"}\n{"text": "b"\n', "line 2: not valid JSON"),
    (b'{"text": "a"}\n{"text": "\\ud83d x"}\n', "line 2: the text has half of a surrogate pair"),
    (b'{"text": null}\n', "no text: all its documents are null"),
    (b'[{"text": "a"}, {"text": "b"}', "does not end after element 2"),
    (b'[{"text": "a"}, {"text": nul}]', "element 2: not valid JSON"),
    (b'[{"text": "a"}] x', "after the end"),
    (b'{"text": {"0": "a", "1": "b"}}\n', "an object"),
    (b'{"text": ' + b"[" * 100000 + b"}\n", "line 1"),
], ids=lambda v: "" if isinstance(v, bytes) else v[:30])
def test_json_that_is_no_document_is_refused_with_its_place(content, reason, refused):
    assert reason in refused(3, "bad.json", content)


@pytest.mark.parametrize("content", [b'{"text": "a"\n{"text": "b"}\n', b'[{"text": a}]'])
def test_broken_json_is_not_taken_for_plain_text(content, refused):
    assert "1: not valid JSON" in refused(3, "named.txt", content).replace("element", "line")


def test_null_documents_are_left_out_with_their_number(dense, tmp_path, expected):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": null}\n' + LINES + b'{"text": null}\n')
    result = call("perplexity", dense, "--text", tmp_path / "a.jsonl", "--length", LENGTH, "--compute", "fp32", "--json")
    assert json.loads(result.stdout)["perplexity"] == pytest.approx(expected(DOCUMENTS), rel=1e-4)
    warnings = [line for line in result.stderr.splitlines() if "null" in line]
    assert len(warnings) == 1 and "a.jsonl, line 1" in warnings[0] and "2, 3 were read" in warnings[0]


def test_field_names_another_column(measure, expected, dense, tmp_path):
    content = lines(DOCUMENTS, field="raw_content", text="other " * 50)
    assert measure("a.jsonl", content, "--field", "raw_content") == pytest.approx(expected(DOCUMENTS), rel=1e-4)
    assert measure("a.jsonl", content) != pytest.approx(expected(DOCUMENTS), rel=1e-2)


def test_only_the_beginning_of_a_file_is_read(dense, tmp_path, expected):
    """The rest of the file is broken, and nothing notices."""
    content = LINES + lines(["word " * 50000]) * 20
    packed = gzip.compress(content, 1)
    (tmp_path / "c4.json.gz").write_bytes(packed[:len(packed) // 2])
    report = run_json("perplexity", dense, "--text", tmp_path / "c4.json.gz", "--length", LENGTH, "--windows", 2)
    assert report["windows"] == 2


def test_calibration_and_evaluation_take_the_field(dense, tmp_path, train_text):
    """The same documents under another name of file and field give the same model and figures."""
    text = train_text.read_text()
    documents = [text[i:i + 2000] for i in range(0, len(text), 2000)]
    (tmp_path / "a.jsonl").write_bytes(lines(documents))
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(lines(documents, field="content")))
    figures = []
    for name, options in (("a.jsonl", []), ("b.json.gz", ["--field", "content"])):
        output = tmp_path / f"out-{name}"
        report = run_json("compress", dense, "--output", output, "--calibration", tmp_path / name, "--samples", 8,
                          "--held-out", 2, "--length", 32, "--repair", "none", "--evaluate", tmp_path / name,
                          "--evaluate-length", 32, *options)
        figures.append((report["figures"], (output / "model.safetensors").read_bytes()))
    assert figures[0] == figures[1]
    (tmp_path / "b.jsonl").write_bytes(lines(documents, field="raw", content="x"))
    report = run_json("compress", dense, "--output", tmp_path / "other", "--calibration", tmp_path / "b.json.gz",
                      "--samples", 8, "--held-out", 2, "--length", 32, "--repair", "none", "--evaluate",
                      tmp_path / "b.jsonl", "--evaluate-length", 32, "--field", "content", "--evaluate-field", "raw")
    assert report["figures"] == figures[0][0]
    (tmp_path / "c.jsonl").write_bytes(lines(documents, field="content"))
    assert "content, url" in refusal(3, "compress", dense, "--output", tmp_path / "out", "--calibration",
                                     tmp_path / "c.jsonl", "--samples", 8, "--length", 32)


def test_a_study_takes_the_fields_and_compressed_texts(dense, tmp_path, train_text):
    """Its cell has the figure that compress has."""
    text = train_text.read_text()
    documents = [text[i:i + 2000] for i in range(0, len(text), 2000)]
    (tmp_path / "a.json.xz").write_bytes(lzma.compress(lines(documents, field="content")))
    (tmp_path / "b.bz2").write_bytes(bz2.compress(lines(documents[:3], field="raw")))
    study = f"""
models = ["{dense}"]
[calibration]
text = "a.json.xz"
field = "content"
samples = 8
held_out = 2
length = 32
[[evaluate]]
name = "b"
text = "b.bz2"
field = "raw"
length = 32
[[grid]]
criterion = "wanda"
repair = "none"
"""
    (tmp_path / "study.toml").write_bytes(b"\xef\xbb\xbf" + study.replace("\n", "\r\n").encode())
    run("study", tmp_path / "study.toml", "-o", tmp_path / "study", "--compute", "fp32")
    [cell] = [json.loads(path.read_text()) for path in (tmp_path / "study/cells").glob("*.json")]
    report = run_json("compress", dense, "--output", tmp_path / "out", "--calibration", tmp_path / "a.json.xz", "--field",
                      "content", "--samples", 8, "--held-out", 2, "--length", 32, "--repair", "none", "--compute", "fp32",
                      "--evaluate", tmp_path / "b.bz2", "--evaluate-field", "raw", "--evaluate-length", 32)
    # a study measures before the weights are rounded for saving
    assert cell["figures"]["b"]["perplexity"] == pytest.approx(report["figures"]["repaired"]["perplexity"], rel=1e-3)
