#include "model/activation_store.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <future>
#include <numeric>
#include <string>
#include <utility>

#include "base/error.h"

namespace freelunch::model {

/// The windows in an unnamed file, one after the other, and what is being read ahead.
struct ActivationStore::File {
  struct Ahead {
    std::vector<int64_t> windows;
    at::Tensor values;
    std::future<void> done;
  };

  File(const std::filesystem::path& folder, const std::vector<int64_t>& shape, at::ScalarType kept_as)
      : shape(shape), kept(kept_as) {
    window_bytes = shape[1] * shape[2] * static_cast<int64_t>(at::elementSize(kept));
    std::string path = (folder / "activations-XXXXXX").string();
    descriptor = ::mkostemp(path.data(), O_CLOEXEC);
    if (descriptor < 0)
      fail(ErrorKind::kIo, "cannot keep activations in '{}': {}", folder.string(), system_error_text());
    ::unlink(path.c_str());
    // Reserved now: a disk that is too small should say so before hours of work. Not every file system can.
    const int64_t bytes = shape[0] * window_bytes;
    if (bytes > 0 && ::fallocate(descriptor, 0, 0, bytes) != 0 && errno != EOPNOTSUPP) {
      const std::string why = system_error_text();
      ::close(descriptor);
      fail(ErrorKind::kIo, "cannot keep {:.2f} GB of activations in '{}': {}",
           static_cast<double>(bytes) * 1e-9, folder.string(), why);
    }
  }
  ~File() {
    if (ahead.done.valid()) ahead.done.wait();
    ::close(descriptor);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  at::Tensor room(int64_t n) const {
    return at::empty({n, shape[1], shape[2]}, at::TensorOptions().dtype(kept));
  }

  void pull(const std::vector<int64_t>& windows, char* out) const {
    for (const int64_t window : windows) {
      for (int64_t done = 0; done < window_bytes;) {
        const ssize_t n = ::pread(descriptor, out + done, static_cast<size_t>(window_bytes - done),
                                  window * window_bytes + done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
          fail(ErrorKind::kIo, "cannot read the file of activations: {}",
               n == 0 ? "window was never written" : system_error_text());
        done += n;
      }
      out += window_bytes;
    }
  }

  void push(int64_t begin, const at::Tensor& values) const {
    const auto bytes = static_cast<int64_t>(values.nbytes());
    const auto* data = static_cast<const char*>(values.const_data_ptr());
    for (int64_t done = 0; done < bytes;) {
      const ssize_t n =
          ::pwrite(descriptor, data + done, static_cast<size_t>(bytes - done), begin * window_bytes + done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) fail(ErrorKind::kIo, "cannot write the file of activations: {}", system_error_text());
      done += n;
    }
  }

  void start(const std::vector<int64_t>& windows) {
    forget();
    if (windows.empty()) return;
    // The room is made here: a thread of its own would bring a heap of its own.
    ahead.values = room(static_cast<int64_t>(windows.size()));
    ahead.windows = windows;
    ahead.done = std::async(std::launch::async, [this, windows, out = ahead.values.mutable_data_ptr()] {
      pull(windows, static_cast<char*>(out));
    });
  }

  void forget() {
    if (ahead.done.valid()) ahead.done.wait();
    ahead = Ahead();
  }

  at::Tensor take(const std::vector<int64_t>& windows) {
    if (ahead.done.valid() && ahead.windows == windows) {
      Ahead found = std::exchange(ahead, Ahead());
      found.done.get();
      return found.values;
    }
    at::Tensor values = room(static_cast<int64_t>(windows.size()));
    pull(windows, static_cast<char*>(values.mutable_data_ptr()));
    return values;
  }

  std::vector<int64_t> shape;
  at::ScalarType kept;
  int64_t window_bytes = 0;
  int descriptor = -1;
  Ahead ahead;
};

namespace {

std::vector<int64_t> range(int64_t begin, int64_t n) {
  std::vector<int64_t> windows(static_cast<size_t>(std::max<int64_t>(0, n)));
  std::iota(windows.begin(), windows.end(), begin);
  return windows;
}

}  // namespace

at::ScalarType kept_dtype(const ActivationSettings& settings, at::ScalarType dtype) {
  return dtype == at::kFloat ? settings.dtype : dtype;
}

ActivationStore::ActivationStore(const ActivationSettings& settings, std::vector<int64_t> shape,
                                 at::ScalarType dtype, at::Device device)
    : shape_(std::move(shape)), dtype_(dtype), device_(device) {
  const at::ScalarType kept = kept_dtype(settings, dtype);
  if (settings.on_disk) {
    file_ = std::make_unique<File>(settings.folder, shape_, kept);
  } else {
    values_ = at::empty(shape_, at::TensorOptions().dtype(kept).device(device));
  }
}

ActivationStore::ActivationStore(at::Tensor values)
    : shape_(values.sizes().vec()),
      dtype_(values.scalar_type()),
      device_(values.device()),
      values_(std::move(values)) {}

ActivationStore::~ActivationStore() = default;
ActivationStore::ActivationStore(ActivationStore&&) noexcept = default;
ActivationStore& ActivationStore::operator=(ActivationStore&&) noexcept = default;

int64_t ActivationStore::windows() const { return shape_[0]; }
int64_t ActivationStore::length() const { return shape_[1]; }
int64_t ActivationStore::width() const { return shape_[2]; }
at::Device ActivationStore::device() const { return device_; }

at::Tensor ActivationStore::read(int64_t begin, int64_t n) const {
  if (!file_) return values_.narrow(0, begin, n).to(dtype_);
  const at::Tensor values = file_->take(range(begin, n));
  file_->start(range(begin + n, std::min(n, windows() - begin - n)));
  return values.to(device_, dtype_);
}

at::Tensor ActivationStore::read(std::span<const int64_t> windows) const {
  if (file_) return file_->take({windows.begin(), windows.end()}).to(device_, dtype_);
  const at::Tensor index = at::tensor(at::ArrayRef<int64_t>(windows.data(), windows.size()));
  return values_.index_select(0, index.to(device_)).to(dtype_);
}

void ActivationStore::prefetch(std::span<const int64_t> windows) const {
  if (file_) file_->start({windows.begin(), windows.end()});
}

void ActivationStore::write(int64_t begin, const at::Tensor& values) {
  if (!file_) {
    values_.narrow(0, begin, values.size(0)).copy_(values);
    return;
  }
  const int64_t end = begin + values.size(0);
  const auto& ahead = file_->ahead.windows;
  if (std::any_of(ahead.begin(), ahead.end(), [&](int64_t w) { return w >= begin && w < end; }))
    file_->forget();
  file_->push(begin, values.detach().to(at::kCPU, file_->kept).contiguous());
}

}  // namespace freelunch::model
