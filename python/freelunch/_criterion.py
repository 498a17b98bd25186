"""A pruning criterion of the caller."""
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Callable

import torch

from ._library import native


@dataclass(frozen=True)
class Criterion:
    """Scores of weights, computed by a Python callable; the weights with the smallest are removed.

    score(W, stats) -> scores, of W's shape, any floating dtype. W (out, in) float32 must not be changed.
        stats.column_norms (in) float32: sqrt(sum_t X_tj^2) over the calibration tokens t; None for needs="nothing".
        stats.inverse_factor (in, in) float32: U with (H + damping)^-1 = U^T U for needs="gram"; otherwise None.
    name: for the report; an interrupted run resumes only under the same name, so rename it when the formula changes.
    needs: "nothing", "column_norms" or "gram"; "column_norms" and "gram" need a calibration text.
    group: "row" or "matrix", the weights that compete unless `group=` of compress says otherwise.
    """

    score: Callable[[torch.Tensor, Any], torch.Tensor]
    name: str = ""
    needs: str = "column_norms"
    group: str = "row"

    def native(self):
        """The criterion as the compiled module takes it."""
        name = self.name or getattr(self.score, "__name__", type(self.score).__name__)

        def score(W, column_norms, inverse_factor):
            with torch.no_grad():
                return self.score(W, SimpleNamespace(column_norms=column_norms, inverse_factor=inverse_factor))

        return native.own_criterion(name, self.needs, self.group, score)
