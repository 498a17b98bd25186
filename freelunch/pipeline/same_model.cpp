#include "freelunch/pipeline/same_model.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "freelunch/base/error.h"
#include "freelunch/pipeline/stages/stage.h"

namespace freelunch::pipeline {
namespace {

/// Whether two matrices are equal up to the rounding of their stored dtypes, read 4096 rows at a time.
bool same_values(const model::LanguageModel& a, const model::ModelTensor& in_a, const model::LanguageModel& b,
                 const model::ModelTensor& in_b) {
  constexpr int64_t kRows = 4096;
  for (int64_t row = 0; row < in_a.shape[0]; row += kRows) {
    std::vector<int64_t> rows;
    for (int64_t i = row; i < std::min(row + kRows, in_a.shape[0]); ++i) rows.push_back(i);
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

}  // namespace freelunch::pipeline
