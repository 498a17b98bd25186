"""What every Python test shares: no network, and the places of programs and data as fixtures."""
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before anything imports transformers
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import pytest  # noqa: E402
from places import place  # noqa: E402


@pytest.fixture(scope="session")
def oracle_probe():
    return place("FREELUNCH_ORACLE_PROBE")


@pytest.fixture(scope="session")
def tokenizer_probe():
    return place("FREELUNCH_TOKENIZER_PROBE")


@pytest.fixture(scope="session")
def report_probe():
    return place("FREELUNCH_REPORT_PROBE")
