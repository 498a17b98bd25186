#pragma once
#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "freelunch/storage/offloaded_activations.h"

namespace freelunch::model {

/// Where activations are kept between stages.
enum class ActivationPlacement {
  kAuto,    ///< the planner takes the first of the others that fits; a store treats it as kMemory
  kMemory,  ///< tensors on the compute device
  kHost,    ///< pinned host memory; as kMemory on a device that cannot copy from it
  kDisk     ///< a file
};

/// Where and in which dtype the activations of a run are kept.
struct ActivationSettings {
  ActivationPlacement placement = ActivationPlacement::kMemory;
  std::filesystem::path folder;       ///< of the file, for kDisk
  at::ScalarType dtype = at::kFloat;  ///< kFloat, or kBFloat16: half the bytes, fp32 values are rounded
};

/// Activations of all windows, (windows, l, width). They are on the device, or offloaded: then the next
/// windows are read while the caller computes. Not thread-safe.
class ActivationStore {
 public:
  /// Values are written and read in `dtype`, fp32 or a narrower float, on `device`. Throws Io if the disk has
  /// no space for all of them.
  ActivationStore(const ActivationSettings& settings, std::vector<int64_t> shape, at::ScalarType dtype,
                  at::Device device);
  /// Holds `values` (windows, l, width) on their device. The tensor is shared, not copied.
  explicit ActivationStore(at::Tensor values);
  ~ActivationStore();
  ActivationStore(ActivationStore&&) noexcept;
  ActivationStore& operator=(ActivationStore&&) noexcept;

  int64_t windows() const;
  int64_t length() const;
  int64_t width() const;
  at::Device device() const;

  /// Windows [begin, begin + n), (n, l, width). May be a view of the store, so it must not be changed. If
  /// offloaded, starts to read the n windows after them.
  at::Tensor read(int64_t begin, int64_t n) const;
  /// The given windows in the given order, (n, l, width).
  at::Tensor read(std::span<const int64_t> windows) const;
  /// Starts to read the windows of the next read(). Does nothing for tensors on the device.
  void prefetch(std::span<const int64_t> windows) const;
  /// Replaces windows [begin, begin + n) by values (n, l, width).
  void write(int64_t begin, const at::Tensor& values);

 private:
  std::vector<int64_t> shape_;
  at::ScalarType dtype_;
  at::Device device_;
  at::Tensor values_;                                // either on the device
  std::unique_ptr<OffloadedActivations> offloaded_;  // or offloaded
};

/// The dtype in which a store with these settings keeps values of `dtype`.
at::ScalarType kept_dtype(const ActivationSettings& settings, at::ScalarType dtype);

}  // namespace freelunch::model
