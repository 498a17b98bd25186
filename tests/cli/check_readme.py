"""Every `freelunch ...` line of the README, and every example that a command's help ends with, runs as it stands, on a tiny model in place of MODEL."""
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

import tiny_model

command, readme = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
FEWER = {"compress": "--samples 4 --length 32 --held-out 2", "plan": "--samples 4 --length 32 --held-out 2", "reconstruct": "--samples 4 --length 32 --held-out 2"}
STUDY = """models = ["MODEL"]
[calibration]
text = "text.jsonl"
samples = 4
length = 32
held_out = 2
[[evaluate]]
name = "wiki"
text = "wiki.txt"
windows = 1
length = 64
[[grid]]
repair = ["none", "solve"]
"""
TASKS = {"boolq.jsonl": '{"passage": "a", "question": "b", "answer": true}\n', "hellaswag.jsonl": '{"ctx_a": "a", "ctx_b": "b", "activity_label": "c", "endings": ["d", "e", "f", "g"], "label": "1"}\n'}


def commands():
    """The lines of the README's code blocks that call the command, comments left out."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", readme.read_text(), re.S):
        found += [shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines() if line.startswith("freelunch ")]
    return found


def examples():
    """Of every command's help."""
    listing = subprocess.run([command, "--help"], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"^  ([a-z]+)  ", listing.split("Subcommands:")[1], re.M)
    assert "compress" in names and "convert" in names, listing
    found = []
    for name in names:
        text = subprocess.run([command, name, "--help"], capture_output=True, text=True, check=True).stdout
        lines = [shlex.split(line) for line in text.splitlines() if line.startswith("  freelunch ")]
        assert lines, f"the help of {name} shows no example"
        found += lines
    return found


with tempfile.TemporaryDirectory() as temporary:
    base = pathlib.Path(temporary)
    model = tiny_model.make(base / "MODEL")
    tiny_model.write_gguf(base / "model.gguf", base / "MODEL", model)
    (base / "text.jsonl").write_text("".join(f'{{"text": "{line}"}}\n' for line in tiny_model.text(6000).splitlines()))
    (base / "wiki.txt").write_text(tiny_model.text(6000, seed=1))
    (base / "study.toml").write_text(STUDY)
    for name, content in TASKS.items():
        (base / name).write_text(content)
    subprocess.run([command, *"compress MODEL --output PRUNED --criterion magnitude --repair none".split()], cwd=base, check=True, capture_output=True)
    lines = commands()
    assert len(lines) >= 5, "the README shows how to use the command"
    for arguments in lines + examples():
        shown = shlex.join(arguments)
        arguments = arguments[1:] + shlex.split(FEWER.get(arguments[1], ""))
        result = subprocess.run([command, *arguments], cwd=base, capture_output=True, text=True)
        assert result.returncode == 0, f"{shown}\n{result.stderr}"
        shutil.rmtree(base / "DIR", ignore_errors=True)
        print(shown)
print(f"README: {len(lines)} commands and the examples of every help run as written")
