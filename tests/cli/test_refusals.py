"""A request that cannot be met ends in one clear line, the exit code of its kind, and nothing written."""
import json
import os
import re
import shlex
import shutil
import signal
import subprocess

import pytest
import tiny_model
from freelunch_command import command, refusal
from safetensors.torch import load_file, save_file

TEXT = "--calibration {train.txt} --samples 8 --length 32"
COMPRESS = "compress {dense} --output {out}"

# what the case is -> arguments, exit code, what the line must name
REQUESTS = {
    "no subcommand": ("", 2, "subcommand"),
    "misspelt subcommand": ("compres", 2, "compress"),
    "misspelt option": (f"{COMPRESS} --sparsty 0.5", 2, "did you mean --sparsity"),
    "sparsity and pattern": (f"{COMPRESS} --sparsity 0.5 --pattern 2:4 {TEXT}", 2, "--pattern"),
    "sparsity above 1": (f"{COMPRESS} --sparsity 1.5 {TEXT}", 2, "1.5"),
    "share as a pattern": (f"{COMPRESS} --pattern 0.5 {TEXT}", 2, "--sparsity"),
    "pattern that keeps more than it has": (f"{COMPRESS} --pattern 4:2 {TEXT}", 2, "4:2"),
    "pattern that does not divide the width": (f"{COMPRESS} --pattern 2:3 {TEXT}", 2, "_proj"),
    "pattern with a group": (f"{COMPRESS} --pattern 2:4 --group row {TEXT}", 2, "--group"),
    "unknown criterion": (f"{COMPRESS} --criterion wander {TEXT}", 2, "wanda"),
    "stage named twice": (f"{COMPRESS} --repair solve,solve {TEXT}", 2, "twice"),
    "solve after descent": (f"{COMPRESS} --repair sublayer,solve {TEXT}", 2, "first"),
    "unknown stage": (f"{COMPRESS} --repair magic {TEXT}", 2, "magic"),
    "unknown loss": (f"{COMPRESS} --loss l1 {TEXT}", 2, "l1"),
    "no calibration text": (COMPRESS, 2, "--calibration"),
    "no samples": (f"{COMPRESS} --samples 0 --calibration {{train.txt}}", 2, "--samples"),
    "negative threads": (f"{COMPRESS} --threads -1 {TEXT}", 2, "--threads"),
    "unknown device": (f"{COMPRESS} --device tpu {TEXT}", 2, "tpu"),
    "negative learning rate": (f"{COMPRESS} --learning-rate -1 {TEXT}", 2, "-1"),
    "output folder that is not empty": (f"compress {{dense}} --output {{full}} {TEXT}", 2, "--overwrite"),
    "output that is a file": (f"compress {{dense}} --output {{afile}} {TEXT}", 2, "file"),
    "calibration text that is too short": (
        f"{COMPRESS} --calibration {{short.txt}} --samples 8 --length 32", 2, "tokens"),
    "evaluation text that is too short": (f"{COMPRESS} {TEXT} --evaluate {{short.txt}}", 2, "tokens"),
    "missing model": (f"compress {{absent}} --output {{out}} {TEXT}", 3, "absent"),
    "text as a model": (f"compress {{train.txt}} --output {{out}} {TEXT}", 4, "train.txt"),
    "missing calibration text": (f"{COMPRESS} --calibration {{absent.txt}}", 3, "absent.txt"),
    "empty calibration text": (f"{COMPRESS} --calibration {{empty.txt}}", 3, "empty.txt"),
    "lines without text": (f"{COMPRESS} --calibration {{bad.jsonl}}", 3, "line 2"),
    "calibration text in parquet": (f"{COMPRESS} --calibration {{table.parquet}}", 4, "parquet"),
    "inspect a cut file": ("inspect {cut_gguf}", 3, "cut_gguf.gguf"),
    "inspect a missing model": ("inspect {absent}", 3, "absent"),
    "perplexity of a text that is too short": ("perplexity {dense} --text {short.txt}", 2, "tokens"),
    "perplexity of single tokens": ("perplexity {dense} --text {train.txt} --length 1", 2, "--length"),
    "perplexity by an unknown protocol": ("perplexity {dense} --text {train.txt} --protocol mine", 2, "mine"),
    "convert into a folder that is not empty": ("convert {dense} --output {full}", 2, "--overwrite"),
}
TEXTS = {"short.txt": "only a few words", "empty.txt": "", "bad.jsonl": '{"text": "a"}\n{"body": "b"}\n',
         "table.parquet": "PAR1", "afile": "x"}


