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
  kAuto,  ///< not decided yet: the planner takes the first of the others that has room; a store takes kMemory
  kMemory,  ///< tensors on the compute device
  kHost,    ///< pinned host memory next to a GPU; on a CPU the same as kMemory
  kDisk     ///< a file
};

/// Where and how the activations of a run are kept.
struct ActivationSettings {
  ActivationPlacement placement = ActivationPlacement::kMemory;
  std::filesystem::path folder;       ///< of the files, where they are on disk
  at::ScalarType dtype = at::kFloat;  ///< kFloat, or kBFloat16: half the bytes, values rounded when written
};

/// Activations of all windows, (windows, l, width): tensors on the device, or in a home outside it, from
/// which the next windows come while the caller computes on the last ones. One caller at a time.
class ActivationStore {
 public:
  /// Values go in and come out in `dtype`, fp32 or a narrower float, on `device`. Throws Io where the disk
  /// has no room for all of it.
  ActivationStore(const ActivationSettings& settings, std::vector<int64_t> shape, at::ScalarType dtype,
                  at::Device device);
  /// On their device, holding `values` (windows, l, width), which is shared and not copied.
  explicit ActivationStore(at::Tensor values);
  ~ActivationStore();
  ActivationStore(ActivationStore&&) noexcept;
  ActivationStore& operator=(ActivationStore&&) noexcept;

  int64_t windows() const;
  int64_t length() const;
  int64_t width() const;
  at::Device device() const;

  /// Windows [begin, begin + n), (n, l, width). May be a view of the store: not to be changed. From
  /// outside the device the n windows after them are read ahead.
  at::Tensor read(int64_t begin, int64_t n) const;
  /// The given windows, in that order.
  at::Tensor read(std::span<const int64_t> windows) const;
  /// Starts to read the windows that the next read() will ask for. Does nothing for tensors on the device.
  void prefetch(std::span<const int64_t> windows) const;
  /// Puts values (n, l, width) in the place of windows [begin, begin + n).
  void write(int64_t begin, const at::Tensor& values);

 private:
  std::vector<int64_t> shape_;
  at::ScalarType dtype_;
  at::Device device_;
  at::Tensor values_;                              // on the device
  std::unique_ptr<OffloadedActivations> outside_;  // or not
};

/// The dtype that a store of such settings keeps values of `dtype` in.
at::ScalarType kept_dtype(const ActivationSettings& settings, at::ScalarType dtype);

}  // namespace freelunch::model
