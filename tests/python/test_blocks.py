"""The building blocks against restatements in a few lines of torch, on the caller's memory."""
import pytest
import torch


@pytest.fixture(scope="module")
def case():
    """W (12, 16), inputs X (200, 16), H = X^T X, column norms"""
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(12, 16, generator=generator)
    X = torch.randn(200, 16, generator=generator) @ torch.randn(16, 16, generator=generator)
    return W, X, X.T @ X, X.norm(dim=0)


def largest(scores, keep):
    """The mask of the `keep` largest scores of each row."""
    kept = torch.zeros_like(scores, dtype=torch.bool)
    return kept.scatter(1, scores.argsort(dim=1, descending=True)[:, :keep], True)


@pytest.mark.parametrize("pattern", [0.25, "25%", "0.25"])
def test_a_fraction_removes_the_smallest_of_each_row(freelunch, case, pattern):
    scores = case[0].abs()
    assert torch.equal(freelunch.select_mask(scores, pattern), largest(scores, 12))


def test_a_fraction_of_the_matrix_removes_the_smallest_of_all(freelunch, case):
    scores = case[0].abs()
    mask = freelunch.select_mask(scores, 0.5, group="matrix")
    assert torch.equal(mask.view(1, -1), largest(scores.view(1, -1), scores.numel() // 2))


def test_a_pattern_keeps_n_of_every_m(freelunch, case):
    scores = case[0].abs()
    mask = freelunch.select_mask(scores, "2:4")
    assert torch.equal(mask.view(-1, 4), largest(scores.view(-1, 4), 2))


def test_of_equal_scores_the_first_are_removed(freelunch):
    assert freelunch.select_mask(torch.ones(1, 4), 0.5).tolist() == [[False, False, True, True]]


def test_wanda_weighs_by_the_norms_of_the_inputs(freelunch, case):
    W, _, _, norms = case
    mask = freelunch.wanda(W, norms, 0.5)
    assert torch.equal(mask, largest(W.abs() * norms, 8))
    assert not torch.equal(mask, largest(W.abs(), 8))


def sparsegpt(W, H, keep, damping):
    """2:4 by the loop of the paper, in fp64."""
    W, H = W.double().clone(), H.double().clone()
    H += damping * H.diagonal().mean() * torch.eye(len(H))
    U = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    mask = torch.ones_like(W, dtype=torch.bool)
    for j in range(W.shape[1]):
        if j % 4 == 0:
            mask[:, j:j + 4] = largest((W[:, j:j + 4] / U.diagonal()[j:j + 4]) ** 2, keep)
        error = torch.where(mask[:, j], 0, W[:, j]) / U[j, j]
        W[:, j:] -= error.unsqueeze(1) * U[j, j:]
        W[~mask[:, j], j] = 0
    return W, mask


def test_sparsegpt_is_the_sweep_of_the_paper(freelunch, case):
    W, _, H, _ = case
    moved, mask = freelunch.sparsegpt(W, H, "2:4")
    expected, expected_mask = sparsegpt(W, H, 2, 0.01)
    assert torch.equal(mask, expected_mask)
    torch.testing.assert_close(moved.double(), expected, rtol=1e-3, atol=1e-4)
    assert (moved[~mask] == 0).all()


def solved(W, mask, H, lambda_):
    """Each row by the normal equations of its retained weights, in fp64."""
    W, H = W.double(), H.double()
    H = H + lambda_ * H.diagonal().mean() * torch.eye(len(H))
    result = torch.zeros_like(W)
    for i, kept in enumerate(mask):
        result[i, kept] = torch.linalg.solve(H[kept][:, kept], (H @ W[i])[kept])
    return result


def test_the_closed_form_solves_the_normal_equations(freelunch, case):
    W, X, H, norms = case
    mask = freelunch.wanda(W, norms, 0.5)
    fitted = freelunch.closed_form(W, mask, H, lambda_=0.03, iterations=200)
    torch.testing.assert_close(fitted.double(), solved(W, mask, H, 0.03), rtol=0, atol=5e-3)
    assert (fitted[~mask] == 0).all()
    dense = X @ W.T
    assert (X @ fitted.T - dense).norm() < 0.9 * (X @ (W * mask).T - dense).norm()


def test_the_closed_form_aims_at_another_stream(freelunch, case):
    W, X, H, norms = case
    mask = freelunch.wanda(W, norms, 0.5)
    other = X + 0.1 * torch.randn(X.shape, generator=torch.Generator().manual_seed(1))
    fitted = freelunch.closed_form(W, mask, H, X.T @ other, lambda_=1e-3, blend=1.0, iterations=200)
    local = freelunch.closed_form(W, mask, H, lambda_=1e-3, iterations=200)
    target = other @ W.T
    assert (X @ fitted.T - target).norm() < (X @ local.T - target).norm()


def test_arguments_keep_their_memory_and_values(freelunch, case):
    W, _, H, norms = case
    copies = [t.clone() for t in (W, H, norms)]
    freelunch.wanda(W, norms, 0.5)
    freelunch.sparsegpt(W, H, 0.5)
    freelunch.closed_form(W, W.abs() > 0.5, H)
    assert all(torch.equal(a, b) for a, b in zip((W, H, norms), copies))
    transposed = W.T.contiguous().T  # other strides, the same values
    assert torch.equal(freelunch.wanda(transposed, norms, 0.5), freelunch.wanda(W, norms, 0.5))
    parameter = torch.nn.Parameter(W)
    assert not freelunch.sparsegpt(parameter, H, 0.5)[0].requires_grad


@pytest.mark.parametrize("call, message", [
    (lambda f, W, H, n: f.wanda(W.half(), n, 0.5), "W is Half, expected Float"),
    (lambda f, W, H, n: f.wanda(W, n[:3], 0.5), r"norms has the shape \[3\], expected \[16\]"),
    (lambda f, W, H, n: f.wanda(W[0], n, 0.5), r"W has 1 dimensions, expected 2 \(out, in\)"),
    (lambda f, W, H, n: f.wanda(W, n.to("meta"), 0.5), "norms is on meta, but W on cpu"),
    (lambda f, W, H, n: f.select_mask(W, "3:2"), "3:2"),
    (lambda f, W, H, n: f.select_mask(W[:, :15].contiguous(), "2:4"), "15"),
    (lambda f, W, H, n: f.select_mask(W, 0.5, group="column"), "group"),
    (lambda f, W, H, n: f.select_mask(W, [2, 4]), "pattern is list"),
    (lambda f, W, H, n: f.closed_form(W, W, H), "mask is Float, expected Bool"),
    (lambda f, W, H, n: f.closed_form(W, W > 0, H, blend=0.5), "blend|C"),
    (lambda f, W, H, n: f.sparsegpt(W, H[:4], 0.5), r"H has the shape \[4, 16\], expected \[16, 16\]"),
])
def test_what_does_not_fit_is_a_value_error(freelunch, case, call, message):
    W, _, H, norms = case
    with pytest.raises(ValueError, match=message):
        call(freelunch, W, H, norms)


def test_scores_that_are_no_numbers_are_an_error(freelunch):
    with pytest.raises(freelunch.Error) as refused:
        freelunch.select_mask(torch.full((2, 4), float("nan")), 0.5)
    assert refused.value.kind == "numerical"
