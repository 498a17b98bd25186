#include "freelunch/backend/compute.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/cpu/Utils.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <charconv>

#include "freelunch/base/error.h"

namespace freelunch::backend {
namespace {

/// A device, ready to be asked what its memory holds.
at::Device initialised(at::DeviceIndex index) {
  at::globalContext().lazyInitDevice(at::kCUDA);
  return {at::kCUDA, index};
}

at::Device resolve_device(const std::string& text) {
  const bool cuda = at::hasCUDA() && at::globalContext().hasCUDA();
  if (text == "cpu" || (text == "auto" && !cuda)) return at::kCPU;
  if (text == "auto") return initialised(0);
  if (text.starts_with("cuda")) {
    int index = 0;
    const bool indexed = text.size() > 5 && text[4] == ':';
    const auto [end, error] =
        std::from_chars(text.data() + std::min<size_t>(5, text.size()), text.data() + text.size(), index);
    const bool parsed =
        text == "cuda" || (indexed && error == std::errc() && end == text.data() + text.size());
    if (!parsed)
      fail(ErrorKind::kInvalidArgument, "`device` '{}' is not understood; expected auto, cpu, cuda or cuda:N",
           text);
    if (!cuda)
      fail(ErrorKind::kInvalidArgument, "`device` '{}' was asked for, but this build or machine has no CUDA",
           text);
    const int devices = c10::impl::VirtualGuardImpl(at::kCUDA).deviceCount();
    if (index >= devices)
      fail(ErrorKind::kInvalidArgument, "`device` '{}' was asked for, but this machine has {} of them", text,
           devices);
    return initialised(static_cast<at::DeviceIndex>(index));
  }
  fail(ErrorKind::kInvalidArgument, "`device` '{}' is not understood; expected auto, cpu, cuda or cuda:N",
       text);
}

bool has_bf16(at::Device device) {
  if (device.is_cuda()) return true;
  const auto capabilities = at::cpu::get_cpu_capabilities();
  for (const char* name : {"avx512_bf16", "amx_bf16", "bf16"}) {
    const auto it = capabilities.find(name);
    if (it != capabilities.end() && it->second.isBool() && it->second.toBool()) return true;
  }
  return false;
}

}  // namespace

Compute resolve(const ComputeOptions& options) {
  if (options.threads < 0)
    fail(ErrorKind::kInvalidArgument, "`threads` is {}, expected 0 or more", options.threads);
  if (options.threads > 0) at::set_num_threads(static_cast<int>(options.threads));
  const at::Device device = resolve_device(options.device);
  if (options.compute == "fp32") return {.device = device, .dtype = at::kFloat};
  if (options.compute == "bf16") return {.device = device, .dtype = at::kBFloat16};
  if (options.compute != "auto") {
    fail(ErrorKind::kInvalidArgument, "`compute` '{}' is not known; expected auto, fp32 or bf16",
         options.compute);
  }
  return {.device = device, .dtype = has_bf16(device) ? at::kBFloat16 : at::kFloat};
}

}  // namespace freelunch::backend
