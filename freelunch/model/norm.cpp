#include "model/norm.h"

#include <ATen/ATen.h>

#include "model/elementwise.h"

namespace freelunch::model {

at::Tensor Norm::operator()(const at::Tensor& x, at::ScalarType dtype) const {
  switch (kind) {
    case NormKind::kNone:
      return x.to(dtype);
    case NormKind::kRms:
      return rms_norm(x, weight, epsilon, dtype);
    case NormKind::kRmsPlusOne:
      return rms_norm(x, weight + 1, epsilon, dtype);
    case NormKind::kLayer:
      return at::layer_norm(x, weight.sizes(), weight, bias, epsilon).to(dtype);
  }
  return x;
}

}  // namespace freelunch::model
