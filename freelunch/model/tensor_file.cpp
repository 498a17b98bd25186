#include "model/tensor_file.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

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

void TensorFile::save(const std::filesystem::path& path) const {
  namespace fs = std::filesystem;
  nlohmann::json contents{{"bytes", end_}, {"tensors", nlohmann::json::object()}};
  for (const auto& [name, entry] : entries_) {
    contents["tensors"][name] = {
        {"offset", entry.offset}, {"dtype", static_cast<int>(entry.dtype)}, {"shape", entry.shape}};
  }
  std::error_code error;
  fs::remove(path.string() + ".json", error);  // a crash from here on leaves data without contents: not there
  fs::copy_file(path_, path, fs::copy_options::overwrite_existing, error);
  if (error) fail(ErrorKind::kIo, "cannot write '{}': {}", path.string(), error.message());
  std::ofstream stream(path.string() + ".json");
  stream << contents.dump();
  stream.close();
  if (!stream) fail(ErrorKind::kIo, "cannot write '{}.json': {}", path.string(), system_error_text());
}

void TensorFile::load(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  std::ifstream stream(path.string() + ".json");
  const auto contents = nlohmann::json::parse(stream, nullptr, /*allow_exceptions=*/false);
  std::error_code error;
  const auto torn = [&] { fail(ErrorKind::kBadFile, "'{}' is torn; remove it", path.string()); };
  if (!contents.is_object() || !contents.contains("bytes") || !contents.contains("tensors")) torn();
  if (fs::file_size(path, error) != contents["bytes"].get<uint64_t>() || error) torn();
  ::close(descriptor_);
  fs::copy_file(path, path_, fs::copy_options::overwrite_existing, error);
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
  if (error || descriptor_ < 0)
    fail(ErrorKind::kIo, "cannot create '{}': {}", path_.string(), system_error_text());
  entries_.clear();
  for (const auto& [name, entry] : contents["tensors"].items()) {
    entries_[name] = {.offset = entry["offset"].get<int64_t>(),
                      .dtype = static_cast<at::ScalarType>(entry["dtype"].get<int>()),
                      .shape = entry["shape"].get<std::vector<int64_t>>()};
  }
  end_ = contents["bytes"].get<int64_t>();
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
