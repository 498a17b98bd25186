#include "blocks.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "freelunch/base/error.h"
#include "freelunch/checkpoint/tensor_info.h"
#include "freelunch/closed_form/closed_form.h"
#include "freelunch/criteria/criterion.h"
#include "freelunch/criteria/inverse_factor.h"
#include "freelunch/sparsity/mask.h"

namespace freelunch::python {
namespace {

using criteria::CalibrationStats;

/// Refuses a tensor that does not have this dtype, or not this shape.
void check(const at::Tensor& tensor, const char* name, at::ScalarType dtype, at::IntArrayRef shape) {
  if (tensor.scalar_type() != dtype)
    fail(ErrorKind::kInvalidArgument, "{} is {}, expected {}", name, c10::toString(tensor.scalar_type()),
         c10::toString(dtype));
  if (tensor.sizes() != shape)
    fail(ErrorKind::kInvalidArgument, "{} has the shape {}, expected {}", name,
         checkpoint::shape_text(tensor.sizes()), checkpoint::shape_text(shape));
}

/// W: any matrix in fp32.
void check_matrix(const at::Tensor& W, const char* name) {
  if (W.dim() != 2)
    fail(ErrorKind::kInvalidArgument, "{} has {} dimensions, expected 2 (out, in)", name, W.dim());
  check(W, name, at::kFloat, W.sizes());
}

void check_device(const at::Tensor& tensor, const char* name, const at::Tensor& W) {
  if (tensor.device() != W.device())
    fail(ErrorKind::kInvalidArgument, "{} is on {}, but W on {}", name, tensor.device().str(),
         W.device().str());
}

sparsity::Group group_of(const std::string& name) {
  return parse_named(sparsity::kGroupNames, name, "group");
}

}  // namespace

at::Tensor select_mask(const at::Tensor& scores, const std::string& pattern, const std::string& group) {
  const at::NoGradGuard no_grad;
  check_matrix(scores, "scores");
  return sparsity::select_largest(scores.contiguous(), sparsity::parse_pattern(pattern), group_of(group))
      .retained;
}

at::Tensor wanda(const at::Tensor& W, const at::Tensor& norms, const std::string& pattern,
                 const std::string& group) {
  const at::NoGradGuard no_grad;
  check_matrix(W, "W");
  check(norms, "norms", at::kFloat, {W.size(1)});
  check_device(norms, "norms", W);
  const CalibrationStats stats{.column_norms = norms};
  return criteria::prune(criteria::wanda(), W.contiguous(), stats, sparsity::parse_pattern(pattern),
                         group_of(group))
      .mask.retained;
}

std::pair<at::Tensor, at::Tensor> sparsegpt(const at::Tensor& W, const at::Tensor& H,
                                            const std::string& pattern, const std::string& group,
                                            double damping) {
  const at::NoGradGuard no_grad;
  check_matrix(W, "W");
  check(H, "H", at::kFloat, {W.size(1), W.size(1)});
  check_device(H, "H", W);
  const CalibrationStats stats{.column_norms = H.diagonal().clamp_min(0).sqrt(),
                               .inverse_factor = criteria::inverse_factor(H, damping).U};
  criteria::Pruned pruned = criteria::prune(criteria::sparsegpt(), W.contiguous(), stats,
                                            sparsity::parse_pattern(pattern), group_of(group));
  return {std::move(pruned.W), std::move(pruned.mask.retained)};
}

at::Tensor closed_form(const at::Tensor& W, const at::Tensor& mask, const at::Tensor& H, const at::Tensor& C,
                       double lambda, double blend, int64_t iterations) {
  const at::NoGradGuard no_grad;
  check_matrix(W, "W");
  check(mask, "mask", at::kBool, W.sizes());
  check_device(mask, "mask", W);
  for (const auto& [tensor, name] : {std::pair(H, "H"), std::pair(C, "C")}) {
    if (!tensor.defined()) continue;
    check(tensor, name, at::kFloat, {W.size(1), W.size(1)});
    check_device(tensor, name, W);
  }
  using reconstruct::Moments;
  // D is read by errors only, which nothing here asks for
  const Moments moments(H.contiguous(), Moments::Form::kFp32, C.defined() ? C.contiguous() : C,
                        C.defined() ? H : at::Tensor());
  return reconstruct::solve(W.contiguous(), {mask.contiguous()}, moments,
                            {.lambda = lambda, .blend = blend, .iterations = iterations});
}

}  // namespace freelunch::python
