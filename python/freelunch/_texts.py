"""Texts: a path, or strings from any iterable, which go to a temporary file of JSON lines."""
import json
import os

# Of an iterable without a length, such as a stream or a generator: more characters than this a token are not read.
CHARACTERS_A_TOKEN = 64


def is_path(text):
    return isinstance(text, (str, os.PathLike))


def document_of(item, position, name, field):
    """The text of an item: a string, or a row of a data set that holds it under `field`."""
    if isinstance(item, dict):
        if field not in item:
            raise ValueError(f"{name}: item {position} has no field '{field}'; it has {', '.join(map(str, item))}")
        item = item[field]
    if not isinstance(item, str):
        raise ValueError(f"{name}: item {position} is {type(item).__name__}, expected a string")
    return item


def as_path(texts, folder, name, field="text", tokens=None):
    """The path of `texts`. Anything but a path is written to NAME.jsonl in `folder`.

    tokens: how many are needed; an iterable without a length is read only as far as that can take.
    """
    if is_path(texts):
        return os.fspath(texts)
    try:
        items = iter(texts)
    except TypeError:
        raise ValueError(f"{name} is {type(texts).__name__}, expected a path or an iterable of strings") from None
    limit = None if tokens is None or hasattr(texts, "__len__") else tokens * CHARACTERS_A_TOKEN
    path, characters = os.path.join(folder, name + ".jsonl"), 0
    with open(path, "w", encoding="utf-8") as file:
        for position, item in enumerate(items):
            document = document_of(item, position, name, field)
            try:
                file.write(json.dumps({field: document}, ensure_ascii=False) + "\n")
            except UnicodeEncodeError:
                raise ValueError(
                    f"{name}: item {position} holds half of a surrogate pair, which is no character") from None
            characters += len(document)
            if limit is not None and characters >= limit:
                break
    if characters == 0:
        raise ValueError(f"{name} contains no text")
    return path
