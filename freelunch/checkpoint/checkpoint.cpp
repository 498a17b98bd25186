#include "freelunch/checkpoint/checkpoint.h"

#include "freelunch/base/error.h"
#include "freelunch/base/printable.h"
#include "freelunch/checkpoint/dequantise.h"

namespace freelunch::checkpoint {

void Checkpoint::release(const TensorInfo&) const {}

std::string Checkpoint::shared_with(const std::string&) const { return {}; }

void Checkpoint::build_index() const {
  const std::vector<TensorInfo>& all = tensors();
  index_.reserve(all.size());
  for (size_t i = 0; i < all.size(); ++i) index_.emplace(all[i].name, i);
}

const TensorInfo* Checkpoint::find(std::string_view name) const {
  std::call_once(index_built_, [this] { build_index(); });
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors()[found->second];
}

const TensorInfo& Checkpoint::at(std::string_view name) const {
  if (const TensorInfo* tensor = find(name)) return *tensor;
  const std::vector<TensorInfo>& all = tensors();
  fail(ErrorKind::kBadFile,
       "{}: needs tensor '{}', but no shard holds it; incomplete download, or another architecture?",
       all.empty() ? "checkpoint without tensors" : printable(all.front().file), printable(name));
}

namespace {

void require_convertible(const TensorInfo& tensor) {
  if (converts_to_f32(tensor.dtype)) return;
  fail(ErrorKind::kUnsupported, "{}: tensor '{}' has dtype {}, which is no floating-point or quantised type",
       printable(tensor.file), printable(tensor.name), name(tensor.dtype));
}

}  // namespace

void Checkpoint::read_f32(const TensorInfo& tensor, std::span<float> out) const {
  require_convertible(tensor);
  if (out.size() != static_cast<size_t>(tensor.elements())) {
    fail(ErrorKind::kInvalidArgument, "checkpoint: tensor '{}' has {} elements but the buffer holds {}",
         printable(tensor.name), tensor.elements(), out.size());
  }
  std::vector<std::byte> buffer;
  dequantise(tensor.dtype, bytes(tensor, 0, tensor.bytes, buffer), out);
}

void Checkpoint::read_f32_rows(const TensorInfo& tensor, int64_t first_row, int64_t rows,
                               std::span<float> out) const {
  require_convertible(tensor);
  if (tensor.shape.empty() || first_row < 0 || rows < 0 || rows > tensor.shape[0] ||
      first_row > tensor.shape[0] - rows) {
    fail(ErrorKind::kInvalidArgument, "checkpoint: tensor '{}' of shape {} has no {} rows from row {} on",
         printable(tensor.name), shape_text(tensor.shape), rows, first_row);
  }
  const int64_t columns = tensor.shape[0] == 0 ? 0 : tensor.elements() / tensor.shape[0];
  if (out.size() != static_cast<size_t>(rows * columns)) {
    fail(ErrorKind::kInvalidArgument,
         "checkpoint: {} rows of tensor '{}' have {} elements but the buffer holds {}", rows,
         printable(tensor.name), rows * columns, out.size());
  }
  const std::optional<uint64_t> row_bytes = bytes_for(tensor.dtype, columns);
  if (!row_bytes) {
    fail(ErrorKind::kUnsupported, "checkpoint: the rows of tensor '{}' are not whole {} blocks",
         printable(tensor.name), name(tensor.dtype));
  }
  std::vector<std::byte> buffer;
  dequantise(tensor.dtype,
             bytes(tensor, *row_bytes * static_cast<uint64_t>(first_row),
                   *row_bytes * static_cast<uint64_t>(rows), buffer),
             out);
}

}  // namespace freelunch::checkpoint
