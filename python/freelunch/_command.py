"""Starts the command that the wheel brings, with the libraries of the installed torch.

The script `freelunch` runs this file without importing the package: importing torch takes a second, and the command
loads LibTorch itself.
"""
import importlib.util
import os
import re
import sys

TORCH = "2.13"  # C++ libraries fit the release that they were built with, whether for CPUs or for CUDA
UNSUPPORTED = 4  # exit codes: docs/command.md


def refuse(message):
    print(f"freelunch: {message}", file=sys.stderr)
    sys.exit(UNSUPPORTED)


def torch_folder():
    """The folder of the installed torch, which must be of the right release. Does not import it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        refuse(f"torch is not installed for {sys.executable}; pip install torch=={TORCH}.*")
    folder = spec.submodule_search_locations[0]
    with open(os.path.join(folder, "version.py"), encoding="utf-8") as file:
        found = re.search(r"^__version__ = '([^']*)'", file.read(), re.M)
    version = found.group(1) if found else "unknown"
    if not version.startswith(TORCH + "."):
        refuse(f"torch in {folder} is {version}, expected {TORCH}.*; pip install torch=={TORCH}.*")
    return folder


def main():
    """Becomes the command; does not return."""
    package = os.path.dirname(os.path.abspath(__file__))
    environment = dict(os.environ)
    torch = torch_folder()
    # The command finds torch next to this package by itself. Elsewhere, as in a virtual environment on top of a Python
    # that has torch, the loader must be told.
    if not os.path.samefile(os.path.dirname(torch), os.path.dirname(package)):
        others = environment.get("LD_LIBRARY_PATH")
        environment["LD_LIBRARY_PATH"] = os.path.join(torch, "lib") + (f":{others}" if others else "")
    os.execve(os.path.join(package, "bin", "freelunch"), ["freelunch", *sys.argv[1:]], environment)
