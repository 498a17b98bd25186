#pragma once
#include <ATen/core/TensorBody.h>

#include <string>
#include <string_view>
#include <vector>

#include "freelunch/base/random.h"
#include "freelunch/sparsity/mask.h"
#include "freelunch/sparsity/pattern.h"

namespace freelunch::criteria {

/// What a criterion may look at besides the weights.
struct CalibrationStats {
  at::Tensor column_norms;    ///< (in) fp32: sqrt(sum_t X_tj^2); undefined unless the criterion needs it
  at::Tensor inverse_factor;  ///< (in, in) fp32, of inverse_factor(); undefined unless needed
  /// (out) fp32, positive: what an error of each output is worth beside those of the others; scores are
  /// multiplied by it. Undefined: all alike. Changes a mask only where weights of different rows compete.
  at::Tensor row_weights;
  RandomStream* random = nullptr;  ///< the stream of this matrix
};

/// What pruning makes of a matrix: the mask, and W (out, in) fp32, exactly zero outside it.
struct Pruned {
  sparsity::Mask mask;
  at::Tensor W;
};

/// What a criterion needs to know of a matrix's inputs.
enum class StatsNeeded { kNothing, kColumnNorms, kGram };

/// A pruning criterion: a score for each weight, the smallest of which go; or, where choosing and repairing
/// are one sweep, a function of its own.
struct Criterion {
  std::string_view name;
  StatsNeeded needs = StatsNeeded::kNothing;
  sparsity::Group group = sparsity::Group::kRow;  ///< what competes unless the user says otherwise
  bool draws_random = false;                      ///< the mask depends on the seed
  bool has_scores =
      true;  ///< weights are ranked by importance, so that importances of outputs can weigh them
  /// W (out, in) fp32 -> scores (out, in) fp32 on the same device.
  at::Tensor (*score)(const at::Tensor& W, const CalibrationStats& stats) = nullptr;
  /// Instead of a score: chooses and moves the kept weights as well.
  Pruned (*prune)(const at::Tensor& W, const CalibrationStats& stats, const sparsity::Pattern& pattern,
                  sparsity::Group group) = nullptr;

  bool needs_inputs() const { return needs != StatsNeeded::kNothing; }
  bool moves_weights() const { return prune != nullptr; }
};

const Criterion& magnitude();
const Criterion& random();
const Criterion& wanda();
const Criterion& ria();
const Criterion& sparsegpt();

/// The built-in criteria, then those of add_criterion.
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

/// Prunes W (out, in) by a criterion. Throws InvalidArgument if shapes disagree.
Pruned prune(const Criterion& criterion, const at::Tensor& W, const CalibrationStats& stats,
             const sparsity::Pattern& pattern, sparsity::Group group);

/// The upper Cholesky factor U of (H + lambda I)^-1 = U^T U, fp32, from a Gram matrix H (in, in) in fp64.
/// lambda starts at `damping` * mean diag H and is raised tenfold, at most five times, where H + lambda I
/// cannot be factorised; `used` is the multiple that worked. Throws Numerical if none did.
struct InverseFactor {
  at::Tensor U;
  double used = 0;
};
InverseFactor inverse_factor(const at::Tensor& H, double damping = 0.01);

}  // namespace freelunch::criteria
