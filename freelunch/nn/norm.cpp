#include "freelunch/nn/norm.h"

#include <ATen/ATen.h>

#include "freelunch/nn/elementwise.h"

namespace freelunch::model {

at::Tensor Norm::gain() const { return kind == NormKind::kRmsPlusOne ? weight + 1 : weight; }

at::Tensor Norm::operator()(const at::Tensor& x, at::ScalarType dtype) const {
  switch (kind) {
    case NormKind::kNone:
      return x.to(dtype);
    case NormKind::kRms:
    case NormKind::kRmsPlusOne:
      return rms_norm(x, gain(), epsilon, dtype);
    case NormKind::kLayer:
      return at::layer_norm(x, weight.sizes(), weight, bias, epsilon).to(dtype);
  }
  return x;
}

}  // namespace freelunch::model
