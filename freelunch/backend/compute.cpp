#include "freelunch/backend/compute.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <charconv>
#include <string_view>

#include "freelunch/backend/backend.h"
#include "freelunch/base/error.h"

namespace freelunch::backend {
namespace {

/// A kind of device other than the CPU.
struct DeviceKind {
  std::string_view name;  ///< as in "name" or "name:index"
  at::DeviceType type;
  bool (*present)();  ///< LibTorch has the kind and this machine has a device of it
};

/// In the order in which `auto` tries them.
constexpr DeviceKind kKinds[] = {
    {.name = "cuda", .type = at::kCUDA, .present = [] { return at::hasCUDA(); }},
};

[[noreturn]] void refuse(const std::string& text) {
  fail(ErrorKind::kInvalidArgument, "`device` '{}' is not understood; expected auto, cpu, cuda or cuda:N",
       text);
}

/// A device that can be asked for its memory.
at::Device initialised(const DeviceKind& kind, at::DeviceIndex index) {
  at::globalContext().lazyInitDevice(kind.type);
  return {kind.type, index};
}

/// The index in "cuda:1"; 0 for "cuda".
int index_of(const std::string& text, const DeviceKind& kind) {
  if (text == kind.name) return 0;
  int index = 0;
  const char* end = text.data() + text.size();
  const char* begin = text.data() + kind.name.size() + 1;
  const bool has_index = text.size() > kind.name.size() + 1 && text[kind.name.size()] == ':';
  if (!has_index) refuse(text);
  const auto [stopped, error] = std::from_chars(begin, end, index);
  if (error != std::errc() || stopped != end) refuse(text);
  return index;
}

at::Device resolve_device(const std::string& text) {
  if (text == "cpu") return at::kCPU;
  for (const DeviceKind& kind : kKinds) {
    if (text == "auto" && kind.present()) return initialised(kind, 0);
    if (!text.starts_with(kind.name)) continue;
    const int index = index_of(text, kind);
    if (!kind.present())
      fail(ErrorKind::kInvalidArgument, "`device` '{}' was asked for, but this build or machine has none",
           text);
    const int devices = c10::impl::VirtualGuardImpl(kind.type).deviceCount();
    if (index < 0 || index >= devices)
      fail(ErrorKind::kInvalidArgument, "`device` '{}' was asked for, but this machine has {} of this kind",
           text, devices);
    return initialised(kind, static_cast<at::DeviceIndex>(index));
  }
  if (text == "auto") return at::kCPU;
  refuse(text);
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
  return {.device = device, .dtype = of(device).bf16_in_hardware() ? at::kBFloat16 : at::kFloat};
}

std::string_view dtype_name(at::ScalarType dtype) { return dtype == at::kBFloat16 ? "bf16" : "fp32"; }

}  // namespace freelunch::backend
