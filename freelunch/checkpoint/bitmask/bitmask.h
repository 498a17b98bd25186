#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

// How a sparse matrix is packed in an archive: a bit for each element, and the values whose bit is set. An
// element counts as zero where all of its bits are, so a negative zero is a value and packing loses nothing.
// Layout: the former compressed-tensors format "sparse-bitmask"; docs/formats/bitmask.md.
namespace freelunch::checkpoint {

/// A dense matrix's outline.
struct MatrixShape {
  int64_t rows;
  int64_t columns;
  int64_t element_bytes;

  int64_t mask_bytes() const { return (columns + 7) / 8; }  ///< a row
};

/// How many elements of row-major data have a bit set; data.size() is whole elements of 1, 2, 4 or 8 bytes.
int64_t count_values(std::span<const std::byte> data, int64_t element_bytes);

/// Bytes that a matrix takes in an archive: values, mask, row offsets and shape.
uint64_t archived_bytes(const MatrixShape& shape, int64_t values);

/// Rows of a matrix, packed.
struct PackedRows {
  std::vector<std::byte> mask;       ///< rows x ceil(columns / 8); bit c % 8 of byte c / 8 is column c
  std::vector<std::byte> values;     ///< row-major
  std::vector<int64_t> row_offsets;  ///< values before each row
};

/// Packs dense rows; `values_before` counts the values of the rows before them.
PackedRows pack_rows(std::span<const std::byte> rows, const MatrixShape& shape, int64_t values_before);

/// Unpacks one row into `out` (columns x element_bytes). False, with `out` unspecified, if the mask marks a
/// column that does not exist or if the values are not as many as it marks.
bool unpack_row(std::span<const std::byte> mask, std::span<const std::byte> values, const MatrixShape& shape,
                std::span<std::byte> out);

}  // namespace freelunch::checkpoint
