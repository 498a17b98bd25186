#include "checkpoint/safetensors_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/printable.h"
#include "checkpoint/tensor_info.h"

namespace freelunch::checkpoint {

using nlohmann::ordered_json;

void SafetensorsWriter::refuse(std::string_view action) const {
  fail(ErrorKind::kIo, "cannot {} '{}': {}", action, file_.string(), system_error_text());
}

SafetensorsWriter::SafetensorsWriter(std::filesystem::path file, std::vector<TensorPlan> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : file_(std::move(file)), partial_(file_.string() + ".partial-" + std::to_string(::getpid())) {
  // Larger elements first where plan order would misalign one; stable, so that equal sizes keep their order.
  uint64_t at = 0;
  bool aligned = true;
  for (const TensorPlan& tensor : tensors) {
    const auto size = static_cast<uint64_t>(block_bytes(tensor.dtype));
    aligned = aligned && at % size == 0;
    at += bytes_for(tensor.dtype, element_count(tensor.shape).value_or(0)).value_or(0);
  }
  if (!aligned) {
    std::stable_sort(tensors.begin(), tensors.end(), [](const TensorPlan& a, const TensorPlan& b) {
      return block_bytes(a.dtype) > block_bytes(b.dtype);
    });
  }
  reserve(lay_out(tensors, metadata));
}

std::string SafetensorsWriter::lay_out(const std::vector<TensorPlan>& tensors,
                                       const std::map<std::string, std::string>& metadata) {
  ordered_json header = ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const TensorPlan& tensor : tensors) {
    const auto elements = element_count(tensor.shape);
    const auto bytes = elements ? bytes_for(tensor.dtype, *elements) : std::nullopt;
    if (is_quantised(tensor.dtype) || !bytes) {
      fail(ErrorKind::kInvalidArgument, "safetensors: tensor '{}' of shape {} and dtype {} cannot be written",
           printable(tensor.name), shape_text(tensor.shape), name(tensor.dtype));
    }
    if (tensor.name == "__metadata__" || !slots_.emplace(tensor.name, Slot{offset, *bytes, false}).second) {
      fail(ErrorKind::kInvalidArgument, "safetensors: tensor name '{}' is reserved or used twice",
           printable(tensor.name));
    }
    header[tensor.name] = {
        {"dtype", name(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + *bytes}}};
    offset += *bytes;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    fail(ErrorKind::kInvalidArgument, "safetensors: a tensor name or metadata text is not UTF-8");
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  for (auto& [tensor, slot] : slots_) slot.begin += sizeof(uint64_t) + text.size();
  size_ = sizeof(uint64_t) + text.size() + offset;
  return text;
}

void SafetensorsWriter::reserve(const std::string& header) {
  descriptor_ = ::open(partial_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor_ < 0) refuse("create");
  try {
    // A full disk shows now, not after hours of work. File systems that cannot reserve still take the size.
    const int result = ::posix_fallocate(descriptor_, 0, static_cast<off_t>(size_));
    if (result == ENOSPC)
      fail(ErrorKind::kIo, "cannot write '{}': the disk has no room for {} bytes", file_.string(), size_);
    if (result != 0 && ::ftruncate(descriptor_, static_cast<off_t>(size_)) != 0) refuse("reserve room for");
    const uint64_t length = header.size();
    std::string start(sizeof length, '\0');
    std::memcpy(start.data(), &length, sizeof length);
    start += header;
    write_at({reinterpret_cast<const std::byte*>(start.data()), start.size()}, 0);
  } catch (...) {
    ::close(descriptor_);
    ::unlink(partial_.c_str());
    throw;
  }
}

SafetensorsWriter::~SafetensorsWriter() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(partial_.c_str());
}

void SafetensorsWriter::write_at(std::span<const std::byte> data, uint64_t offset) {
  for (size_t done = 0; done < data.size();) {
    const ssize_t n =
        ::pwrite(descriptor_, data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
    if (n <= 0) refuse("write");
    done += static_cast<size_t>(n);
  }
}

void SafetensorsWriter::write(std::string_view tensor, std::span<const std::byte> data) {
  const auto it = slots_.find(std::string(tensor));
  if (it == slots_.end() || it->second.written || it->second.bytes != data.size()) {
    fail(ErrorKind::kInvalidArgument,
         "safetensors: tensor '{}' of {} bytes is not planned, was written before, or has another size",
         printable(tensor), data.size());
  }
  write_at(data, it->second.begin);
  it->second.written = true;
}

void SafetensorsWriter::finish() {
  for (const auto& [tensor, slot] : slots_) {
    if (!slot.written)
      fail(ErrorKind::kInvalidArgument, "safetensors: tensor '{}' was not written", printable(tensor));
  }
  struct stat status {};
  if (::fsync(descriptor_) != 0 || ::fstat(descriptor_, &status) != 0) refuse("flush");
  if (static_cast<uint64_t>(status.st_size) != size_)
    fail(ErrorKind::kIo, "'{}' has {} bytes after writing, expected {}", file_.string(), status.st_size,
         size_);
  if (::rename(partial_.c_str(), file_.c_str()) != 0) refuse("rename");
  ::close(descriptor_);
  descriptor_ = -1;
}

}  // namespace freelunch::checkpoint
