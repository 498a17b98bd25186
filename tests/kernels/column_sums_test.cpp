#include "freelunch/kernels/column_sums.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "kernels/numbers.h"

namespace freelunch::kernels {
namespace {

template <typename T>
class ColumnSumsTest : public ::testing::Test {};
using Types = ::testing::Types<Bf16, float>;
TYPED_TEST_SUITE(ColumnSumsTest, Types);

TYPED_TEST(ColumnSumsTest, AddTheProductsOfEachColumn) {
  // within one panel of columns and one block of rows, and beyond both
  for (const auto& [rows, width] : {std::pair<int64_t, int64_t>{1, 3}, {64, 64}, {150, 131}}) {
    const std::vector<TypeParam> a = in_type<TypeParam>(numbers(rows * width, 1));
    const std::vector<TypeParam> b = in_type<TypeParam>(numbers(rows * width, 2));
    std::vector<double> products(at(width), 7), squares(at(width), 7);
    add_column_products(rows, width, a.data(), b.data(), products.data());
    add_column_squares(rows, width, a.data(), squares.data());
    for (int64_t c = 0; c < width; ++c) {
      double product = 7, square = 7;
      for (int64_t r = 0; r < rows; ++r) {
        product += value(a[at(r * width + c)]) * value(b[at(r * width + c)]);
        square += value(a[at(r * width + c)]) * value(a[at(r * width + c)]);
      }
      ASSERT_NEAR(products[at(c)], product, 1e-4) << c;
      ASSERT_NEAR(squares[at(c)], square, 1e-6 * square) << c;
    }
  }
}

}  // namespace
}  // namespace freelunch::kernels
