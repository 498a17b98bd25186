#include "freelunch/model_io/tensor_pieces.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/checkpoint/quantise.h"

namespace freelunch::pipeline {
namespace {

using checkpoint::DType;
using model::SavedTensor;

constexpr int64_t kPieceBytes = int64_t{16} << 20;

int64_t columns_of(const SavedTensor& tensor) { return tensor.shape.empty() ? 1 : tensor.shape.back(); }

int64_t rows_of(const SavedTensor& tensor) {
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < tensor.shape.size(); ++i) rows *= tensor.shape[i];
  return rows;
}

int64_t rows_a_piece(int64_t row_bytes) {
  return std::max<int64_t>(1, kPieceBytes / std::max<int64_t>(1, row_bytes));
}

/// Turns negative zeros into positive ones; `size` is the bytes of an element, little endian.
void clear_negative_zeros(std::span<std::byte> data, size_t size) {
  for (size_t i = 0; i + size <= data.size(); i += size) {
    const auto element = data.subspan(i, size);
    const bool rest =
        std::all_of(element.begin(), element.end() - 1, [](std::byte b) { return b == std::byte{0}; });
    if (rest && element.back() == std::byte{0x80}) element.back() = std::byte{0};
  }
}

/// The name in the user's input, if the tensor is a single one there too.
const std::string& input_name(const SavedTensor& tensor) {
  return tensor.parts.size() == 1 ? tensor.parts[0].tensor->name : tensor.name;
}

void copy_pieces(const model::WeightView& weights, const SavedTensor& tensor, bool plain_zeros,
                 const std::function<void(std::span<const std::byte>)>& visit) {
  const checkpoint::Checkpoint& source = weights.dense().checkpoint();
  const checkpoint::TensorInfo& info = *tensor.source;
  int64_t rows = rows_of(tensor);
  if (rows > 0 && info.bytes % static_cast<uint64_t>(rows) != 0) rows = 1;  // rows that end inside a byte
  const uint64_t row_bytes = rows == 0 ? 0 : info.bytes / static_cast<uint64_t>(rows);
  const int64_t step = rows_a_piece(static_cast<int64_t>(row_bytes));
  const bool clears =
      plain_zeros && checkpoint::converts_to_f32(info.dtype) && !checkpoint::is_quantised(info.dtype);
  std::vector<std::byte> buffer;
  for (int64_t row = 0; row < rows; row += step) {
    throw_if_interrupted();
    const int64_t count = std::min(step, rows - row);
    const auto piece = source.bytes(info, static_cast<uint64_t>(row) * row_bytes,
                                    static_cast<uint64_t>(count) * row_bytes, buffer);
    if (clears) {
      std::vector<std::byte> cleared(piece.begin(), piece.end());
      clear_negative_zeros(cleared, static_cast<size_t>(checkpoint::block_bytes(info.dtype)));
      visit(cleared);
    } else {
      visit(piece);
    }
  }
  source.release(info);
}

}  // namespace

bool is_verbatim(const model::WeightView& weights, const SavedTensor& tensor, const StoredAs& as) {
  return tensor.source != nullptr && tensor.source->dtype == as.dtype && !weights.changed(tensor);
}

void for_each_rows(const model::LanguageModel& model, const model::ModelTensor& tensor,
                   const std::function<void(const at::Tensor&)>& visit) {
  const checkpoint::TensorInfo& info = model.checkpoint().at(tensor.stored_name);
  const bool as_it_is = !tensor.role || tensor.slice.is_whole(info.shape, tensor.shape);
  if (!as_it_is || info.shape.size() != 2) return visit(model.read(tensor));
  const int64_t step = rows_a_piece(info.shape[1] * static_cast<int64_t>(sizeof(float)));
  for (int64_t row = 0; row < info.shape[0]; row += step) {
    throw_if_interrupted();
    visit(model.read_rows(tensor, row, std::min(step, info.shape[0] - row)));
  }
  model.checkpoint().release(info);
}

void for_each_piece(const model::WeightView& weights, const SavedTensor& tensor, const StoredAs& as,
                    const std::function<void(std::span<const std::byte>)>& visit) {
  if (is_verbatim(weights, tensor, as)) return copy_pieces(weights, tensor, as.plain_zeros, visit);
  const int64_t columns = columns_of(tensor);
  const auto row_bytes = checkpoint::bytes_for(as.dtype, columns);
  if (!row_bytes)
    fail(ErrorKind::kUnsupported, "tensor '{}' has rows of {}, which are not whole {} blocks", tensor.name,
         columns, checkpoint::name(as.dtype));
  const bool changed = weights.changed(tensor);
  const int64_t step = rows_a_piece(static_cast<int64_t>(*row_bytes));
  std::vector<std::byte> buffer;
  const auto round_rows = [&](const at::Tensor& values) {
    const int64_t rows = columns == 0 ? 0 : values.numel() / columns;
    const at::Tensor matrix = values.to(at::kFloat).reshape({rows, columns});
    for (int64_t row = 0; row < rows; row += step) {
      throw_if_interrupted();
      const int64_t count = std::min(step, rows - row);
      at::Tensor piece = matrix.narrow(0, row, count).contiguous();
      // a masked weight may be a negative zero; adding zero makes it positive
      if (as.plain_zeros || changed) piece = piece.add(0.0);
      buffer.resize(static_cast<size_t>(count) * static_cast<size_t>(*row_bytes));
      checkpoint::quantise(as.dtype, {piece.const_data_ptr<float>(), static_cast<size_t>(count * columns)},
                           buffer, input_name(tensor));
      visit(buffer);
    }
  };
  if (!changed && tensor.is_one_part()) {
    for_each_rows(weights.dense(), *tensor.parts[0].tensor, round_rows);
  } else {
    round_rows(weights.assembled(tensor));
  }
}

}  // namespace freelunch::pipeline
