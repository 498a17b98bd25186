"""What cannot be done ends in one clear line, the exit code of its kind, and nothing written."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

import tiny_model

command = sys.argv[1]

with tempfile.TemporaryDirectory() as temporary:
    base = pathlib.Path(temporary)
    tiny_model.make(base / "dense")
    (base / "train.txt").write_text(tiny_model.text(6000))
    (base / "short.txt").write_text("only a few words")
    (base / "empty.txt").write_text("")
    (base / "bad.jsonl").write_text('{"text": "a"}\n{"body": "b"}\n')
    (base / "table.parquet").write_text("PAR1")
    (base / "full").mkdir()
    (base / "full/precious.txt").write_text("precious")
    (base / "afile").write_text("x")

    def variant(name, change):
        shutil.copytree(base / "dense", base / name)
        change(base / name)
        return base / name

    def edit_config(**values):
        def change(folder):
            config = json.loads((folder / "config.json").read_text())
            config.update(values)
            (folder / "config.json").write_text(json.dumps(config))
        return change

    wide = variant("wide", edit_config(intermediate_size=999))
    other = variant("other", edit_config(model_type="mamba"))
    no_config = variant("no_config", lambda f: (f / "config.json").unlink())
    not_json = variant("not_json", lambda f: (f / "config.json").write_text("{"))
    no_weights = variant("no_weights", lambda f: (f / "model.safetensors").unlink())
    cut = variant("cut", lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-10]))
    no_tokenizer = variant("no_tokenizer", lambda f: (f / "tokenizer.json").unlink())
    def add_nan(folder):
        import torch
        from safetensors.torch import load_file, save_file
        tensors = load_file(folder / "model.safetensors")
        tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = float("nan")
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    nan = variant("nan", add_nan)
    def save(folder, change):
        from safetensors.torch import load_file, save_file
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    infinite = variant("infinite", lambda f: save(f, lambda t: t["model.embed_tokens.weight"].fill_(float("inf"))))
    lacking = variant("lacking", lambda f: save(f, lambda t: t.pop("model.layers.1.self_attn.k_proj.weight")))
    model = tiny_model.make(base / "shards", max_shard_size="150KB")
    lost = sorted((base / "shards").glob("model-*.safetensors"))[1]
    lost.unlink()

    def with_header(name, edit):  # a safetensors file whose header is rewritten, its data as it was
        def change(folder):
            raw = (folder / "model.safetensors").read_bytes()
            end = 8 + int.from_bytes(raw[:8], "little")
            header = json.loads(raw[8:end])
            header.pop("__metadata__", None)
            text = edit(header) or json.dumps(header)
            (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text.encode() + raw[end:])
        return variant(name, change)
    def swap_offsets(header):
        header["model.norm.weight"]["data_offsets"].reverse()
    def overlap(header):
        header["model.norm.weight"]["data_offsets"] = [0, 256]
    def overflow(header):
        header["model.norm.weight"]["shape"] = [2**62, 4]
    def leave(header):
        header["model.norm.weight"]["data_offsets"] = [2**40, 2**40 + 256]
    def rename(header):
        entry = json.dumps(header["model.norm.weight"])
        return "{" + f'"a": {entry}, "a": {entry}' + "}"
    backwards, overlapping = with_header("backwards", swap_offsets), with_header("overlapping", overlap)
    overflowing, leaving, twice = with_header("overflowing", overflow), with_header("leaving", leave), with_header("twice", rename)
    deep = with_header("deep", lambda header: '{"a":' * 10000 + "1" + "}" * 10000)
    long_header = variant("long_header", lambda f: (f / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}"))
    deep_config = variant("deep_config", lambda f: (f / "config.json").write_text("[" * 10000 + "]" * 10000))
    deep_tokenizer = variant("deep_tokenizer", lambda f: (f / "tokenizer.json").write_text('{"model":' * 10000 + "1" + "}" * 10000))

    tiny_model.write_gguf(base / "whole.gguf", base / "shards", model)
    whole = (base / "whole.gguf").read_bytes()
    def gguf(name, content):
        (base / f"{name}.gguf").write_bytes(content)
        return base / f"{name}.gguf"
    def patched(key, offset, value):  # bytes of the value that follows a key
        at = whole.index(key.encode()) + len(key) + offset
        return whole[:at] + value + whole[at + len(value):]
    cut_gguf = gguf("cut", whole[:-100])
    cut_header = gguf("cut_header", whole[:300])
    mistyped = gguf("mistyped", patched("llama.block_count", 0, (6).to_bytes(4, "little")))  # float32, as wide as uint32
    many_blocks = gguf("many_blocks", patched("llama.block_count", 4, (2**31 - 1).to_bytes(4, "little")))
    endless = gguf("endless", patched("general.architecture", 4, (2**63).to_bytes(8, "little")))
    def big_ids(folder):
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        tokenizer["added_tokens"].append(dict(id=9999, content="<x>", special=True))
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    ids = variant("ids", big_ids)

    dense, out = base / "dense", base / "out"
    text = ["--calibration", base / "train.txt", "--samples", "8", "--length", "32"]
    compress = lambda model, *rest: ["compress", model, "--output", out, *rest]
    cases = [  # arguments, exit code, what the line must name
        ([], 2, "subcommand"),
        (["compres"], 2, "compress"),
        (compress(dense, "--sparsty", "0.5"), 2, "did you mean --sparsity"),
        (compress(dense, "--sparsity", "0.5", "--pattern", "2:4", *text), 2, "--pattern"),
        (compress(dense, "--sparsity", "1.5", *text), 2, "1.5"),
        (compress(dense, "--pattern", "0.5", *text), 2, "--sparsity"),
        (compress(dense, "--pattern", "4:2", *text), 2, "4:2"),
        (compress(dense, "--pattern", "2:3", *text), 2, "_proj"),
        (compress(dense, "--pattern", "2:4", "--group", "row", *text), 2, "--group"),
        (compress(dense, "--criterion", "wander", *text), 2, "wanda"),
        (compress(dense, "--repair", "solve,solve", *text), 2, "twice"),
        (compress(dense, "--repair", "sublayer,solve", *text), 2, "first"),
        (compress(dense, "--repair", "magic", *text), 2, "magic"),
        (compress(dense, "--loss", "l1", *text), 2, "l1"),
        (compress(dense), 2, "--calibration"),
        (compress(dense, "--samples", "0", "--calibration", base / "train.txt"), 2, "--samples"),
        (compress(dense, "--threads", "-1", *text), 2, "--threads"),
        (compress(dense, "--device", "tpu", *text), 2, "tpu"),
        (compress(dense, "--learning-rate", "-1", *text), 2, "-1"),
        (["compress", dense, "--output", base / "full", *text], 2, "--overwrite"),
        (["compress", dense, "--output", base / "afile", *text], 2, "file"),
        (compress(dense, "--calibration", base / "short.txt", "--samples", "8", "--length", "32"), 2, "tokens"),
        (compress(dense, *text, "--evaluate", base / "short.txt"), 2, "tokens"),
        (compress(base / "absent", *text), 3, "absent"),
        (compress(base / "train.txt", *text), 4, "train.txt"),
        (compress(dense, "--calibration", base / "absent.txt"), 3, "absent.txt"),
        (compress(dense, "--calibration", base / "empty.txt"), 3, "empty.txt"),
        (compress(dense, "--calibration", base / "bad.jsonl"), 3, "line 2"),
        (compress(dense, "--calibration", base / "table.parquet"), 4, "parquet"),
        (compress(wide, *text), 3, "gate_proj"),
        (compress(other, *text), 4, "mamba"),
        (compress(no_config, *text), 3, "config.json"),
        (compress(not_json, *text), 3, "config.json"),
        (compress(no_weights, *text), 3, "safetensors"),
        (compress(cut, *text), 3, "incomplete"),
        (compress(no_tokenizer, *text), 3, "tokenizer.json"),
        (compress(nan, *text), 3, "model.layers.1.mlp.up_proj.weight"),
        (compress(ids, *text), 3, "9999"),
        (compress(infinite, *text), 3, "model.embed_tokens.weight"),
        (compress(lacking, *text), 3, "model.layers.1.self_attn.k_proj.weight"),
        (compress(base / "shards", *text), 3, lost.name),
        (compress(backwards, *text), 3, "model.norm.weight"),
        (compress(overlapping, *text), 3, "overlaps"),
        (compress(overflowing, *text), 3, "model.norm.weight"),
        (compress(leaving, *text), 3, "hole"),
        (compress(twice, *text), 3, "twice"),
        (compress(deep, *text), 3, "nested"),
        (compress(long_header, *text), 3, "claims"),
        (compress(deep_config, *text), 3, "config.json"),
        (compress(deep_tokenizer, *text), 3, "tokenizer.json"),
        (compress(cut_gguf, *text), 3, "incomplete"),
        (compress(cut_header, *text), 3, "incomplete"),
        (compress(mistyped, *text), 3, "llama.block_count"),
        (compress(many_blocks, *text), 3, "llama.block_count"),
        (compress(endless, *text), 3, "incomplete"),
        (["inspect", cut_gguf], 3, "cut.gguf"),
        (["perplexity", dense, "--text", base / "short.txt"], 2, "tokens"),
        (["perplexity", dense, "--text", base / "train.txt", "--length", "1"], 2, "--length"),
        (["perplexity", dense, "--text", base / "train.txt", "--protocol", "mine"], 2, "mine"),
        (["inspect", base / "absent"], 3, "absent"),
        (["convert", dense, "--output", base / "full"], 2, "--overwrite"),
    ]
    before = sorted(p.name for p in base.iterdir())
    for arguments, code, named in cases:
        result = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True)
        shown = " ".join(map(str, arguments)).replace(temporary, "")
        lines = [line for line in result.stderr.splitlines() if line.startswith("freelunch: ")]
        assert result.returncode == code, f"{shown}: exit {result.returncode}, expected {code}\n{result.stderr}"
        assert len(lines) == 1 and named in lines[0] and lines[0] == result.stderr.splitlines()[-1], f"{shown}: {result.stderr}"
        assert result.stdout == "", shown
        assert sorted(p.name for p in base.iterdir()) == before, f"{shown} left something behind"
    assert (base / "full/precious.txt").read_text() == "precious"
    print(f"{len(cases)} refusals: one line, right code, nothing written")

    # Ctrl-C and SIGTERM
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen([command, *map(str, compress(dense, *text, "--epochs", "100000"))], stderr=subprocess.PIPE, text=True)
        for line in process.stderr:
            if line.startswith("sublayer:"):
                break
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait() == 130, rest
        last = rest.splitlines()[-1]
        assert last.startswith("freelunch: interrupted by the user") and "--restart" in last and "out.partial" in last, rest
        assert not out.exists() and sorted(p.name for p in base.iterdir()) == sorted([*before, "out.partial"])
        shutil.rmtree(base / "out.partial")
    print("signals: exit 130, a state to go on from")

    if os.geteuid() != 0:  # root writes anywhere
        (base / "locked").mkdir(mode=0o500)
        result = subprocess.run([command, "convert", dense, "--output", base / "locked/out"], capture_output=True, text=True)
        assert result.returncode == 6 and "locked" in result.stderr
