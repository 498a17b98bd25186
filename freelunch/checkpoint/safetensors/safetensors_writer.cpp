#include "freelunch/checkpoint/safetensors/safetensors_writer.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"
#include "freelunch/base/printable.h"
#include "freelunch/checkpoint/tensor_info.h"

namespace freelunch::checkpoint {
namespace {

using nlohmann::ordered_json;

uint64_t planned_bytes(const TensorPlan& tensor) {
  const auto elements = element_count(tensor.shape);
  const auto bytes = elements ? bytes_for(tensor.dtype, *elements) : std::nullopt;
  if (is_quantised(tensor.dtype) || !bytes || tensor.name == "__metadata__") {
    fail(ErrorKind::kInvalidArgument, "safetensors: tensor '{}' of shape {} and dtype {} cannot be written",
         printable(tensor.name), shape_text(tensor.shape), name(tensor.dtype));
  }
  return *bytes;
}

/// Bytes that an element begins at a multiple of; elements of less than a byte begin anywhere.
uint64_t alignment(DType dtype) {
  return block_elements(dtype) > 1 ? 1 : static_cast<uint64_t>(block_bytes(dtype));
}

/// Puts larger elements first if the order of the plan would misalign a tensor. Stable: equal sizes keep
/// their order.
void align(std::vector<TensorPlan>& tensors) {
  uint64_t at = 0;
  bool aligned = true;
  for (const TensorPlan& tensor : tensors) {
    aligned = aligned && at % alignment(tensor.dtype) == 0;
    at += planned_bytes(tensor);
  }
  if (aligned) return;
  std::stable_sort(tensors.begin(), tensors.end(), [](const TensorPlan& a, const TensorPlan& b) {
    return alignment(a.dtype) > alignment(b.dtype);
  });
}

/// The length of the JSON, then the JSON.
std::string header_of(const std::vector<TensorPlan>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  ordered_json header = ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const TensorPlan& tensor : tensors) {
    const uint64_t end = offset + planned_bytes(tensor);
    header[tensor.name] = {
        {"dtype", name(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    fail(ErrorKind::kInvalidArgument, "safetensors: a tensor name or metadata text is not UTF-8");
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();
  std::string start(sizeof length, '\0');
  std::memcpy(start.data(), &length, sizeof length);
  return start + text;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(std::filesystem::path file, std::vector<TensorPlan> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : TensorWriter(std::move(file), "safetensors") {
  align(tensors);
  const std::string header = header_of(tensors, metadata);
  uint64_t at = header.size();
  for (const TensorPlan& tensor : tensors) {
    const uint64_t bytes = planned_bytes(tensor);
    place(tensor.name, at, bytes);
    at += bytes;
  }
  reserve(header, at);
}

}  // namespace freelunch::checkpoint
