#include "reconstruct/row_solver.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "kernels/conjugate_gradients.h"
#include "kernels/parallel.h"
#include "products/bf16_product.h"

namespace freelunch::reconstruct {
namespace {

using kernels::Bf16;

constexpr int64_t kRows = 48;  // the workspace of 48 rows of 1,536 is about 1.5 MB

/// What a block of rows is worked on with.
struct Workspace {
  Workspace(int64_t rows, const SplitGram& H)
      : residual(static_cast<size_t>(rows * H.size())),
        image(residual.size()),
        direction(static_cast<size_t>(rows * H.stride())),
        low(direction.size()),
        rz(static_cast<size_t>(rows)),
        goal(static_cast<size_t>(rows)) {}
  std::vector<float> residual, image;
  std::vector<Bf16> direction, low;  // low: of the first error alone, which is not rounded
  std::vector<double> rz, goal;
};

struct Rows {
  int64_t count;
  const float *dense, *extra, *inverse_diagonal;
  const bool* kept;
  float* w;
};

void solve_block(const SplitGram& H, const RowProblem& problem, const Rows& rows) {
  const int64_t n = H.size();
  Workspace work(rows.count, H);
  const auto row = [&](int64_t r) {
    return kernels::GradientRow{.kept = rows.kept + r * n,
                                .inverse_diagonal = rows.inverse_diagonal,
                                .shift = static_cast<float>(problem.shift),
                                .w = rows.w + r * n,
                                .residual = work.residual.data() + r * n,
                                .direction = work.direction.data() + r * H.stride()};
  };
  for (int64_t r = 0; r < rows.count; ++r) {
    float* error = work.residual.data() + r * n;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = r * n + i;
      rows.w[at] = rows.kept[at] ? rows.dense[at] : 0.0F;
      error[i] = rows.dense[at] - rows.w[at];
    }
    kernels::split_row(n, error, row(r).direction, work.low.data() + r * H.stride());
  }
  H.multiply(rows.count, work.direction.data(), work.low.data(), work.image.data());
  for (int64_t r = 0; r < rows.count; ++r) {
    const float* extra = rows.extra == nullptr ? nullptr : rows.extra + r * n;
    const auto at = static_cast<size_t>(r);
    work.rz[at] = kernels::begin_row(n, row(r), rows.dense + r * n, work.image.data() + r * n, extra);
    work.goal[at] = work.rz[at] * problem.tolerance * problem.tolerance;
  }
  for (int64_t i = 0; i < problem.iterations; ++i) {
    H.multiply(rows.count, work.direction.data(), nullptr, work.image.data());
    bool done = true;
    for (int64_t r = 0; r < rows.count; ++r) {
      const auto at = static_cast<size_t>(r);
      work.rz[at] = kernels::advance_row(n, row(r), work.image.data() + r * n, work.rz[at]);
      done = done && work.rz[at] <= work.goal[at];
    }
    if (done) break;
  }
}

}  // namespace

at::Tensor solve_rows(const SplitGram& H, const RowProblem& problem) {
  const int64_t n = H.size();
  const at::Tensor dense = problem.W_dense.contiguous();
  const at::Tensor kept = problem.kept.contiguous();
  const at::Tensor extra = problem.extra.defined() ? problem.extra.contiguous() : at::Tensor();
  const at::Tensor inverse = problem.diagonal.reciprocal().contiguous();
  at::Tensor W = at::empty_like(dense);
  const float* from = dense.const_data_ptr<float>();
  const float* more = extra.defined() ? extra.const_data_ptr<float>() : nullptr;
  const float* inverse_diagonal = inverse.const_data_ptr<float>();
  const bool* support = kept.const_data_ptr<bool>();
  float* to = W.mutable_data_ptr<float>();
  kernels::parallel_for((W.size(0) + kRows - 1) / kRows, [&](int64_t block) {
    const int64_t begin = block * kRows;
    solve_block(H, problem,
                {.count = std::min(kRows, W.size(0) - begin),
                 .dense = from + begin * n,
                 .extra = more == nullptr ? nullptr : more + begin * n,
                 .inverse_diagonal = inverse_diagonal,
                 .kept = support + begin * n,
                 .w = to + begin * n});
    products::end_bf16_products();
  });
  return W;
}

}  // namespace freelunch::reconstruct
