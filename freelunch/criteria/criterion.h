#pragma once
#include <ATen/core/TensorBody.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "freelunch/base/random.h"
#include "freelunch/sparsity/mask.h"
#include "freelunch/sparsity/pattern.h"

namespace freelunch::criteria {

/// What a criterion may read besides the weights.
struct CalibrationStats {
  /// (in) fp32: sqrt(sum_t X_tj^2) over the calibration tokens t. Defined if the criterion needs it.
  at::Tensor column_norms;
  /// (in, in) fp32: U of inverse_factor() (inverse_factor.h). Defined if the criterion needs the Gram matrix.
  at::Tensor inverse_factor;
  /// (out) fp32, positive: the relative weight of each output row's error; scores are multiplied by it.
  /// Undefined: all rows have the same weight. Changes a mask only if weights of different rows compete.
  at::Tensor row_weights;
  RandomStream* random = nullptr;  ///< the random stream of this matrix
};

/// A pruned matrix: the mask, and W (out, in) fp32, exactly zero where the mask removes.
struct Pruned {
  sparsity::Mask mask;
  at::Tensor W;
};

/// Which statistics of a matrix's inputs a criterion needs. Each value includes the ones before it.
enum class StatsNeeded { kNothing, kColumnNorms, kGram };

/// A pruning criterion. It has either `score`, and the weights with the smallest scores are removed, or
/// `prune`, which chooses the mask and moves the retained weights in one pass.
struct Criterion {
  std::string_view name;
  StatsNeeded needs = StatsNeeded::kNothing;
  sparsity::Group group = sparsity::Group::kRow;  ///< which weights compete unless the user says otherwise
  bool draws_random = false;                      ///< the mask depends on the seed
  bool has_scores = true;  ///< scores measure importance, so weights of the output rows can multiply them
  /// W (out, in) fp32 -> scores (out, in) fp32 on the same device.
  std::function<at::Tensor(const at::Tensor& W, const CalibrationStats& stats)> score = nullptr;
  /// W (out, in) fp32 -> mask and moved weights.
  Pruned (*prune)(const at::Tensor& W, const CalibrationStats& stats, const sparsity::Pattern& pattern,
                  sparsity::Group group) = nullptr;

  bool needs_inputs() const { return needs != StatsNeeded::kNothing; }
  bool moves_weights() const { return prune != nullptr; }
};

/// The list of criteria. To add one, write its file NAME.cpp in this folder and add its name here.
#define FREELUNCH_CRITERIA(X) X(magnitude) X(random) X(wanda) X(ria) X(sparsegpt)

#define FREELUNCH_DECLARE(name) const Criterion& name();
FREELUNCH_CRITERIA(FREELUNCH_DECLARE)
#undef FREELUNCH_DECLARE

/// The built-in criteria in the order of the list, then those of add_criterion().
std::vector<const Criterion*> all_criteria();
/// Makes a criterion of the caller known by its name, so that a plan can name it. `criterion` must outlive
/// every use; call this before the first run, not during one. Throws InvalidArgument for a name that is empty
/// or taken, or unless exactly one of `score` and `prune` is set. A resumed run compares names only: a
/// criterion whose formula changed needs another name.
void add_criterion(const Criterion& criterion);
/// "magnitude, random, ..."
std::string criterion_names();
/// Throws InvalidArgument listing the names.
const Criterion& criterion_named(std::string_view name);

/// Prunes W (out, in) fp32 by a criterion. Throws InvalidArgument if the shapes of W and the statistics
/// disagree or if a statistic is missing that the criterion needs.
Pruned prune(const Criterion& criterion, const at::Tensor& W, const CalibrationStats& stats,
             const sparsity::Pattern& pattern, sparsity::Group group);

}  // namespace freelunch::criteria
