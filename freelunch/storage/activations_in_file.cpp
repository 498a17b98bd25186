#include <ATen/ATen.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <future>
#include <string>
#include <utility>

#include "freelunch/backend/backend.h"
#include "freelunch/base/error.h"
#include "freelunch/storage/offloaded_activations.h"

namespace freelunch::model {
namespace {

/// The windows that are read ahead.
struct Ahead {
  std::vector<int64_t> windows;
  at::Tensor values;
  std::future<void> done;
};

/// The windows in an unnamed file, one after the other.
class FileWindows final : public OffloadedActivations {
 public:
  FileWindows(const std::filesystem::path& folder, const std::vector<int64_t>& shape, at::ScalarType kept,
              at::Device device)
      : shape_(shape),
        kept_(kept),
        device_(device),
        window_bytes_(shape[1] * shape[2] * static_cast<int64_t>(at::elementSize(kept))) {
    std::string path = (folder / "activations-XXXXXX").string();
    descriptor_ = ::mkostemp(path.data(), O_CLOEXEC);
    if (descriptor_ < 0)
      fail(ErrorKind::kIo, "cannot keep activations in '{}': {}", folder.string(), system_error_text());
    ::unlink(path.c_str());
    // Reserved now, so that a disk that is too small fails before hours of work. Not every file system can.
    const int64_t bytes = shape[0] * window_bytes_;
    if (bytes > 0 && ::fallocate(descriptor_, 0, 0, bytes) != 0 && errno != EOPNOTSUPP) {
      const std::string why = system_error_text();
      ::close(descriptor_);
      fail(ErrorKind::kIo, "cannot keep {:.2f} GB of activations in '{}': {}",
           static_cast<double>(bytes) * 1e-9, folder.string(), why);
    }
  }
  ~FileWindows() override {
    if (ahead_.done.valid()) ahead_.done.wait();
    ::close(descriptor_);
  }
  FileWindows(const FileWindows&) = delete;
  FileWindows& operator=(const FileWindows&) = delete;

  at::Tensor take(const std::vector<int64_t>& windows) override {
    if (ahead_.done.valid() && ahead_.windows == windows) {
      Ahead found = std::exchange(ahead_, Ahead());
      found.done.get();
      return found.values.to(device_, /*non_blocking=*/true);
    }
    at::Tensor values = buffer(static_cast<int64_t>(windows.size()));
    pull(windows, static_cast<char*>(values.mutable_data_ptr()));
    return values.to(device_, /*non_blocking=*/true);
  }

  void start(const std::vector<int64_t>& windows) override {
    forget();
    if (windows.empty()) return;
    // Allocated here: a new thread would allocate from a heap of its own.
    ahead_.values = buffer(static_cast<int64_t>(windows.size()));
    ahead_.windows = windows;
    ahead_.done = std::async(std::launch::async, [this, windows, out = ahead_.values.mutable_data_ptr()] {
      pull(windows, static_cast<char*>(out));
    });
  }

  void forget() override {
    if (ahead_.done.valid()) ahead_.done.wait();
    ahead_ = Ahead();
  }

  const std::vector<int64_t>& ahead() const override { return ahead_.windows; }

  void put(int64_t begin, const at::Tensor& values) override {
    const at::Tensor ordered = values.to(at::kCPU, kept_).contiguous();
    const auto bytes = static_cast<int64_t>(ordered.nbytes());
    const auto* data = static_cast<const char*>(ordered.const_data_ptr());
    for (int64_t done = 0; done < bytes;) {
      const ssize_t n =
          ::pwrite(descriptor_, data + done, static_cast<size_t>(bytes - done), begin * window_bytes_ + done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) fail(ErrorKind::kIo, "cannot write the file of activations: {}", system_error_text());
      done += n;
    }
  }

 private:
  /// Pinned if the device can then copy asynchronously.
  at::Tensor buffer(int64_t n) const {
    return at::empty({n, shape_[1], shape_[2]},
                     at::TensorOptions().dtype(kept_).pinned_memory(backend::of(device_).pinned_memory()));
  }

  void pull(const std::vector<int64_t>& windows, char* out) const {
    for (const int64_t window : windows) {
      for (int64_t done = 0; done < window_bytes_;) {
        const ssize_t n = ::pread(descriptor_, out + done, static_cast<size_t>(window_bytes_ - done),
                                  window * window_bytes_ + done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
          fail(ErrorKind::kIo, "cannot read the file of activations: {}",
               n == 0 ? "window was never written" : system_error_text());
        done += n;
      }
      out += window_bytes_;
    }
  }

  std::vector<int64_t> shape_;
  at::ScalarType kept_;
  at::Device device_;
  int64_t window_bytes_;
  int descriptor_ = -1;
  Ahead ahead_;
};

}  // namespace

std::unique_ptr<OffloadedActivations> activations_in_file(const std::filesystem::path& folder,
                                                          const std::vector<int64_t>& shape,
                                                          at::ScalarType kept, at::Device device) {
  return std::make_unique<FileWindows>(folder, shape, kept, device);
}

}  // namespace freelunch::model
