"""The package as the build made it, a tiny model and a text."""
import os
import sys

import pytest
import tiny_model
from places import place
from short_runs import SHORT


@pytest.fixture(scope="session")
def freelunch():
    if os.environ.get("FREELUNCH_PACKAGE") != "installed":
        place("FREELUNCH_COMMAND")
        package = place("FREELUNCH_PACKAGE")
        if not list(package.glob("freelunch/_native*.so")):
            pytest.skip(f"{package}/freelunch holds no compiled module; build with -DFREELUNCH_PYTHON=ON")
        sys.path.insert(0, str(package))
    import freelunch

    return freelunch


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A random Llama of 100,000 weights in fp32 with a tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "dense"
    tiny_model.make(folder)
    return folder


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "text.txt"
    path.write_text(tiny_model.text(3000))
    return path


@pytest.fixture(scope="session")
def short(text):
    return dict(SHORT, calibration=text)
