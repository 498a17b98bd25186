#pragma once
#include <ATen/core/TensorBody.h>

#include <optional>
#include <string>
#include <vector>

#include "freelunch/sparsity/pattern.h"

namespace freelunch::sparsity {

/// Which weights of a matrix stay: bool, (out, in), true = kept.
struct Mask {
  at::Tensor retained;
};

/// Keeps the largest scores (out, in) that the pattern allows. Unstructured removes exactly
/// floor(zero_fraction * group size) of each group. Ties are removed from the lower index on, so masks are
/// reproducible. Throws InvalidArgument if the width does not fit, Numerical if a score is NaN.
Mask select_largest(const at::Tensor& scores, const Pattern& pattern, Group group);

/// scores (groups, size) -> bool: all but the `remove` smallest of each group. Ties as above.
at::Tensor keep_largest(const at::Tensor& scores, int64_t remove);
/// How many of `size` weights a fraction of zeros removes: floor, safe against binary rounding.
int64_t removed_of(double zero_fraction, int64_t size);

/// How many zeros `select_largest` leaves in a matrix of that shape.
int64_t expected_zeros(int64_t rows, int64_t columns, const Pattern& pattern, Group group);

/// Throws Numerical naming the tensor if W (out, in) is non-zero where the mask removes.
void check_respected(const at::Tensor& W, const Mask& mask, const std::string& tensor);

/// What can be seen in a matrix: its zeros, and the tightest N:M pattern that all its rows obey, of 2:4, 1:4,
/// 4:8, 2:8 and 1:2.
struct Observed {
  int64_t zeros = 0;
  int64_t elements = 0;
  std::optional<NofM> pattern;
  double sparsity() const {
    return elements == 0 ? 0 : static_cast<double>(zeros) / static_cast<double>(elements);
  }
};
Observed observe(const at::Tensor& W);

/// The same of a matrix that comes some rows at a time.
class Observer {
 public:
  Observer();
  /// (rows, in); of anything but a matrix any shape: it has no pattern.
  void add(const at::Tensor& W);
  Observed result() const;

 private:
  int64_t zeros_ = 0;
  int64_t elements_ = 0;
  std::vector<NofM> obeyed_;  ///< by all rows so far, the sparsest first
};

}  // namespace freelunch::sparsity
