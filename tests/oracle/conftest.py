"""What the tokenizer oracles share: our tokenizer behind its probe, and the texts."""
import pytest
from mixed_lines import Probe, mixed_lines, wikitext


@pytest.fixture(scope="module")
def ours(tokenizer_probe):
    return Probe(tokenizer_probe)


@pytest.fixture(scope="module")
def lines():
    return mixed_lines(10500)[:10000]


@pytest.fixture(scope="module")
def text():
    return wikitext()
