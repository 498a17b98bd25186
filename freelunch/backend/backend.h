#pragma once
#include <ATen/core/TensorBody.h>

#include <cstdint>

namespace freelunch::backend {

/// What one device can do. Code that depends on the device asks this object and never compares device types,
/// so a new kind of device is a new row in backend.cpp. Cheap to make and to copy.
class Backend {
 public:
  /// The device is not initialised and need not exist.
  explicit Backend(at::Device device);

  at::Device device() const { return device_; }

  /// Matrix products of bf16 numbers run in hardware: `auto` then computes in bf16.
  bool bf16_in_hardware() const { return traits_->bf16_in_hardware; }
  /// gemm::gemm_bf16 runs on this device's tensors, and with it what is built on it: tiled attention, bf16
  /// Gram matrices, split Gram matrices.
  bool bf16_gemm() const { return traits_->bf16_gemm; }
  /// at::mm multiplies two bf16 matrices into an fp32 one without rounding in between.
  bool mixed_mm() const { return traits_->mixed_mm; }
  /// The loops of kernels/ run on this device's tensors of this dtype: fp32 and bf16 on the CPU.
  bool has_kernels(at::ScalarType dtype) const {
    return traits_->kernels && (dtype == at::kFloat || dtype == at::kBFloat16);
  }
  /// Matrix products run faster if both operands are contiguous along the summed dimension. Elsewhere a
  /// transposed operand costs nothing.
  bool gemm_copies_transposed() const { return traits_->gemm_copies_transposed; }
  /// The dtype in which long sums are accumulated: fp64 if the device has it, otherwise fp32.
  at::ScalarType sum_dtype() const { return traits_->sum_dtype; }

  /// The device has memory of its own, apart from the process's memory.
  bool own_memory() const { return traits_->own_memory; }
  /// Copies from and to pinned host memory run while the device computes.
  bool pinned_memory() const { return traits_->pinned_memory; }
  /// Bytes of the device's own memory that are free; 0 if it has none. Initialises the device.
  int64_t free_bytes() const;
  /// Most bytes that tensors took of the device's own memory since reset_peak_bytes(); 0 if it has none.
  int64_t peak_bytes() const;
  void reset_peak_bytes() const;
  /// Waits until the device has done everything it was asked for.
  void synchronize() const;

  struct Traits {
    bool bf16_in_hardware = false;
    bool bf16_gemm = false;
    bool kernels = false;
    bool mixed_mm = false;
    bool gemm_copies_transposed = false;
    bool own_memory = true;
    bool pinned_memory = false;
    at::ScalarType sum_dtype = at::kFloat;
  };

 private:
  at::Device device_;
  const Traits* traits_;
};

inline Backend of(at::Device device) { return Backend(device); }
inline Backend of(const at::Tensor& tensor) { return Backend(tensor.device()); }

/// The loops of kernels/ take this tensor as it is: fp32 or bf16, contiguous, on the CPU.
bool kernels_take(const at::Tensor& tensor);
/// The same for one dtype.
bool kernels_take(const at::Tensor& tensor, at::ScalarType dtype);

}  // namespace freelunch::backend
