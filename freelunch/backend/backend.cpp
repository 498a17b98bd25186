#include "freelunch/backend/backend.h"

#include <ATen/cpu/Utils.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "freelunch/gemm/gemm_bf16.h"

namespace freelunch::backend {
namespace {

/// ARM CPUs with bf16 instructions. LibTorch uses them; gemm/ does not.
bool arm_has_bf16() {
  const auto capabilities = at::cpu::get_cpu_capabilities();
  const auto it = capabilities.find("bf16");
  return it != capabilities.end() && it->second.isBool() && it->second.toBool();
}

const Backend::Traits& cpu() {
  static const Backend::Traits traits{.bf16_in_hardware = gemm::has_bf16_gemm() || arm_has_bf16(),
                                      .bf16_gemm = gemm::has_bf16_gemm(),
                                      .kernels = true,
                                      .gemm_copies_transposed = true,
                                      .own_memory = false,
                                      .sum_dtype = at::kDouble};
  return traits;
}

constexpr Backend::Traits kCuda{
    .bf16_in_hardware = true, .mixed_mm = true, .pinned_memory = true, .sum_dtype = at::kDouble};
constexpr Backend::Traits kOther{};  // assumes nothing that could fail

const Backend::Traits& traits_of(at::DeviceType type) {
  switch (type) {
    case at::kCPU:
      return cpu();
    case at::kCUDA:
      return kCuda;
    default:
      return kOther;
  }
}

}  // namespace

Backend::Backend(at::Device device) : device_(device), traits_(&traits_of(device.type())) {}

int64_t Backend::free_bytes() const {
  if (!own_memory()) return 0;
  return static_cast<int64_t>(at::getDeviceAllocator(device_.type())->getMemoryInfo(device_.index()).first);
}

int64_t Backend::peak_bytes() const {
  if (!own_memory()) return 0;
  const auto stats = at::getDeviceAllocator(device_.type())->getDeviceStats(device_.index());
  return stats.allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
}

void Backend::reset_peak_bytes() const {
  if (own_memory()) at::getDeviceAllocator(device_.type())->resetPeakStats(device_.index());
}

void Backend::synchronize() const {
  if (own_memory()) c10::impl::VirtualGuardImpl(device_.type()).synchronizeDevice(device_.index());
}

bool kernels_take(const at::Tensor& tensor) { return kernels_take(tensor, tensor.scalar_type()); }

bool kernels_take(const at::Tensor& tensor, at::ScalarType dtype) {
  return tensor.scalar_type() == dtype && of(tensor).has_kernels(dtype) && tensor.is_contiguous();
}

}  // namespace freelunch::backend
