#pragma once
#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

namespace freelunch::model {

/// Windows of activations that are kept somewhere else than where they are computed on.
class OffloadedActivations {
 public:
  OffloadedActivations() = default;
  virtual ~OffloadedActivations() = default;
  OffloadedActivations(const OffloadedActivations&) = delete;
  OffloadedActivations& operator=(const OffloadedActivations&) = delete;

  /// The given windows in that order, (n, l, width), on the device in the dtype they are kept in.
  virtual at::Tensor take(const std::vector<int64_t>& windows) = 0;
  /// Starts to bring the windows that the next take() is expected to ask for.
  virtual void start(const std::vector<int64_t>& windows) = 0;
  /// Drops what start() brought.
  virtual void forget() = 0;
  /// Those that start() was asked for and take() has not had.
  virtual const std::vector<int64_t>& ahead() const = 0;
  /// Puts values (n, l, width) in the place of windows [begin, begin + n). None of them is being brought.
  virtual void put(int64_t begin, const at::Tensor& values) = 0;
};

/// In a file, read by one thread ahead of its caller. Reads and writes go past the address space (pread,
/// pwrite), so the file's pages are the system's to drop and count for no process. The file has no name from
/// the start: nothing is left behind however the process ends. Throws Io where the disk has no room for all
/// of shape (windows, l, width).
std::unique_ptr<OffloadedActivations> windows_in_file(const std::filesystem::path& folder,
                                                      const std::vector<int64_t>& shape, at::ScalarType kept,
                                                      at::Device device);

/// In pinned memory of the machine, copied to and from the device by a stream of their own while the caller's
/// computes.
std::unique_ptr<OffloadedActivations> windows_in_pinned_memory(const std::vector<int64_t>& shape,
                                                               at::ScalarType kept, at::Device device);

}  // namespace freelunch::model
