"""The commands as functions. Their keywords are the options of the command, with _ for -."""
import difflib
import inspect as inspection
import json
import math
import os
import tempfile

from . import _live, _texts
from ._criterion import Criterion
from ._library import native
from ._progress import Events
from ._report import Report

_TABLE = json.loads(native.options_json())
TYPES = {"flag": "bool", "integer": "int", "number": "float", "numbers": "float | list[float]",
         "fraction": "float | str", "bytes": "int | str", "word": "str", "text": "str", "texts": "str | list[str]",
         "stages": "str | list[str]", "path": "str | os.PathLike"}


def options(command):
    """The options of a command: a list of dicts with `keyword`, `kind`, `expected`, `default` and `help`."""
    if command not in _TABLE:
        raise ValueError(f"there is no command '{command}'; the commands are {', '.join(_TABLE)}")
    return [dict(option) for option in _TABLE[command]]


def _by_keyword(command):
    return {option["keyword"]: option for option in _TABLE[command]}


def _plain(value):
    """A value as JSON: paths as text, tuples as lists, numbers of numpy and torch as Python's."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, (str, bytes)) and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return repr(value)  # the table then says what was expected


def _as_typed(command, model, given):
    """The call as text, for the report."""
    def shown(value):
        text = repr(os.fspath(value) if isinstance(value, os.PathLike) else value)
        return text if len(text) <= 80 else f"<{type(value).__name__}>"

    first = repr(os.fspath(model)) if _texts.is_path(model) else f"<{type(model).__name__}>"
    return f"freelunch.{command}({', '.join([first, *(f'{k}={shown(v)}' for k, v in given.items())])})"


def _check_keywords(command, given):
    known = _by_keyword(command)
    for keyword in given:
        if keyword in known:
            continue
        near = difflib.get_close_matches(keyword, known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise TypeError(f"{command}() got an unexpected keyword argument '{keyword}'{hint}")


def _tokens(command, given, kind):
    """How many tokens of a text are needed at most, or None if all are."""
    def number(keyword):
        value = given.get(keyword)
        return value if isinstance(value, int) and value > 0 else _by_keyword(command)[keyword]["default"]

    if kind == "calibration":
        return (number("samples") + number("held_out")) * number("length")
    return None


def _write_texts(command, given, folder):
    """Writes texts that are not paths to files, and gives the paths instead."""
    for keyword, field in (("calibration", "field"), ("evaluate", "evaluate_field"), ("text", "field")):
        if given.get(keyword) is None or keyword not in _by_keyword(command):
            continue
        name = given.get(field) or given.get("field") or "text"
        given[keyword] = _texts.as_path(given[keyword], folder, keyword, name, _tokens(command, given, keyword))


def _run(command, model, given, *, tokenizer=None, progress=None):
    """Runs a command with these keywords. Returns the JSON that it prints, as a dict."""
    given = {keyword: value for keyword, value in given.items() if value is not None}
    _check_keywords(command, given)
    as_typed = _as_typed(command, model, given)
    own = None
    if callable(given.get("criterion")) or isinstance(given.get("criterion"), Criterion):
        criterion = given.pop("criterion")
        own = (criterion if isinstance(criterion, Criterion) else Criterion(criterion)).native()
    events = Events(progress)
    with tempfile.TemporaryDirectory(prefix="freelunch-") as work:
        live, in_place = None, False
        if _texts.is_path(model):
            model = os.fspath(model)
        else:
            texts = any(given.get(keyword) is not None for keyword in ("calibration", "evaluate", "text", "tasks"))
            if texts and tokenizer is None:
                raise ValueError("a model in memory needs its tokenizer to read texts; give tokenizer=")
            model, live = _live.opened(model, tokenizer, work)
            if command == "compress" and given.get("output") is None:
                in_place, given["output"] = True, os.path.join(work, "output")
        _write_texts(command, given, work)
        known = _by_keyword(command)
        asked = {known[keyword]["name"]: _plain(value) for keyword, value in given.items()}
        try:
            result = json.loads(
                native.run_command(command, model, json.dumps(asked), as_typed, live, in_place, own, events))
        finally:
            events.close()
        if in_place:
            result["output"] = ""  # the folder is gone, and held only the report
        return result


def _documented(command, also=""):
    """Adds the options of the command to a function's signature and to its documentation."""
    def decorate(function):
        signature = inspection.signature(function)
        parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        named = {p.name for p in parameters}
        lines = []
        for option in _TABLE[command]:
            keyword, default = option["keyword"], option["default"]
            kind = option["expected"] if option["kind"] in ("word", "text") else TYPES[option["kind"]]
            note = default if default not in (None, [], False) else option["unset"]
            lines.append(f"    {keyword}: {kind}. {option['help']}." + (f" Default: {note}." if note != "" else ""))
            if keyword not in named:
                parameters.append(inspection.Parameter(keyword, inspection.Parameter.KEYWORD_ONLY, default=None))
        function.__signature__ = signature.replace(parameters=parameters)
        function.__doc__ += "\n\nOptions; None is the default:\n" + "\n".join(lines) + "\n" if lines else ""
        return function

    return decorate


