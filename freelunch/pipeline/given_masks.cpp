#include "freelunch/pipeline/given_masks.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "freelunch/base/error.h"

namespace freelunch::pipeline {
namespace {

/// Whether two matrices hold the same numbers, read a few thousand rows at a time.
bool same_values(const model::LanguageModel& a, const model::ModelTensor& in_a, const model::LanguageModel& b,
                 const model::ModelTensor& in_b) {
  constexpr int64_t kRows = 4096;
  for (int64_t row = 0; row < in_a.shape[0]; row += kRows) {
    std::vector<int64_t> rows;
    for (int64_t i = row; i < std::min(row + kRows, in_a.shape[0]); ++i) rows.push_back(i);
    // stored in different dtypes, the same weights differ by a rounding
    if (!at::allclose(a.read_rows(in_a, rows), b.read_rows(in_b, rows), 1e-2, 1e-4)) return false;
  }
  return true;
}

}  // namespace

void check_same_model(const model::LanguageModel& pruned, const model::LanguageModel& dense,
                      const CompressPlan& plan, const std::vector<Stage>& stages) {
  const std::string names =
      fmt::format("'{}' and '{}'", plan.model.filename().string(), plan.dense.filename().string());
  const model::Config& p = pruned.config();
  const model::Config& d = dense.config();
  if (p.architecture != d.architecture || p.blocks != d.blocks || p.width != d.width ||
      p.vocabulary != d.vocabulary) {
    fail(ErrorKind::kInvalidArgument,
         "{} are not one model: {} with {} blocks of width {} and {} tokens, {} with {} of width {} and {}",
         names, p.architecture, p.blocks, p.width, p.vocabulary, d.architecture, d.blocks, d.width,
         d.vocabulary);
  }
  for (const model::ModelTensor& tensor : pruned.tensors()) {
    if (!tensor.role || tensor.block < 0) continue;
    const model::ModelTensor* other = dense.find(tensor.block, *tensor.role);
    if (other == nullptr || other->shape != tensor.shape) {
      fail(ErrorKind::kInvalidArgument, "{} are not one model: tensor '{}' differs in shape or is missing",
           names, tensor.name);
    }
  }
  const bool distils = plan.model_stage.loss == reconstruct::TokenLoss::kKl &&
                       std::any_of(stages.begin(), stages.end(), is_global);
  if (distils && !same_values(pruned, pruned.head(), dense, dense.head())) {
    fail(ErrorKind::kInvalidArgument,
         "{} have different heads, so their next-token distributions cannot be compared on one; set "
         "`model-loss` ce, or `repair` solve,sublayer",
         names);
  }
}

std::string take_given_masks(RunContext& run) {
  int64_t zeros = 0;
  int64_t elements = 0;
  for (const model::ModelTensor& tensor : run.model().tensors()) {
    if (!tensor.role || !model::is_prunable(*tensor.role)) continue;
    const at::Tensor W = run.model().read(tensor);
    const sparsity::Observed seen = sparsity::observe(W);
    run.scratch.put(model::mask_name(tensor.name), W.ne(0));
    run.report.tensors.push_back(
        {.name = tensor.name,
         .shape = tensor.shape,
         .zeros = seen.zeros,
         .expected_zeros = seen.zeros,
         .elements = seen.elements,
         .pattern =
             sparsity::to_string(seen.pattern ? sparsity::Pattern(*seen.pattern)
                                              : sparsity::Pattern(sparsity::Unstructured{seen.sparsity()}))});
    zeros += seen.zeros;
    elements += seen.elements;
  }
  const double fraction = static_cast<double>(zeros) / static_cast<double>(std::max<int64_t>(1, elements));
  if (fraction < 0.01) {
    fail(ErrorKind::kInvalidArgument,
         "'{}' has {:.3f} % zeros in its matrices: it was not pruned; use freelunch compress",
         run.plan.model.filename().string(), 100 * fraction);
  }
  return fmt::format("{:.2f} % zeros", 100 * fraction);
}

}  // namespace freelunch::pipeline
