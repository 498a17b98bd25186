#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

// The packing of a sparse matrix in an archive: one bit for each element, and the values whose bit is set.
// Only an element with all bits zero is left out, so a negative zero is a value and packing is lossless. The
// layout is the former format "sparse-bitmask" of compressed-tensors; see docs/formats/bitmask.md.
namespace freelunch::checkpoint {

/// The shape of a dense matrix.
struct MatrixShape {
  int64_t rows;
  int64_t columns;
  int64_t element_bytes;

  int64_t mask_bytes() const { return (columns + 7) / 8; }  ///< of one row
};

/// The number of elements of row-major data with a bit set. `data` is whole elements of 1, 2, 4 or 8 bytes.
int64_t count_values(std::span<const std::byte> data, int64_t element_bytes);

/// Bytes of a matrix in an archive: values, mask, row offsets and shape.
uint64_t archived_bytes(const MatrixShape& shape, int64_t values);

/// Packed rows of a matrix.
struct PackedRows {
  std::vector<std::byte> mask;       ///< rows x ceil(columns / 8); bit c % 8 of byte c / 8 is column c
  std::vector<std::byte> values;     ///< row-major
  std::vector<int64_t> row_offsets;  ///< number of values before each row
};

/// Packs dense rows. `values_before` is the number of values in the rows before them.
PackedRows pack_rows(std::span<const std::byte> rows, const MatrixShape& shape, int64_t values_before);

/// Unpacks one row into `out` (columns x element_bytes). False, with `out` unspecified, if the mask marks a
/// column that does not exist or if the number of values differs from the number of marks.
bool unpack_row(std::span<const std::byte> mask, std::span<const std::byte> values, const MatrixShape& shape,
                std::span<std::byte> out);

}  // namespace freelunch::checkpoint