def edit_json(file, **values):
    """Sets values of a JSON file of the model's folder."""

    def change(folder):
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**content, **values}))

    return change


def write(file, content):
    return lambda folder: (folder / file).write_bytes(content)


def remove(file):
    return lambda folder: (folder / file).unlink()


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def edit_tensors(edit):
    def change(folder):
        tensors = load_file(folder / "model.safetensors")
        edit(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return change


def edit_header(edit):
    """Rewrites the header of the safetensors file, not its data. edit: changes the header, or returns its text."""

    def change(folder):
        raw = (folder / "model.safetensors").read_bytes()
        end = 8 + int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8:end])
        header.pop("__metadata__", None)
        text = edit(header) or json.dumps(header)
        (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text.encode() + raw[end:])

    return change


def edit_norm(**values):
    """Changes what the header says of the final norm, a vector of 64 fp32 values."""
    return edit_header(lambda header: header["model.norm.weight"].update(values))


def swap_offsets(header):
    header["model.norm.weight"]["data_offsets"].reverse()


def name_twice(header):
    entry = json.dumps(header["model.norm.weight"])
    return "{" + f'"a": {entry}, "a": {entry}' + "}"


# folder -> the harm, exit code, what the line must name
DAMAGED_FOLDERS = {
    "other_sizes": (edit_json("config.json", intermediate_size=999), 3, "gate_proj"),
    "other_architecture": (edit_json("config.json", model_type="mamba"), 4, "mamba"),
    "no_config": (remove("config.json"), 3, "config.json"),
    "config_is_not_json": (write("config.json", b"{"), 3, "config.json"),
    "deep_config": (write("config.json", b"[" * 10000 + b"]" * 10000), 3, "config.json"),
    "no_weights": (remove("model.safetensors"), 3, "safetensors"),
    "cut_weights": (cut, 3, "incomplete"),
    "no_tokenizer": (remove("tokenizer.json"), 3, "tokenizer.json"),
    "deep_tokenizer": (write("tokenizer.json", b'{"model":' * 10000 + b"1" + b"}" * 10000), 3, "tokenizer.json"),
    "nan": (edit_tensors(lambda t: t["model.layers.1.mlp.up_proj.weight"][0, 0].fill_(float("nan"))), 3,
            "model.layers.1.mlp.up_proj.weight"),
    "infinity": (edit_tensors(lambda t: t["model.embed_tokens.weight"].fill_(float("inf"))), 3,
                 "model.embed_tokens.weight"),
    "missing_tensor": (edit_tensors(lambda t: t.pop("model.layers.1.self_attn.k_proj.weight")), 3,
                       "model.layers.1.self_attn.k_proj.weight"),
    "offsets_backwards": (edit_header(swap_offsets), 3, "model.norm.weight"),
    "offsets_overlap": (edit_norm(data_offsets=[0, 256]), 3, "overlaps"),
    "offsets_leave_the_file": (edit_norm(data_offsets=[2**40, 2**40 + 256]), 3, "hole"),
    "size_overflows": (edit_norm(shape=[2**62, 4]), 3, "model.norm.weight"),
    "tensor_named_twice": (edit_header(name_twice), 3, "twice"),
    "deep_header": (edit_header(lambda header: '{"a":' * 10000 + "1" + "}" * 10000), 3, "nested"),
    "header_longer_than_the_file": (write("model.safetensors", (2**62).to_bytes(8, "little") + b"{}"), 3, "claims"),
}


def patch(key, offset, value):
    """Replaces bytes of a GGUF file, `offset` bytes after a key."""

    def change(whole):
        at = whole.index(key.encode()) + len(key) + offset
        return whole[:at] + value + whole[at + len(value):]

    return change


