#pragma once
#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace freelunch::backend {

/// The device that computes and the dtype of its matrix products. Everything else is computed in fp32.
struct Compute {
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;
};

/// Device and dtype as a user writes them.
struct ComputeOptions {
  std::string device = "auto";   ///< auto, cpu, cuda, cuda:i
  std::string compute = "auto";  ///< auto, fp32, bf16
  int64_t threads = 0;           ///< CPU threads; 0: one for each core
};
/// Resolves `auto`: the first CUDA device, otherwise the CPU; bf16 if the device has it in hardware,
/// otherwise fp32. Sets the number of CPU threads of the process. Throws InvalidArgument for unknown names
/// and for devices that do not exist.
Compute resolve(const ComputeOptions& options);

/// "bf16" or "fp32", as options and reports spell the dtypes of GEMMs and activations.
std::string_view dtype_name(at::ScalarType dtype);

}  // namespace freelunch::backend
