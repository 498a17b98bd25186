"""Runs the command that the tests are about, and reads what it wrote."""
import hashlib
import json
import pathlib
import subprocess

from places import place


def command():
    return place("FREELUNCH_COMMAND")


def call(*arguments):
    """The finished process, whatever came of it."""
    return subprocess.run([command(), *map(str, arguments)], capture_output=True, text=True)


def run(*arguments):
    """Standard output of a run that must succeed."""
    result = call(*arguments)
    assert result.returncode == 0, f"{arguments}: exit {result.returncode}\n{result.stderr}"
    return result.stdout


def run_json(*arguments):
    """The JSON that --json prints. Standard output must hold nothing else."""
    return json.loads(run(*arguments, "--json"))


def refusal(code, *arguments, alone=True):
    """The line of error of a run that must fail with this exit code: the last line of standard error, and the only
    one, or with alone=False the only error after lines of progress."""
    result = call(*arguments)
    assert result.returncode == code, f"{arguments}: exit {result.returncode}, expected {code}\n{result.stderr}"
    assert result.stdout == "", f"{arguments}: {result.stdout}"
    lines = result.stderr.splitlines()
    errors = [line for line in lines if line.startswith("freelunch: ")]
    assert len(errors) == 1 and errors[0] == lines[-1], f"{arguments}: {result.stderr}"
    assert not alone or len(lines) == 1, f"{arguments}: {result.stderr}"
    return errors[0]


def tensors(folder):
    """name -> tensor of every safetensors file in the folder."""
    from safetensors import safe_open

    result = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            result.update({name: file.get_tensor(name) for name in file.keys()})
    return result


def digest(folder):
    """SHA-256 of the model's file."""
    return hashlib.sha256((pathlib.Path(folder) / "model.safetensors").read_bytes()).hexdigest()
