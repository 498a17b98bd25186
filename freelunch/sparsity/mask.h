#pragma once
#include <ATen/core/TensorBody.h>

#include <optional>
#include <string>
#include <vector>

#include "freelunch/sparsity/pattern.h"

namespace freelunch::sparsity {

/// The mask of a matrix.
struct Mask {
  at::Tensor retained;  ///< (out, in) bool: false = removed
};

/// The mask that retains the largest scores (out, in) that the pattern allows. Unstructured removes exactly
/// floor(zero_fraction * group size) weights of each group. Of equal scores the one with the lower index is
/// removed first, so masks are reproducible. Throws InvalidArgument if the width does not fit the pattern,
/// Numerical if a score is NaN.
Mask select_largest(const at::Tensor& scores, const Pattern& pattern, Group group);

/// scores (groups, size) -> bool (groups, size): false for the `remove` smallest of each group. Ties as
/// above.
at::Tensor keep_largest(const at::Tensor& scores, int64_t remove);
/// floor(zero_fraction * size), safe against binary rounding: the number of weights removed.
int64_t removed_of(double zero_fraction, int64_t size);

/// The number of weights that select_largest() removes from a matrix of this shape.
int64_t expected_zeros(int64_t rows, int64_t columns, const Pattern& pattern, Group group);

/// Throws Numerical naming the tensor if W (out, in) is not zero where the mask removes.
void check_respected(const at::Tensor& W, const Mask& mask, const std::string& tensor);

/// The zeros of a matrix, and the sparsest of the patterns 1:4, 2:8, 1:2, 2:4 and 4:8 that all its rows obey,
/// if any.
struct Observed {
  int64_t zeros = 0;
  int64_t elements = 0;
  std::optional<NofM> pattern;
  double sparsity() const {
    return elements == 0 ? 0 : static_cast<double>(zeros) / static_cast<double>(elements);
  }
};
Observed observe(const at::Tensor& W);

/// The same for a matrix that arrives some rows at a time.
class Observer {
 public:
  Observer();
  /// W (rows, in). A tensor of another rank may be given too; it has no pattern.
  void add(const at::Tensor& W);
  Observed result() const;

 private:
  int64_t zeros_ = 0;
  int64_t elements_ = 0;
  std::vector<NofM> obeyed_;  ///< the patterns that all rows so far obey, the sparsest first
};

}  // namespace freelunch::sparsity