@_documented("compress")
def compress(model, output=None, sparsity=None, calibration=None, *, tokenizer=None, progress=None, **options):
    """Prunes a model, repairs it and measures it, as `freelunch compress` does.

    model: a path (Hugging Face folder, sparse archive, GGUF file), or a transformers model in float32, float16 or
        bfloat16. A wrapper (DataParallel, torch.compile) is looked through.
    output: the folder to write. Without it a model in memory is changed in place, when everything else has succeeded:
        after an exception it is as it was, except if that came from the evaluation of the result. Changed weights wait
        in a file of the temporary folder (TMPDIR), 4 bytes each.
    calibration, evaluate: a path, an iterable of strings, or of dicts that hold one under `field`; a column of a data
        set is one. An iterable without a length is read only as far as 64 characters a token need.
    criterion: a name, a callable score(W, stats), or a Criterion.
    tokenizer: of a model in memory, if texts are read.
    progress: a callable that gets a Progress (stage, done, total, unit, note); by default a bar of tqdm in terminals
        and notebooks; False for none. Log lines go to the logger "freelunch".
    Returns a Report: the keys of freelunch.json, and to_html().
    Raises ValueError, TypeError, KeyboardInterrupt, Error, and what a callable raises. The output is complete or
        absent.
    """
    if output is None and _texts.is_path(model):
        raise ValueError("output is required: a model at a path is not changed in place")
    given = dict(output=output, sparsity=sparsity, calibration=calibration, **options)
    return Report(_run("compress", model, given, tokenizer=tokenizer, progress=progress))


@_documented("reconstruct")
def reconstruct(pruned, dense, output, calibration=None, *, progress=None, **options):
    """Repairs a model that any tool pruned, given the dense model; its zeros stay zeros.

    pruned, dense: paths. Texts, progress, result and errors: as of compress.
    """
    given = dict(dense=dense, output=output, calibration=calibration, **options)
    return Report(_run("reconstruct", pruned, given, progress=progress))


@_documented("plan")
def plan(model, *, tokenizer=None, progress=None, **options):
    """Estimates the memory, disk space and time that compress would take. Returns what `freelunch plan --json` prints.

    model, texts, tokenizer, errors: as of compress.
    """
    return _run("plan", model, options, tokenizer=tokenizer, progress=progress)


@_documented("perplexity")
def perplexity(model, text, *, tokenizer=None, progress=None, **options):
    """Measures a model's perplexity on a text.

    model: a path, or a transformers model with its tokenizer. text: as `calibration` of compress.
    Returns a dict: perplexity, tokens, windows, length, protocol.
    """
    return _run("perplexity", model, dict(text=text, **options), tokenizer=tokenizer, progress=progress)


@_documented("zeroshot")
def zeroshot(model, tasks, *, tokenizer=None, progress=None, **options):
    """Measures a model's accuracy on multiple-choice tasks.

    model: a path, or a transformers model with its tokenizer. tasks: files of JSON lines, FILE or NAME=FILE, or a dict
    of names and files. Returns a dict: tasks, each with task, examples, skipped, acc and acc_norm.
    """
    if isinstance(tasks, dict):
        tasks = [f"{name}={os.fspath(file)}" for name, file in tasks.items()]
    return _run("zeroshot", model, dict(tasks=tasks, **options), tokenizer=tokenizer, progress=progress)


@_documented("inspect")
def inspect(model, *, progress=None):
    """A model's architecture, sizes, and the dtype, shape, sparsity and N:M pattern of every tensor, as a dict.

    model: a path, or a transformers model.
    """
    return _run("inspect", model, {}, progress=progress)


@_documented("convert")
def convert(model, output, *, progress=None, **options):
    """Saves a model as a Hugging Face folder, a GGUF file or a sparse archive.

    model, output: paths. Returns {"output": ...}.
    """
    if not _texts.is_path(model):
        raise ValueError(f"the model is {type(model).__name__}, expected a path; save_pretrained() makes a folder")
    return _run("convert", model, dict(output=output, **options), progress=progress)


@_documented("study")
def study(file, output=None, *, progress=None, **options):
    """Runs a grid of settings and writes tables and plots; a rerun completes what is missing (docs/methods/study.md).

    file: a .toml or .json study file. output: the folder of the study. Returns the content of results.json, or with
    list=True only {"cells": [names]}.
    """
    if output is None and not options.get("list"):
        raise ValueError("output is required")
    return _run("study", file, dict(output=output, **options), progress=progress)
