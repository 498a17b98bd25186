"""The building blocks on torch tensors. They share memory with torch and copy nothing that is contiguous."""
from ._library import native


def _pattern(pattern):
    if isinstance(pattern, str):
        return pattern
    if isinstance(pattern, bool) or not isinstance(pattern, (int, float)):
        raise ValueError(f"pattern is {type(pattern).__name__}, expected a fraction of zeros or KEEP:OF such as '2:4'")
    return repr(float(pattern))


def select_mask(scores, pattern, group="row"):
    """The mask that retains the largest scores that the pattern allows.

    scores: (out, in) float32.
    pattern: the fraction of zeros (0.5, "50%"), of which exactly floor(fraction * size) are in each group, or
        "KEEP:OF" of consecutive weights of a row ("2:4").
    group: "row" or "matrix", the weights that compete under a fraction.
    Returns (out, in) bool, True for what stays. Of equal scores the one with the lower index is removed first.
    Raises ValueError for a pattern, shape or dtype that does not fit, Error if a score is NaN.
    """
    return native.select_mask(scores, _pattern(pattern), group)


def wanda(W, norms, pattern, group="row"):
    """The mask of Wanda (arXiv 2306.11695): the largest |W_ij| * norms_j stay.

    W: (out, in) float32. norms: (in) float32, sqrt(sum_t X_tj^2). pattern, group, errors: as select_mask.
    Returns (out, in) bool, True for what stays.
    """
    return native.wanda(W, norms, _pattern(pattern), group)


def sparsegpt(W, H, pattern, group="matrix", damping=0.01):
    """SparseGPT (arXiv 2301.00774): removes weights column by column and moves the others to make up for them.

    W: (out, in) float32. H: (in, in) float32, sum_t X_t X_t^T. damping: of H's mean diagonal, added before the
    inverse; it is raised tenfold, at most five times, if the factorisation fails.
    Returns (weights (out, in) float32, zero where removed; mask (out, in) bool).
    Raises ValueError as select_mask does, Error if H cannot be factorised or a weight is not finite.
    """
    return native.sparsegpt(W, H, _pattern(pattern), group, damping)


def closed_form(W, mask, H, C=None, *, lambda_=0.01, blend=0.0, iterations=20):
    """The weights on the mask whose outputs are nearest to the dense ones.

    Minimises over V on the mask tr((V - W) H (V - W)^T) + lambda mean(diag H) ||V - W||^2, each row by conjugate
    gradients. With C and `blend` the target's input is (1 - blend) X_s + blend X_d.

    W: (out, in) float32, dense. mask: (out, in) bool. H: (in, in) float32, X_s^T X_s. C: (in, in) float32,
    X_s^T X_d, needed if blend is not 0. iterations: the most; a row stops at a thousandth of its first residual.
    Returns (out, in) float32, exactly zero outside the mask.
    Raises ValueError for shapes, dtypes or devices that do not fit, Error if the result is not finite.
    """
    return native.closed_form(W, mask, H, C, lambda_, blend, iterations)
