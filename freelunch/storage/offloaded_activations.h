#pragma once
#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

namespace freelunch::model {

/// Windows of activations that are kept outside the compute device's memory.
class OffloadedActivations {
 public:
  OffloadedActivations() = default;
  virtual ~OffloadedActivations() = default;
  OffloadedActivations(const OffloadedActivations&) = delete;
  OffloadedActivations& operator=(const OffloadedActivations&) = delete;

  /// The given windows in the given order, (n, l, width), on the device, in the dtype in which they are kept.
  virtual at::Tensor take(const std::vector<int64_t>& windows) = 0;
  /// Starts to read the windows of the next take().
  virtual void start(const std::vector<int64_t>& windows) = 0;
  /// Discards the windows that start() read.
  virtual void forget() = 0;
  /// The windows that start() reads or has read and take() has not returned.
  virtual const std::vector<int64_t>& ahead() const = 0;
  /// Replaces windows [begin, begin + n) by values (n, l, width). None of them may be in ahead().
  virtual void put(int64_t begin, const at::Tensor& values) = 0;
};

/// Keeps windows (windows, l, width) in a file in `folder`, one thread reads ahead of the caller. Uses pread
/// and pwrite, not a memory map, so the pages count for no process and the system may drop them. The file is
/// unlinked at once, so nothing is left behind however the process ends. Throws Io if the disk has no space
/// for all windows.
std::unique_ptr<OffloadedActivations> activations_in_file(const std::filesystem::path& folder,
                                                          const std::vector<int64_t>& shape,
                                                          at::ScalarType kept, at::Device device);

/// Keeps windows in pinned host memory. A stream of its own copies them to and from the device while the
/// caller's stream computes. Only for a device with Backend::pinned_memory().
std::unique_ptr<OffloadedActivations> activations_in_pinned_memory(const std::vector<int64_t>& shape,
                                                                   at::ScalarType kept, at::Device device);

}  // namespace freelunch::model
