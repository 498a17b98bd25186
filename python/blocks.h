#pragma once
#include <ATen/core/TensorBody.h>

#include <string>
#include <utility>

namespace freelunch::python {

// The building blocks: the library's functions on tensors of the caller, which are checked and not copied.

at::Tensor select_mask(const at::Tensor& scores, const std::string& pattern, const std::string& group);
at::Tensor wanda(const at::Tensor& W, const at::Tensor& norms, const std::string& pattern,
                 const std::string& group);
std::pair<at::Tensor, at::Tensor> sparsegpt(const at::Tensor& W, const at::Tensor& H,
                                            const std::string& pattern, const std::string& group,
                                            double damping);
at::Tensor closed_form(const at::Tensor& W, const at::Tensor& mask, const at::Tensor& H, const at::Tensor& C,
                       double lambda, double blend, int64_t iterations);

}  // namespace freelunch::python
