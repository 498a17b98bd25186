"""The model and the texts that most whole runs start from. Tests read them and never change them."""
import pytest


@pytest.fixture(scope="session")
def dense_model(tmp_path_factory):
    """(folder, the transformers model) of a random Llama of 100,000 weights in fp32."""
    import tiny_model  # not above: importing transformers takes seconds, and some modules do without

    folder = tmp_path_factory.mktemp("models") / "dense"
    return folder, tiny_model.make(folder)


@pytest.fixture(scope="session")
def dense(dense_model):
    return dense_model[0]


@pytest.fixture(scope="session")
def train_text(tmp_path_factory):
    import tiny_model

    path = tmp_path_factory.mktemp("texts") / "train.txt"
    path.write_text(tiny_model.text(6000))
    return path


@pytest.fixture(scope="session")
def evaluation_text(tmp_path_factory):
    import tiny_model

    path = tmp_path_factory.mktemp("texts") / "test.txt"
    path.write_text(tiny_model.text(3000, seed=1))
    return path
