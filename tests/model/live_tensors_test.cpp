#include "freelunch/model/live_tensors.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "freelunch/base/error.h"

namespace freelunch::model {
namespace {

using ::testing::HasSubstr;

std::string refusal(const std::vector<LiveTensors::Named>& tensors) {
  try {
    const LiveTensors live(tensors);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
    return error.what();
  }
  return "";
}

/// The values of an fp32 tensor, read in pieces of `step` bytes.
std::vector<float> read(const LiveTensors& live, const std::string& name, uint64_t step) {
  const checkpoint::TensorInfo& info = live.at(name);
  std::vector<std::byte> all;
  std::vector<std::byte> buffer;
  for (uint64_t at = 0; at < info.bytes; at += step) {
    const auto piece = live.bytes(info, at, std::min(step, info.bytes - at), buffer);
    all.insert(all.end(), piece.begin(), piece.end());
  }
  std::vector<float> values(all.size() / sizeof(float));
  std::memcpy(values.data(), all.data(), all.size());
  return values;
}

TEST(LiveTensors, ReadAContiguousTensorWhereItIs) {
  const at::Tensor tensor = at::arange(12, at::kFloat).view({3, 4});
  const LiveTensors live({{"a", tensor}});
  std::vector<std::byte> buffer;
  const auto bytes = live.bytes(live.at("a"), 4, 8, buffer);
  EXPECT_EQ(static_cast<const void*>(bytes.data()), tensor.const_data_ptr<float>() + 1);
  EXPECT_TRUE(buffer.empty());
}

TEST(LiveTensors, ReadOtherStridesByRowWhateverThePiece) {
  const at::Tensor tensor = at::arange(12, at::kFloat).view({4, 3}).t();  // (3, 4)
  const LiveTensors live({{"a", tensor}});
  const std::vector<float> expected{0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11};
  for (const uint64_t step : {4, 12, 16, 20, 48}) EXPECT_EQ(read(live, "a", step), expected) << step;
}

TEST(LiveTensors, WriteIntoTheMemoryOfTheCallerAndRoundToNearest) {
  const at::Tensor tensor = at::zeros({2, 4}, at::kBFloat16).t();  // not contiguous
  const LiveTensors live({{"a", tensor}});
  const at::Tensor values = at::full({4, 2}, 1.00390625F);  // 1 + 2^-8: halfway, to even
  live.write(live.at("a"), values);
  EXPECT_TRUE(at::equal(tensor, at::ones({4, 2}, at::kBFloat16)));
}

TEST(LiveTensors, RefuseValuesThatTheDtypeCannotHold) {
  const LiveTensors live({{"a", at::zeros({2}, at::kHalf)}});
  EXPECT_NO_THROW(live.check_values(live.at("a"), at::full({2}, 65504.0F)));
  EXPECT_THROW(live.check_values(live.at("a"), at::full({2}, 70000.0F)), Error);
}

TEST(LiveTensors, StoreTiedTensorsOnceUnderTheFirstName) {
  const at::Tensor tensor = at::ones({3, 4});
  const LiveTensors live({{"embedding", tensor}, {"head", tensor}, {"part", tensor.narrow(0, 0, 2)}});
  EXPECT_EQ(live.tensors().size(), 2);  // a part has another shape
  EXPECT_EQ(live.shared_with("head"), "embedding");
  EXPECT_EQ(live.shared_with("embedding"), "");
  EXPECT_EQ(live.find("head"), nullptr);
}

TEST(LiveTensors, SplitIntoFilesAsTransformersDoes) {
  const at::Tensor large = at::empty({1}).expand({300'000'000, 4});  // 4.8 GB that take no memory
  const LiveTensors live({{"a", large}, {"b", at::empty({1}).expand({300'000'000})}});
  EXPECT_EQ(live.at("a").file, "model-00001-of-00002.safetensors");
  EXPECT_EQ(live.at("b").file, "model-00002-of-00002.safetensors");
}

TEST(LiveTensors, RefuseWhatHasNoValues) {
  EXPECT_THAT(refusal({{"a", at::empty({2}, at::TensorOptions().device(at::kMeta))}}),
              HasSubstr("'a' is on the device meta"));
  EXPECT_THAT(refusal({{"a", at::ones({2, 2}).to_sparse()}}), HasSubstr("'a' is not strided"));
  EXPECT_THAT(refusal({{"a", at::ones({2}, at::kComplexFloat)}}), HasSubstr("expected float32"));
  EXPECT_THAT(refusal({{"a", at::ones({2})}, {"a", at::ones({3})}}), HasSubstr("two tensors are named 'a'"));
}

TEST(LiveTensors, HaveADigestOfNamesAndValues) {
  const auto digest = [](const std::string& name, const at::Tensor& tensor) {
    return LiveTensors({{name, tensor}}).sha256();
  };
  const at::Tensor tensor = at::arange(6, at::kFloat).view({2, 3});
  EXPECT_EQ(digest("a", tensor), digest("a", tensor.t().contiguous().t()));  // other strides
  EXPECT_NE(digest("a", tensor), digest("b", tensor));
  EXPECT_NE(digest("a", tensor), digest("a", tensor + 1));
  EXPECT_NE(digest("a", tensor), digest("a", tensor.view({3, 2})));
}

}  // namespace
}  // namespace freelunch::model