# file -> the harm, what the line must name; the exit code is 3
DAMAGED_GGUF = {
    "cut_gguf": (lambda whole: whole[:-100], "incomplete"),
    "cut_in_the_header": (lambda whole: whole[:300], "incomplete"),
    # a float32, which is as wide as the uint32 that it should be
    "value_of_another_type": (patch("llama.block_count", 0, (6).to_bytes(4, "little")), "llama.block_count"),
    "too_many_blocks": (patch("llama.block_count", 4, (2**31 - 1).to_bytes(4, "little")), "llama.block_count"),
    "endless_string": (patch("general.architecture", 4, (2**63).to_bytes(8, "little")), "incomplete"),
}


class Inputs(dict):
    """name -> path in one folder. Damaged models are made when a case asks for them."""

    def __init__(self, base, dense, dense_model, train_text):
        super().__init__(dense=dense)
        self.base, self.model = base, dense_model
        shutil.copy(train_text, base / "train.txt")
        for name, content in TEXTS.items():
            (base / name).write_text(content)
        (base / "full").mkdir()
        (base / "full/precious.txt").write_text("precious")

    def __missing__(self, name):
        path = self.base / name
        if name in DAMAGED_FOLDERS:
            shutil.copytree(self["dense"], path)
            DAMAGED_FOLDERS[name][0](path)
        elif name in DAMAGED_GGUF:
            path = path.with_name(name + ".gguf")
            path.write_bytes(DAMAGED_GGUF[name][0](self["whole.gguf"].read_bytes()))
        elif name == "whole.gguf":
            tiny_model.write_gguf(path, self["dense"], self.model)
        self[name] = path
        return path

    def fill(self, arguments):
        """Splits the arguments and puts paths in place of {name}."""
        return [re.sub(r"{([^}]+)}", lambda match: str(self[match[1]]), word) for word in shlex.split(arguments)]

    def listing(self):
        return sorted(path.name for path in self.base.iterdir())


@pytest.fixture(scope="module")
def inputs(dense_model, train_text, tmp_path_factory):
    return Inputs(tmp_path_factory.mktemp("refusals"), *dense_model, train_text)


def expect_refusal(inputs, arguments, code, named):
    filled = inputs.fill(arguments)
    before = inputs.listing()
    line = refusal(code, *filled, alone=False)
    assert named in line
    assert inputs.listing() == before, "something was left behind"


@pytest.mark.parametrize("arguments, code, named", REQUESTS.values(), ids=REQUESTS)
def test_a_request_that_cannot_be_met_is_refused_in_one_line(inputs, arguments, code, named):
    expect_refusal(inputs, arguments, code, named)
    assert (inputs.base / "full/precious.txt").read_text() == "precious"


@pytest.mark.parametrize("folder", DAMAGED_FOLDERS)
def test_a_damaged_folder_is_refused_in_one_line(inputs, folder):
    _, code, named = DAMAGED_FOLDERS[folder]
    expect_refusal(inputs, f"compress {{{folder}}} --output {{out}} {TEXT}", code, named)


@pytest.mark.parametrize("file", DAMAGED_GGUF)
def test_a_damaged_gguf_file_is_refused_in_one_line(inputs, file):
    expect_refusal(inputs, f"compress {{{file}}} --output {{out}} {TEXT}", 3, DAMAGED_GGUF[file][1])


def test_a_missing_shard_is_named(inputs):
    tiny_model.make(inputs.base / "shards", max_shard_size="150KB")
    lost = sorted((inputs.base / "shards").glob("model-*.safetensors"))[1]
    lost.unlink()
    expect_refusal(inputs, f"compress {{shards}} --output {{out}} {TEXT}", 3, lost.name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_a_run_with_130_and_a_state_to_resume_from(inputs, number):
    arguments = inputs.fill(f"{COMPRESS} {TEXT} --epochs 100000")
    out, before = inputs["out"], inputs.listing()
    process = subprocess.Popen([command(), *arguments], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("sublayer:"):
            break
    process.send_signal(number)
    rest = process.stderr.read()
    assert process.wait() == 130, rest
    last = rest.splitlines()[-1]
    assert last.startswith("freelunch: interrupted by the user") and "--restart" in last and "out.partial" in last, rest
    assert not out.exists() and inputs.listing() == sorted([*before, "out.partial"])
    shutil.rmtree(inputs.base / "out.partial")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_an_error_of_the_system(inputs):
    (inputs.base / "locked").mkdir(mode=0o500)
    assert "locked" in refusal(6, "convert", inputs["dense"], "--output", inputs.base / "locked/out")
