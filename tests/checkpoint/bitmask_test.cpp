#include "freelunch/checkpoint/bitmask/bitmask.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "freelunch/base/error.h"
#include "freelunch/checkpoint/bitmask/bitmask_checkpoint.h"
#include "freelunch/checkpoint/safetensors/safetensors_writer.h"
#include "test_folder.h"

namespace freelunch::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <typename T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

TEST(Bitmask, PacksByHand) {
  // 2 rows of 10 bf16 columns; 0x8000 is a negative zero, a value like any other
  const std::vector<uint16_t> dense{0, 1, 0, 0, 0, 0, 0, 2, 3, 0,  //
                                    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x8000};
  const MatrixShape shape{.rows = 2, .columns = 10, .element_bytes = 2};
  EXPECT_EQ(count_values(bytes_of(dense), 2), 4);
  const PackedRows packed = pack_rows(bytes_of(dense), shape, 7);
  EXPECT_THAT(packed.row_offsets, ElementsAre(7, 10));
  EXPECT_THAT(packed.mask, ElementsAre(std::byte{0x82}, std::byte{0x01}, std::byte{0x00}, std::byte{0x02}));
  std::vector<uint16_t> values(4);
  ASSERT_EQ(packed.values.size(), 8U);
  std::memcpy(values.data(), packed.values.data(), 8);
  EXPECT_THAT(values, ElementsAre(1, 2, 3, 0x8000));
  EXPECT_EQ(archived_bytes(shape, 4), 4 * 2 + 2 * 2 + 2 * 8 + 2 * 8U);
}

TEST(Bitmask, UnpackingIsTheIdentityForEveryElementSize) {
  uint32_t state = 1;
  for (const int64_t element : {1, 2, 4, 8}) {
    for (const int64_t columns : {1, 7, 8, 9, 64, 67}) {
      const MatrixShape shape{.rows = 5, .columns = columns, .element_bytes = element};
      std::vector<std::byte> dense(static_cast<size_t>(5 * columns * element));
      for (std::byte& b : dense) {
        state = state * 1664525U + 1013904223U;
        b = (state >> 24U) < 100 ? static_cast<std::byte>(state >> 16U) : std::byte{0};
      }
      const PackedRows packed = pack_rows(dense, shape, 0);
      std::vector<std::byte> back(dense.size(), std::byte{0xAA});
      const auto row_bytes = static_cast<size_t>(columns * element);
      for (size_t r = 0; r < 5; ++r) {
        const auto begin = static_cast<size_t>(packed.row_offsets[r] * element);
        const auto end =
            r == 4 ? packed.values.size() : static_cast<size_t>(packed.row_offsets[r + 1] * element);
        const auto mask_bytes = static_cast<size_t>(shape.mask_bytes());
        ASSERT_TRUE(unpack_row(std::span(packed.mask).subspan(r * mask_bytes, mask_bytes),
                               std::span(packed.values).subspan(begin, end - begin), shape,
                               std::span(back).subspan(r * row_bytes, row_bytes)));
      }
      EXPECT_EQ(back, dense) << element << " bytes, " << columns << " columns";
    }
  }
}

TEST(Bitmask, RefusesMasksThatDoNotFit) {
  const MatrixShape shape{.rows = 1, .columns = 10, .element_bytes = 2};
  std::vector<std::byte> out(20);
  const std::vector<std::byte> two(4);
  EXPECT_TRUE(unpack_row(std::vector{std::byte{1}, std::byte{2}}, two, shape, out));
  EXPECT_FALSE(unpack_row(std::vector{std::byte{1}, std::byte{0}}, two, shape, out));
  EXPECT_FALSE(unpack_row(std::vector{std::byte{3}, std::byte{1}}, two, shape, out));
  EXPECT_FALSE(unpack_row(std::vector{std::byte{1}, std::byte{4}}, two, shape, out));  // column 10 of 10
  EXPECT_THROW(count_values(out, 3), Error);
}

/// An archive of one 2 x 10 matrix and one plain tensor, with parts that tests break.
class ArchiveTest : public ::testing::Test {
 protected:
  struct WeightRole {
    DType dtype;
    std::vector<int64_t> shape;
    std::vector<std::byte> data;
  };

