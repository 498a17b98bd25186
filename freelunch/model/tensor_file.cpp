#include "model/tensor_file.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"

namespace freelunch::model {

TensorFile::TensorFile(std::filesystem::path path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (descriptor_ < 0) fail(ErrorKind::kIo, "cannot create '{}': {}", path_.string(), system_error_text());
}

TensorFile::~TensorFile() {
  ::close(descriptor_);
  ::unlink(path_.c_str());
}

void TensorFile::put(const std::string& name, const at::Tensor& tensor) {
  const at::Tensor data = tensor.detach().to(at::kCPU).contiguous();
  const auto bytes = static_cast<int64_t>(data.nbytes());
  auto it = entries_.find(name);
  if (it == entries_.end()) {
    it = entries_.emplace(name, Entry{end_, data.scalar_type(), data.sizes().vec()}).first;
    end_ += bytes;
  } else if (it->second.dtype != data.scalar_type() || it->second.shape != data.sizes().vec()) {
    fail(ErrorKind::kInvalidArgument, "tensor '{}' changed its shape or dtype between stages", name);
  }
  int64_t written = 0;
  while (written < bytes) {
    const ssize_t n = ::pwrite(descriptor_, static_cast<const char*>(data.const_data_ptr()) + written,
                               static_cast<size_t>(bytes - written), it->second.offset + written);
    if (n <= 0) fail(ErrorKind::kIo, "cannot write '{}': {}", path_.string(), system_error_text());
    written += n;
  }
}

at::Tensor TensorFile::get(const std::string& name) const {
  const auto it = entries_.find(name);
  if (it == entries_.end()) fail(ErrorKind::kInvalidArgument, "no tensor '{}' was kept", name);
  at::Tensor data = at::empty(it->second.shape, at::TensorOptions().dtype(it->second.dtype));
  const auto bytes = static_cast<int64_t>(data.nbytes());
  int64_t done = 0;
  while (done < bytes) {
    const ssize_t n = ::pread(descriptor_, static_cast<char*>(data.mutable_data_ptr()) + done,
                              static_cast<size_t>(bytes - done), it->second.offset + done);
    if (n <= 0) fail(ErrorKind::kIo, "cannot read '{}': {}", path_.string(), system_error_text());
    done += n;
  }
  return data;
}

}  // namespace freelunch::model
