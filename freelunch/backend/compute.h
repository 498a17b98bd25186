#pragma once
#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace freelunch::backend {

/// Where and in which dtype matrix products run. Everything else is fp32.
struct Compute {
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;
};

/// Where computing happens, as the user says it.
struct ComputeOptions {
  std::string device = "auto";   ///< auto, cpu, cuda, cuda:i
  std::string compute = "auto";  ///< auto, fp32, bf16
  int64_t threads = 0;           ///< 0: as many as the machine has
};
/// Resolves `auto`: a CUDA device if there is one; bf16 where the device has it in hardware, else fp32. Sets
/// the number of threads. Throws InvalidArgument for names that are not known or devices that are not there.
Compute resolve(const ComputeOptions& options);

/// "bf16" or "fp32", as options and reports spell the dtypes of GEMMs and activations.
std::string_view dtype_name(at::ScalarType dtype);

}  // namespace freelunch::backend
