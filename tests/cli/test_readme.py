"""Every `freelunch ...` line of the README, and every example of a command's help, runs as written on a tiny model."""
import re
import shlex
import shutil
import subprocess

import pytest
import tiny_model
from freelunch_command import command, run
from places import ROOT

FEWER = "--samples 4 --length 32 --held-out 2"  # added to the commands that take minutes otherwise
LONG = ("compress", "plan", "reconstruct")
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
FILES = {
    "study.toml": STUDY,
    "boolq.jsonl": '{"passage": "a", "question": "b", "answer": true}\n',
    "hellaswag.jsonl": '{"ctx_a": "a", "ctx_b": "b", "activity_label": "c", '
                       '"endings": ["d", "e", "f", "g"], "label": "1"}\n',
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the commands run: the files that the README and the helps name."""
    base = tmp_path_factory.mktemp("readme")
    model = tiny_model.make(base / "MODEL")
    tiny_model.write_gguf(base / "model.gguf", base / "MODEL", model)
    lines = tiny_model.text(6000).splitlines()
    (base / "text.jsonl").write_text("".join(f'{{"text": "{line}"}}\n' for line in lines))
    (base / "wiki.txt").write_text(tiny_model.text(6000, seed=1))
    for name, content in FILES.items():
        (base / name).write_text(content)
    run("compress", base / "MODEL", "--output", base / "PRUNED", "--criterion", "magnitude", "--repair", "none")
    return base


def commands_of_readme():
    """The lines of the README's code blocks that call the command, without comments."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S):
        lines = block.replace("\\\n", " ").splitlines()
        found += [shlex.split(line, comments=True) for line in lines if line.startswith("freelunch ")]
    return found


def subcommands():
    """The subcommands by the command's help, read when the tests are collected; empty if it is not built."""
    try:
        listing = subprocess.run([command(), "--help"], capture_output=True, text=True, check=True).stdout
    except pytest.skip.Exception:
        return []
    return re.findall(r"^  ([a-z]+)  ", listing.split("Subcommands:")[1], re.M)


def check_runs(folder, arguments):
    more = shlex.split(FEWER) if arguments[1] in LONG else []
    result = subprocess.run([command(), *arguments[1:], *more], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, f"{shlex.join(arguments)}\n{result.stderr}"
    shutil.rmtree(folder / "DIR", ignore_errors=True)


def test_the_readme_shows_how_to_use_the_command():
    assert len(commands_of_readme()) >= 5


@pytest.mark.parametrize("arguments", commands_of_readme(), ids=shlex.join)
def test_a_command_of_the_readme_runs_as_written(folder, arguments):
    check_runs(folder, arguments)


def test_help_lists_the_subcommands():
    command()  # skipped if it is not built
    assert {"compress", "convert"} <= set(subcommands())


@pytest.mark.parametrize("subcommand", subcommands())
def test_the_examples_of_a_help_run_as_written(folder, subcommand):
    lines = run(subcommand, "--help").splitlines()
    examples = [shlex.split(line) for line in lines if line.startswith("  freelunch ")]
    assert examples, f"the help of {subcommand} shows no example"
    for arguments in examples:
        check_runs(folder, arguments)
