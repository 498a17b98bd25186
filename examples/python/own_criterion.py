"""Prunes a model by a criterion of its own: the size of a weight relative to its column.

own_criterion.py MODEL TEXT OUTPUT
"""
import sys

import freelunch


def relative_size(W, stats):
    """W (out, in) float32, stats.column_norms (in) -> scores (out, in); the smallest of each row are removed."""
    return W.abs() / W.abs().mean(dim=0).clamp_min(1e-12) * stats.column_norms


model, text, output = sys.argv[1:]
report = freelunch.compress(model, output, criterion=relative_size, calibration=text, samples=16, length=64,
                            repair="solve", overwrite=True)
for region in report["regions"]:
    print(f"{region['region']}: error {region['before']:.4f} -> {region['after']:.4f}")
