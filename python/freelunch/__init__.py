"""Prunes large language models and repairs the weights that remain.

    import freelunch
    report = freelunch.compress(model, tokenizer=tokenizer, sparsity=0.5, calibration=texts)   # in place
    report = freelunch.compress("MODEL", "OUTPUT", pattern="2:4", calibration="text.jsonl")    # as the command

Commands: compress, reconstruct, plan, perplexity, zeroshot, inspect, convert, study.
Building blocks on tensors: select_mask, wanda, sparsegpt, closed_form.
Also: Criterion, accelerate, options, Report, Error. docs/python.md describes all of them.
"""
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._accelerate import Accelerated, accelerate
    from ._blocks import closed_form, select_mask, sparsegpt, wanda
    from ._commands import (compress, convert, inspect, options, perplexity, plan, reconstruct,
                            study, zeroshot)
    from ._criterion import Criterion
    from ._errors import Error
    from ._report import Report

_PLACES = {
    "_accelerate": ("Accelerated", "accelerate"),
    "_blocks": ("closed_form", "select_mask", "sparsegpt", "wanda"),
    "_commands": ("compress", "convert", "inspect", "options", "perplexity", "plan", "reconstruct",
                  "study", "zeroshot"),
    "_criterion": ("Criterion",),
    "_errors": ("Error",),
    "_report": ("Report",),
}
_MODULE_OF = {name: module for module, names in _PLACES.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name):
    """Imports torch only when something needs it: the command starts without."""
    import importlib

    if name == "__version__":
        return importlib.import_module("._library", __name__).native.version
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'freelunch' has no attribute '{name}'")
    value = getattr(importlib.import_module("." + _MODULE_OF[name], __name__), name)
    globals()[name] = value
    return value


def __dir__():
    return [*__all__, "__version__"]