  void SetUp() override {
    folder_ = test_folder();
    fs::create_directories(folder_);
    put("a.b.shape", DType::kI64, {2}, std::vector<int64_t>{2, 10});
    put("a.b.row_offsets", DType::kI64, {2}, std::vector<int64_t>{0, 3});
    put("a.b.compressed", DType::kBF16, {4}, std::vector<uint16_t>{1, 2, 3, 0x8000});
    put("a.b.bitmask", DType::kU8, {2, 2}, std::vector<uint8_t>{0x82, 0x01, 0x00, 0x02});
    put("norm.weight", DType::kBF16, {2}, std::vector<uint16_t>{5, 6});
  }
  void TearDown() override { fs::remove_all(folder_); }

  template <typename T>
  void put(const std::string& name, DType dtype, std::vector<int64_t> shape, const std::vector<T>& values) {
    const auto bytes = bytes_of(values);
    parts_[name] = {dtype, std::move(shape), {bytes.begin(), bytes.end()}};
  }
  void rename(const std::string& from, const std::string& to) {
    parts_[to] = parts_.at(from);
    parts_.erase(from);
  }

  std::unique_ptr<Checkpoint> open() {
    std::vector<TensorPlan> plan;
    for (const auto& [name, part] : parts_) plan.push_back({name, part.dtype, part.shape});
    SafetensorsWriter writer(folder_ / "model.safetensors", plan, {});
    for (const auto& [name, part] : parts_) writer.write(name, part.data);
    writer.finish();
    return open_safetensors(folder_);
  }
  std::vector<uint16_t> dense(const std::string& name) {
    const auto file = open();
    const TensorInfo& info = file->at(name);
    std::vector<std::byte> buffer;
    const auto bytes = file->bytes(info, 0, info.bytes, buffer);
    std::vector<uint16_t> values(bytes.size() / 2);
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  void expect(const std::string& part) {
    try {
      dense("a.b.weight");
      ADD_FAILURE() << "opened and read, expected: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadFile) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(part));
      EXPECT_THAT(error.what(), HasSubstr("model.safetensors"));
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }

  fs::path folder_;
  std::map<std::string, WeightRole> parts_;
};

TEST_F(ArchiveTest, ReadsPackedTensorsAsIfTheyWereDense) {
  EXPECT_THAT(dense("a.b.weight"),
              ElementsAre(0, 1, 0, 0, 0, 0, 0, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x8000));
  EXPECT_THAT(dense("norm.weight"), ElementsAre(5, 6));
  const auto file = open();
  ASSERT_EQ(file->tensors().size(), 2U);
  const TensorInfo& info = file->at("a.b.weight");
  EXPECT_THAT(info.shape, ElementsAre(2, 10));
  EXPECT_EQ(info.bytes, 40U);
  EXPECT_EQ(file->stored_bytes(info), 16U + 16 + 8 + 4);
  EXPECT_EQ(file->stored_bytes(file->at("norm.weight")), 4U);
  std::vector<float> row(10);
  file->read_f32_rows(info, 1, 1, row);
  EXPECT_TRUE(std::signbit(row[9]));
  std::vector<std::byte> buffer;
  EXPECT_THAT(file->bytes(info, 15, 2, buffer), ElementsAre(std::byte{0}, std::byte{3}));
  EXPECT_THAT(file->bytes(info, 38, 2, buffer), ElementsAre(std::byte{0}, std::byte{0x80}));
  EXPECT_THROW(file->bytes(info, 38, 3, buffer), Error);
  EXPECT_THROW(file->bytes(info, ~uint64_t{0}, 2, buffer), Error);
  file->release(info);
}

TEST_F(ArchiveTest, OpensTheOlderLayouts) {
  // compressed-tensors before 0.6 kept the whole name; vectors are one row
  for (const char* end : {".shape", ".row_offsets", ".compressed", ".bitmask"})
    rename("a.b" + std::string(end), "a.b.weight" + std::string(end));
  put("c.bias.shape", DType::kI64, {1}, std::vector<int64_t>{3});
  put("c.bias.row_offsets", DType::kI64, {}, std::vector<int64_t>{0});
  put("c.bias.compressed", DType::kBF16, {2}, std::vector<uint16_t>{8, 9});
  put("c.bias.bitmask", DType::kU8, {1}, std::vector<uint8_t>{0x05});
  EXPECT_EQ(dense("a.b.weight").size(), 20U);
  EXPECT_THAT(dense("c.bias"), ElementsAre(8, 0, 9));
  EXPECT_THAT(open()->at("c.bias").shape, ElementsAre(3));
  // sparse-24-bitmask: two values in four, no offsets, a shape of two dimensions
  put("d.shape", DType::kI64, {2, 1}, std::vector<int64_t>{2, 4});
  put("d.compressed", DType::kBF16, {2, 2}, std::vector<uint16_t>{1, 2, 3, 4});
  put("d.bitmask", DType::kU8, {2, 1}, std::vector<uint8_t>{0x05, 0x0C});
  EXPECT_THAT(dense("d.weight"), ElementsAre(1, 0, 2, 0, 0, 0, 3, 4));
}

TEST_F(ArchiveTest, RefusesWrongOffsets) {
  const auto offsets = [&](std::vector<int64_t> values) {
    const auto count = static_cast<int64_t>(values.size());
    put("a.b.row_offsets", DType::kI64, {count}, values);
  };
  offsets({1, 3});
  expect("starts at 1");
  offsets({0, 5});
  expect("of 4");
  offsets({0, -1});
  expect("row 0");
  offsets({0, INT64_MAX});
  expect("row 0");
  offsets({0, 2});
  expect("other columns in row 0");
  offsets({0});
  expect("1 entries for 2 rows");
  put("a.b.row_offsets", DType::kI32, {2}, std::vector<int32_t>{0, 3});
  expect("expected I64");
}

TEST_F(ArchiveTest, RefusesMasksOfTheWrongSize) {
  put("a.b.bitmask", DType::kU8, {3}, std::vector<uint8_t>{0x82, 0x01, 0x00});
  expect("needs 4 bytes");
  put("a.b.bitmask", DType::kI8, {2, 2}, std::vector<uint8_t>{0x82, 0x01, 0x00, 0x02});
  expect("U8");
}

TEST_F(ArchiveTest, RefusesCountsThatDisagree) {
  put("a.b.bitmask", DType::kU8, {2, 2}, std::vector<uint8_t>{0x82, 0x01, 0x01, 0x02});
  expect("other columns in row 1 of 'a.b.weight' than its 1 values");
  put("a.b.bitmask", DType::kU8, {2, 2}, std::vector<uint8_t>{0x82, 0x01, 0x00, 0x04});
  expect("row 1");
  SetUp();
  put("a.b.compressed", DType::kBF16, {5}, std::vector<uint16_t>{1, 2, 3, 4, 5});
  expect("row 1");
  put("a.b.compressed", DType::kBF16, {3}, std::vector<uint16_t>{1, 2, 3});
  expect("row 1");
}

TEST_F(ArchiveTest, RefusesShapesThatNoTensorHas) {
  const auto shape = [&](std::vector<int64_t> values) {
    const auto count = static_cast<int64_t>(values.size());
    put("a.b.shape", DType::kI64, {count}, values);
  };
  shape({2, -10});
  expect("no tensor has");
  shape({INT64_MAX, INT64_MAX});
  expect("no tensor has");
  shape({0, 10});
  expect("no tensor has");
  shape({1, 2, 10});
  expect("3 dimensions");
  shape({20});
  expect("needs 3 bytes");
}

TEST_F(ArchiveTest, RefusesLostAndDoubledParts) {
  for (const char* end : {".shape", ".compressed", ".bitmask"}) {
    SetUp();
    parts_.erase("a.b" + std::string(end));
    try {
      open();
      ADD_FAILURE() << end;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadFile);
      EXPECT_THAT(error.what(), HasSubstr("a.b" + std::string(end)));
    }
  }
  SetUp();
  put("a.b.weight", DType::kBF16, {1}, std::vector<uint16_t>{1});
  expect("both dense and packed");
}

}  // namespace
}  // namespace freelunch::checkpoint
