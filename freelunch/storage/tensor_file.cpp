#include "freelunch/storage/tensor_file.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <nlohmann/json.hpp>

#include "freelunch/base/digest.h"
#include "freelunch/base/error.h"

namespace freelunch::model {
namespace {

int64_t bytes_of(const TensorFile::Entry& entry) {
  int64_t bytes = static_cast<int64_t>(at::elementSize(entry.dtype));
  for (const int64_t size : entry.shape) bytes *= size;
  return bytes;
}

}  // namespace

TensorFile::TensorFile(std::filesystem::path path, Lifetime lifetime)
    : path_(std::move(path)), lifetime_(lifetime) {
  const int fresh = lifetime == Lifetime::kObject ? O_TRUNC : 0;
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | fresh | O_CLOEXEC, 0600);
  if (descriptor_ < 0) fail(ErrorKind::kIo, "cannot create '{}': {}", path_.string(), system_error_text());
}

TensorFile::~TensorFile() {
  ::close(descriptor_);
  if (lifetime_ == Lifetime::kObject) ::unlink(path_.c_str());
}

void TensorFile::save(const std::filesystem::path& path) const {
  namespace fs = std::filesystem;
  nlohmann::json contents{{"bytes", end_}, {"tensors", nlohmann::json::object()}};
  for (const auto& [name, entry] : entries_) {
    contents["tensors"][name] = {
        {"offset", entry.offset}, {"dtype", static_cast<int>(entry.dtype)}, {"shape", entry.shape}};
  }
  std::error_code error;
  fs::remove(path.string() + ".json", error);  // a crash after this leaves no valid copy
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
  const auto torn = [&] { fail(ErrorKind::kBadFile, "'{}' is incomplete; remove it", path.string()); };
  if (!contents.is_object() || !contents.contains("bytes") || !contents.contains("tensors")) torn();
  if (fs::file_size(path, error) != contents["bytes"].get<uint64_t>() || error) torn();
  ::close(descriptor_);
  fs::copy_file(path, path_, fs::copy_options::overwrite_existing, error);
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
  if (error || descriptor_ < 0)
    fail(ErrorKind::kIo, "cannot create '{}': {}", path_.string(), system_error_text());
  entries_.clear();
  settled_.clear();
  former_.clear();
  free_.clear();
  for (const auto& [name, entry] : contents["tensors"].items()) {
    entries_[name] = {.offset = entry["offset"].get<int64_t>(),
                      .dtype = static_cast<at::ScalarType>(entry["dtype"].get<int>()),
                      .shape = entry["shape"].get<std::vector<int64_t>>(),
                      .sha256 = {}};
    changed_.insert(name);
    fresh_.insert(name);
  }
  end_ = contents["bytes"].get<int64_t>();
}

int64_t TensorFile::place_for(const std::string& name, int64_t bytes) {
  if (fresh_.contains(name)) return entries_.at(name).offset;
  const auto former = former_.find(name);
  if (former != former_.end() && bytes_of(former->second) == bytes) {
    const int64_t offset = former->second.offset;
    former_.erase(former);
    return offset;
  }
  const auto unused = free_.lower_bound(bytes);
  if (unused != free_.end()) {
    const auto [size, offset] = *unused;
    free_.erase(unused);
    if (size > bytes) free_.emplace(size - bytes, offset + bytes);
    return offset;
  }
  const int64_t offset = end_;
  end_ += bytes;
  return offset;
}

void TensorFile::put(const std::string& name, const at::Tensor& tensor) {
  const at::Tensor data = tensor.detach().to(at::kCPU).contiguous();
  const auto bytes = static_cast<int64_t>(data.nbytes());
  const auto it = entries_.find(name);
  if (it != entries_.end() &&
      (it->second.dtype != data.scalar_type() || it->second.shape != data.sizes().vec()))
    fail(ErrorKind::kInvalidArgument, "tensor '{}' changed its shape or dtype between stages", name);
  Entry entry{.offset = place_for(name, bytes),
              .dtype = data.scalar_type(),
              .shape = data.sizes().vec(),
              .sha256 = {}};
  const auto* begin = static_cast<const char*>(data.const_data_ptr());
  for (int64_t written = 0; written < bytes;) {
    const ssize_t n =
        ::pwrite(descriptor_, begin + written, static_cast<size_t>(bytes - written), entry.offset + written);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail(ErrorKind::kIo, "cannot write '{}': {}", path_.string(), system_error_text());
    written += n;
  }
  if (lifetime_ == Lifetime::kFolder) entry.sha256 = sha256({begin, static_cast<size_t>(bytes)});
  entries_[name] = std::move(entry);
  changed_.insert(name);
  fresh_.insert(name);
}

