#include "freelunch/checkpoint/bitmask/bitmask_checkpoint.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "freelunch/base/error.h"
#include "freelunch/base/printable.h"

namespace freelunch::checkpoint {
namespace {

constexpr std::string_view kValues = ".compressed";
constexpr std::string_view kMask = ".bitmask";
constexpr std::string_view kShape = ".shape";
constexpr std::string_view kRowOffsets = ".row_offsets";
constexpr int64_t kMaxElements = int64_t{1} << 48;  // keeps sums over rows far from overflow

/// "model.norm" -> "model.norm.weight"; keys of compressed-tensors before 0.6 hold the whole name.
std::string dense_name(const std::string& key) {
  return key.ends_with(".weight") || key.ends_with(".bias") ? key : key + ".weight";
}

[[noreturn]] void refuse(const TensorInfo& part, const std::string& found) {
  fail(ErrorKind::kBadFile, "bitmask: '{}' of {} {}; damaged archive?", printable(part.name),
       printable(part.file), found);
}

std::vector<int64_t> read_int64s(const SafetensorsCheckpoint& file, const TensorInfo& part) {
  if (part.dtype != DType::kI64) refuse(part, fmt::format("is {}, expected I64", name(part.dtype)));
  std::vector<int64_t> values(static_cast<size_t>(part.elements()));
  const std::span<const std::byte> data = file.bytes(part);
  if (!data.empty()) std::memcpy(values.data(), data.data(), data.size());
  return values;
}

std::vector<int64_t> read_shape(const SafetensorsCheckpoint& file, const TensorInfo& part) {
  std::vector<int64_t> shape = read_int64s(file, part);
  if (shape.empty() || shape.size() > 2)
    refuse(part, fmt::format("has {} dimensions, expected 1 or 2", shape.size()));
  const auto elements = element_count(shape);
  if (!elements || *elements <= 0 || *elements > kMaxElements)
    refuse(part, fmt::format("says {}, which no tensor has", shape_text(shape)));
  return shape;
}

/// The number of values before each row, and finally of all rows. 2:4 archives do not store them: all rows
/// have the same number of values.
std::vector<int64_t> read_row_offsets(const SafetensorsCheckpoint& file, const TensorInfo* part,
                                      const TensorInfo& values, const MatrixShape& shape) {
  const int64_t all = values.elements();
  std::vector<int64_t> offsets;
  if (part != nullptr) {
    offsets = read_int64s(file, *part);
    if (offsets.size() != static_cast<size_t>(shape.rows))
      refuse(*part, fmt::format("has {} entries for {} rows", offsets.size(), shape.rows));
  } else {
    if (all % shape.rows != 0) refuse(values, fmt::format("has {} values for {} rows", all, shape.rows));
    for (int64_t r = 0; r < shape.rows; ++r) offsets.push_back(r * (all / shape.rows));
  }
  offsets.push_back(all);
  if (offsets[0] != 0) refuse(*part, fmt::format("starts at {}, expected 0", offsets[0]));
  for (size_t r = 0; r + 1 < offsets.size(); ++r) {
    const int64_t begin = offsets[r];
    const int64_t end = offsets[r + 1];
    if (begin < 0 || end < begin || end > all || end - begin > shape.columns) {
      refuse(part != nullptr ? *part : values,
             fmt::format("gives row {} the values {} to {} of {}, for {} columns", r, begin, end, all,
                         shape.columns));
    }
  }
  return offsets;
}

}  // namespace

bool BitmaskCheckpoint::is_archive(const SafetensorsCheckpoint& file) {
  return std::any_of(file.tensors().begin(), file.tensors().end(), [](const TensorInfo& tensor) {
    return tensor.name.ends_with(kValues) || tensor.name.ends_with(kMask);
  });
}

BitmaskCheckpoint::BitmaskCheckpoint(std::unique_ptr<SafetensorsCheckpoint> file) : file_(std::move(file)) {
  std::set<std::string, std::less<>> keys;
  for (const TensorInfo& tensor : file_->tensors()) {
    for (const std::string_view end : {kValues, kMask}) {
      if (tensor.name.ends_with(end)) keys.emplace(tensor.name.substr(0, tensor.name.size() - end.size()));
    }
  }
  const auto is_part = [&](const std::string& name) {
    const size_t dot = name.rfind('.');
    if (dot == std::string::npos || !keys.contains(std::string_view(name).substr(0, dot))) return false;
    const std::string_view end = std::string_view(name).substr(dot);
    return end == kValues || end == kMask || end == kShape || end == kRowOffsets;
  };
  for (const TensorInfo& tensor : file_->tensors()) {
    const std::string_view name = tensor.name;
    if (name.ends_with(kValues)) {
      add_packed(std::string(name.substr(0, name.size() - kValues.size())));
    } else if (name.ends_with(kMask)) {
      file_->at(std::string(name.substr(0, name.size() - kMask.size())).append(kValues));  // must be there
    } else if (!is_part(tensor.name)) {
      tensors_.push_back(tensor);
      packed_.emplace_back();
    }
  }
  std::set<std::string_view> seen;
  for (const TensorInfo& tensor : tensors_) {
    if (!seen.insert(tensor.name).second) refuse(tensor, "stands both dense and packed, or is packed twice");
  }
}

void BitmaskCheckpoint::add_packed(const std::string& key) {
  const auto part = [&](std::string_view end) -> const TensorInfo& {
    return file_->at(key + std::string(end));
  };
  Packed packed;
  packed.values = &part(kValues);
  packed.mask = &part(kMask);
  const TensorInfo& shape_part = part(kShape);
  const TensorInfo* offsets_part = file_->find(key + std::string(kRowOffsets));
  TensorInfo info{.name = dense_name(key),
                  .dtype = packed.values->dtype,
                  .shape = read_shape(*file_, shape_part),
                  .bytes = 0,
                  .file = packed.values->file};
  packed.shape = {.rows = info.shape.size() == 1 ? 1 : info.shape[0],
                  .columns = info.shape.back(),
                  .element_bytes = block_bytes(info.dtype)};
  const int64_t mask_bytes = packed.shape.rows * packed.shape.mask_bytes();
  if (packed.mask->dtype != DType::kU8 || packed.mask->elements() != mask_bytes) {
    refuse(*packed.mask, fmt::format("is {} {}, but shape {} needs {} bytes of U8", name(packed.mask->dtype),
                                     shape_text(packed.mask->shape), shape_text(info.shape), mask_bytes));
  }
  packed.row_offsets = read_row_offsets(*file_, offsets_part, *packed.values, packed.shape);
  packed.parts = {packed.values, packed.mask, &shape_part};
  if (offsets_part != nullptr) packed.parts.push_back(offsets_part);
  info.bytes = *bytes_for(info.dtype, info.elements());
  tensors_.push_back(std::move(info));
  packed_.emplace_back(std::move(packed));
}

const BitmaskCheckpoint::Packed* BitmaskCheckpoint::packed(const TensorInfo& tensor) const {
  const TensorInfo& own = at(tensor.name);
  // `tensor` may come from another checkpoint; it must not lead to reads past the end of this one's tensor.
  if (own.bytes != tensor.bytes) {
    fail(ErrorKind::kInvalidArgument, "checkpoint: tensor '{}' of {} bytes is not of this checkpoint",
         printable(tensor.name), tensor.bytes);
  }
  const auto& found = packed_[static_cast<size_t>(&own - tensors_.data())];
  return found ? &*found : nullptr;
}

void BitmaskCheckpoint::unpack(const TensorInfo& tensor, const Packed& packed, int64_t row,
                               std::span<std::byte> out) const {
  const MatrixShape& shape = packed.shape;
  const auto mask_bytes = static_cast<size_t>(shape.mask_bytes());
  const auto element = static_cast<size_t>(shape.element_bytes);
  const auto begin = static_cast<size_t>(packed.row_offsets[static_cast<size_t>(row)]);
  const auto end = static_cast<size_t>(packed.row_offsets[static_cast<size_t>(row) + 1]);
  const auto mask = file_->bytes(*packed.mask).subspan(static_cast<size_t>(row) * mask_bytes, mask_bytes);
  const auto values = file_->bytes(*packed.values).subspan(begin * element, (end - begin) * element);
  if (!unpack_row(mask, values, shape, out)) {
    refuse(*packed.mask, fmt::format("marks other columns in row {} of '{}' than its {} values fill", row,
                                     printable(tensor.name), end - begin));
  }
}

std::span<const std::byte> BitmaskCheckpoint::bytes(const TensorInfo& tensor, uint64_t begin, uint64_t size,
                                                    std::vector<std::byte>& buffer) const {
  const Packed* found = packed(tensor);
  if (found == nullptr) return file_->bytes(tensor, begin, size, buffer);
  check_range(tensor, begin, size);
  if (size == 0) return {};
  const auto row_bytes = static_cast<uint64_t>(found->shape.columns * found->shape.element_bytes);
  const uint64_t first = begin / row_bytes;
  const uint64_t rows = (begin + size - 1) / row_bytes - first + 1;
  buffer.resize(static_cast<size_t>(rows * row_bytes));
  for (uint64_t r = 0; r < rows; ++r) {
    unpack(tensor, *found, static_cast<int64_t>(first + r),
           std::span(buffer).subspan(static_cast<size_t>(r * row_bytes), static_cast<size_t>(row_bytes)));
  }
  return std::span<const std::byte>(buffer).subspan(static_cast<size_t>(begin - first * row_bytes),
                                                    static_cast<size_t>(size));
}

uint64_t BitmaskCheckpoint::stored_bytes(const TensorInfo& tensor) const {
  const Packed* found = packed(tensor);
  if (found == nullptr) return tensor.bytes;
  uint64_t total = 0;
  for (const TensorInfo* part : found->parts) total += part->bytes;
  return total;
}

void BitmaskCheckpoint::release(const TensorInfo& tensor) const {
  const Packed* found = packed(tensor);
  if (found == nullptr) return file_->release(tensor);
  for (const TensorInfo* part : found->parts) file_->release(*part);
}

std::unique_ptr<Checkpoint> open_safetensors(const std::filesystem::path& folder_or_file) {
  auto file = SafetensorsCheckpoint::open(folder_or_file);
  if (!BitmaskCheckpoint::is_archive(*file)) return file;
  return std::make_unique<BitmaskCheckpoint>(std::move(file));
}

}  // namespace freelunch::checkpoint
