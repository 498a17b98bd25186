"""Settings that make a run short, and models as transformers loads them."""
SHORT = dict(samples=8, length=32, held_out=4, threads=1, epochs=1, repair=["solve", "sublayer"])


def flags(keywords):
    """Keywords as the flags of the command."""
    found = []
    for keyword, value in keywords.items():
        value = ",".join(value) if isinstance(value, list) else value
        found += ["--" + keyword.strip("_").replace("_", "-")] + ([] if value is True else [value])
    return found


def load(folder, **keywords):
    """(model, tokenizer) of a folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder, **keywords).eval(), AutoTokenizer.from_pretrained(folder)