at::Tensor TensorFile::read(const Entry& entry) const {
  at::Tensor data = at::empty(entry.shape, at::TensorOptions().dtype(entry.dtype));
  const auto bytes = static_cast<int64_t>(data.nbytes());
  for (int64_t done = 0; done < bytes;) {
    const ssize_t n = ::pread(descriptor_, static_cast<char*>(data.mutable_data_ptr()) + done,
                              static_cast<size_t>(bytes - done), entry.offset + done);
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) fail(ErrorKind::kIo, "'{}' ends before byte {}", path_.string(), entry.offset + bytes);
    if (n < 0) fail(ErrorKind::kIo, "cannot read '{}': {}", path_.string(), system_error_text());
    done += n;
  }
  return data;
}

at::Tensor TensorFile::get(const std::string& name) const {
  const auto it = entries_.find(name);
  if (it == entries_.end()) fail(ErrorKind::kInvalidArgument, "no tensor '{}' in the scratch file", name);
  return read(it->second);
}

void TensorFile::erase(const std::string& name) {
  const auto it = entries_.find(name);
  if (it == entries_.end()) return;
  if (fresh_.erase(name) > 0) free_.emplace(bytes_of(it->second), it->second.offset);
  entries_.erase(it);
  changed_.insert(name);
}

void TensorFile::rename(const std::string& from, const std::string& to) {
  const Entry entry = entries_.at(from);
  const bool fresh = fresh_.erase(from) > 0;  // erase() must not free its place
  erase(from);
  erase(to);
  entries_[to] = entry;
  changed_.insert(to);
  if (fresh) fresh_.insert(to);
}

std::vector<std::string> TensorFile::names(const std::string& prefix) const {
  std::vector<std::string> result;
  for (auto it = entries_.lower_bound(prefix); it != entries_.end() && it->first.starts_with(prefix); ++it)
    result.push_back(it->first);
  return result;
}

TensorFile::Changes TensorFile::flush() {
  if (::fdatasync(descriptor_) != 0)
    fail(ErrorKind::kIo, "cannot flush '{}': {}", path_.string(), system_error_text());
  Changes changes;
  for (const std::string& name : changed_) {
    const auto it = entries_.find(name);
    if (it != entries_.end())
      changes.written[name] = it->second;
    else if (settled_.contains(name))
      changes.erased.push_back(name);
  }
  return changes;
}

void TensorFile::settle() {
  std::set<int64_t> used;
  for (const auto& [name, entry] : entries_) used.insert(entry.offset);
  const auto free_place = [&](const Entry& entry) {
    if (!used.contains(entry.offset)) free_.emplace(bytes_of(entry), entry.offset);
  };
  for (const std::string& name : changed_) {
    const auto before = settled_.find(name);
    const auto former = former_.find(name);
    const bool gone = !entries_.contains(name);
    if (former != former_.end() && (gone || before != settled_.end())) {
      free_place(former->second);
      former_.erase(former);
    }
    if (before == settled_.end()) continue;
    if (gone)
      free_place(before->second);
    else if (!used.contains(before->second.offset))
      former_[name] = before->second;
  }
  settled_ = entries_;
  changed_.clear();
  fresh_.clear();
}

bool TensorFile::intact(const Entry& entry) const {
  try {
    const at::Tensor data = read(entry);
    return sha256({static_cast<const char*>(data.const_data_ptr()), data.nbytes()}) == entry.sha256;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kIo) throw;
    return false;
  }
}

void TensorFile::adopt(std::map<std::string, Entry> entries, std::map<std::string, Entry> former) {
  entries_ = settled_ = std::move(entries);
  former_ = std::move(former);
  changed_.clear();
  fresh_.clear();
  free_.clear();
  end_ = 0;
  std::map<int64_t, int64_t> places;  // offset -> bytes
  for (const auto* map : {&entries_, &former_}) {
    for (const auto& [name, entry] : *map) places[entry.offset] = bytes_of(entry);
  }
  for (const auto& [offset, bytes] : places) {
    if (offset > end_) free_.emplace(offset - end_, end_);  // of tensors that were erased
    end_ = std::max(end_, offset + bytes);
  }
}

}  // namespace freelunch::model
