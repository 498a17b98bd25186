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
DATA = {
    "FREELUNCH_DATA": "../shared/data",  # texts, tokenizers, checkpoints, tasks
    "FREELUNCH_DEMO": ".demo",  # SmolLM2-135M, downloaded by scripts/demo
}


def place(variable, *inside):
    """The path of `inside` within the place that the variable names. Skips the test if it does not exist.

    A program that the environment names explicitly must exist: there a missing file is a failure.
    """
    __tracebackhide__ = True
    chosen = os.environ.get(variable)
    default = ROOT / (PROGRAMS | DATA)[variable]
    path = pathlib.Path(os.path.abspath(chosen or default), *inside)
    if not path.exists():
        reason = f"{path} does not exist; set {variable} to " + ("the program" if variable in PROGRAMS else "its folder")
        if chosen and variable in PROGRAMS:
            pytest.fail(reason)
        pytest.skip(reason)
    return path
