"""The command that a test is about, the first argument of every script here, and reading what it wrote."""
import pathlib
import subprocess
import sys

from safetensors import safe_open

command = sys.argv[1]


def run(*arguments):
    result = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == 0, f"{arguments}: exit {result.returncode}\n{result.stderr}"
    return result.stdout


def tensors(folder):
    result = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            result.update({name: file.get_tensor(name) for name in file.keys()})
    return result
