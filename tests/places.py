"""Where the tests find the programs they run and the data they read.

Each place has an environment variable and a default. What is not there skips the test that needs it, and the reason
names the path and the variable.
"""
import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROGRAMS = {
    "FREELUNCH_COMMAND": "build/release/freelunch",
    "FREELUNCH_ORACLE_PROBE": "build/release/tests/oracle/oracle_probe",
    "FREELUNCH_TOKENIZER_PROBE": "build/release/tests/oracle/tokenizer_probe",
    "FREELUNCH_REPORT_PROBE": "build/release/tests/report/report_probe",
}
FOLDERS = {
    "FREELUNCH_DATA": "../shared/data",  # texts, tokenizers, checkpoints, tasks; CONTRIBUTING.md lists the files
    "FREELUNCH_PACKAGE": "build/release/python",  # the Python package; "installed": the one that Python finds itself
    "FREELUNCH_DEMO": ".demo",  # SmolLM2-135M, which scripts/demo downloads
}


def place(variable, *inside):
    """The path of `inside` within the program or folder that the variable names. Skips the test if it does not exist.

    A program that the environment names explicitly must exist: there a missing file is a failure.
    """
    __tracebackhide__ = True
    chosen = os.environ.get(variable)
    root = os.path.abspath(chosen or ROOT / (PROGRAMS | FOLDERS)[variable])
    path = pathlib.Path(root, *inside)
    if not path.exists():
        reason = f"{path} does not exist; {variable} is {root if chosen else 'not set'}"
        if chosen and variable in PROGRAMS:
            pytest.fail(reason)
        pytest.skip(reason)
    return path
