#include "freelunch/model_io/tensor_pieces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "freelunch/base/error.h"
#include "freelunch/storage/tensor_file.h"
#include "test_folder.h"
#include "tiny_model_folder.h"

namespace freelunch::pipeline {
namespace {

using checkpoint::DType;
using ::testing::HasSubstr;

constexpr const char* kUp = "model.layers.0.mlp.up_proj.weight";

/// A tiny model and, over it, one tensor that a run has changed.
class TensorPiecesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    tensors_ = tiny_tensors();
    open();
  }
  void TearDown() override {
    changes_.reset();
    std::filesystem::remove_all(test_folder());
  }
  void open(const nlohmann::ordered_json& config = tiny_config_json()) {
    write_model(test_folder(), tensors_, config);
    model_ = model::LanguageModel::open(test_folder());
    saved_ = model_->hugging_face_tensors();
  }
  void change(const std::string& name, const at::Tensor& values) {
    if (!changes_) changes_.emplace(test_folder() / "changes");
    changes_->put(name, values);
  }
  model::WeightView weights() const { return model::WeightView(*model_, changes_ ? &*changes_ : nullptr); }
  const model::SavedTensor& saved(const std::string& name) const {
    for (const model::SavedTensor& tensor : saved_) {
      if (tensor.name == name) return tensor;
    }
    throw std::runtime_error(name);
  }
  /// All pieces joined: values in the dtype that `as` names.
  at::Tensor stored(const std::string& name, const StoredAs& as, at::ScalarType dtype) const {
    std::vector<std::byte> bytes;
    for_each_piece(weights(), saved(name), as, [&](std::span<const std::byte> piece) {
      bytes.insert(bytes.end(), piece.begin(), piece.end());
    });
    at::Tensor values = at::empty(tensors_.at(name).sizes(), dtype);
    EXPECT_EQ(bytes.size(), values.nbytes());
    std::memcpy(values.mutable_data_ptr(), bytes.data(), std::min(bytes.size(), values.nbytes()));
    return values;
  }
  static bool has_negative_zero(const at::Tensor& values) {
    return values.eq(0).logical_and(values.to(at::kFloat).signbit()).any().item<bool>();
  }

  Tensors tensors_;
  std::unique_ptr<model::LanguageModel> model_;
  std::vector<model::SavedTensor> saved_;
  std::optional<model::TensorFile> changes_;
};

TEST_F(TensorPiecesTest, CopiesATensorThatKeepsItsValuesAndDtype) {
  tensors_[kUp][0][0] = -0.0F;
  open();
  EXPECT_TRUE(is_verbatim(weights(), saved(kUp), {.dtype = DType::kF32}));
  const at::Tensor copy = stored(kUp, {.dtype = DType::kF32}, at::kFloat);
  EXPECT_TRUE(at::equal(copy, tensors_[kUp]));
  EXPECT_TRUE(has_negative_zero(copy));
}

TEST_F(TensorPiecesTest, PlainZerosHaveNoSignAndOtherValuesStay) {
  tensors_[kUp][0][0] = -0.0F;
  tensors_[kUp][0][1] = -1e-45F;  // the smallest number: all bits but the last are a negative zero's
  open();
  const at::Tensor copy = stored(kUp, {.dtype = DType::kF32, .plain_zeros = true}, at::kFloat);
  EXPECT_TRUE(at::equal(copy, tensors_[kUp]));
  EXPECT_FALSE(has_negative_zero(copy));
  EXPECT_TRUE(copy[0][1].signbit().item<bool>());
}

TEST_F(TensorPiecesTest, RoundsToAnotherDtype) {
  EXPECT_FALSE(is_verbatim(weights(), saved(kUp), {.dtype = DType::kBF16}));
  EXPECT_TRUE(
      at::equal(stored(kUp, {.dtype = DType::kBF16}, at::kBFloat16), tensors_[kUp].to(at::kBFloat16)));
  EXPECT_TRUE(at::equal(stored(kUp, {.dtype = DType::kF16}, at::kHalf), tensors_[kUp].to(at::kHalf)));
}

TEST_F(TensorPiecesTest, WritesTheChangedValuesWithoutNegativeZeros) {
  at::Tensor values = at::randn({24, 16});
  values[3].fill_(-0.0F);
  change(kUp, values);
  EXPECT_FALSE(is_verbatim(weights(), saved(kUp), {.dtype = DType::kF32}));
  const at::Tensor written = stored(kUp, {.dtype = DType::kF32}, at::kFloat);
  EXPECT_TRUE(at::equal(written, values));
  EXPECT_FALSE(has_negative_zero(written));
}

TEST_F(TensorPiecesTest, NamesTheTensorThatADtypeCannotHold) {
  tensors_[kUp][1][1] = 1e6F;
  open();
  try {
    stored(kUp, {.dtype = DType::kF16}, at::kHalf);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNumerical);
    EXPECT_THAT(error.what(), HasSubstr(kUp));
  }
}

TEST_F(TensorPiecesTest, RefusesRowsThatAreNotWholeBlocks) {
  try {
    for_each_piece(weights(), saved(kUp), {.dtype = DType::kQ8_0}, [](std::span<const std::byte>) {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr("rows of 16"));
  }
}

TEST_F(TensorPiecesTest, ALargeMatrixComesInSeveralPiecesOfWholeRows) {
  constexpr int64_t kRows = 300'000;  // of 64 bytes: more than one piece of 16 MiB
  tensors_ = tiny_tensors(kRows);
  open(tiny_config_json(kRows));
  const std::string name = "model.embed_tokens.weight";
  int64_t row = 0;
  int pieces = 0;
  const auto check = [&](const void* data, size_t bytes) {
    ASSERT_EQ(bytes % 64, 0);
    const auto rows = static_cast<int64_t>(bytes / 64);
    const at::Tensor expected = tensors_[name].narrow(0, row, rows).contiguous();
    EXPECT_EQ(std::memcmp(data, expected.const_data_ptr(), bytes), 0) << "from row " << row;
    row += rows;
    ++pieces;
  };
  for_each_piece(weights(), saved(name), {.dtype = DType::kF32},
                 [&](std::span<const std::byte> piece) { check(piece.data(), piece.size()); });
  EXPECT_EQ(row, kRows);
  EXPECT_EQ(pieces, 2);
  row = pieces = 0;
  for_each_rows(*model_, model_->at(name), [&](const at::Tensor& values) {
    check(values.contiguous().const_data_ptr(), values.nbytes());
  });
  EXPECT_EQ(row, kRows);
  EXPECT_EQ(pieces, 2);
}

TEST_F(TensorPiecesTest, RefusesToReadAValueThatIsNotFinite) {
  tensors_[kUp][2][2] = NAN;
  open();
  try {
    for_each_rows(*model_, model_->at(kUp), [](const at::Tensor&) {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadFile);
    EXPECT_THAT(error.what(), HasSubstr(kUp));
  }
}

}  // namespace
}  // namespace freelunch::pipeline
