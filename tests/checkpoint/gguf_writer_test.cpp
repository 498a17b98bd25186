#include "freelunch/checkpoint/gguf/gguf_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>

#include "freelunch/base/error.h"
#include "freelunch/checkpoint/dequantise.h"
#include "freelunch/checkpoint/gguf/gguf.h"
#include "freelunch/checkpoint/gguf/gguf_types.h"
#include "freelunch/checkpoint/quantise.h"
#include "test_folder.h"

namespace freelunch::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class GgufWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = test_folder();
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  static std::string content(const fs::path& path) {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  fs::path folder_;
};

GgufMetadata every_type() {
  GgufMetadata m;
  m.add("general.architecture", GgufValue::string("llama"));
  m.add("u8", {uint64_t{255}, "uint8"});
  m.add("i8", {int64_t{-128}, "int8"});
  m.add("u16", GgufValue::uint16(65535));
  m.add("i16", {int64_t{-32768}, "int16"});
  m.add("u32", GgufValue::uint32(4294967295U));
  m.add("i32", GgufValue::int32(-5));
  m.add("u64", {~uint64_t{0}, "uint64"});
  m.add("i64", {std::numeric_limits<int64_t>::min(), "int64"});
  m.add("f32", GgufValue::float32(1e-5F));
  m.add("f64", {0.1, "float64"});
  m.add("flag", GgufValue::boolean(true));
  m.add("strings", GgufValue::strings({"a", "", "\xC4\xA0x"}));
  m.add("floats", GgufValue::floats({1.5F, -0.0F}));
  m.add("ints", GgufValue::int32s({1, -3}));
  m.add("bytes", {std::vector<int32_t>{200, 3}, "array of uint8"});
  m.add("longs", {std::vector<int64_t>{int64_t{1} << 40}, "array of int64"});
  m.add("doubles", {std::vector<double>{0.1}, "array of float64"});
  m.add("flags", {std::vector<bool>{true, false}, "array of bool"});
  return m;
}

TEST_F(GgufWriterTest, WritingAndOpeningIsTheIdentity) {
  const GgufMetadata written = every_type();
  GgufWriter writer(folder_ / "m.gguf", written,
                    {{"w", DType::kF32, {2, 3}}, {"h", DType::kBF16, {5}}, {"q", DType::kQ8_0, {2, 32}}});
  const std::vector<float> w{1, 2, 3, 4, 5, 6};
  writer.append("w", std::as_bytes(std::span(w)).subspan(0, 4));
  EXPECT_THROW(writer.finish(), Error);
  EXPECT_THROW(writer.append("w", std::as_bytes(std::span(w))), Error);
  writer.append("w", std::as_bytes(std::span(w)).subspan(4));
  EXPECT_THROW(writer.append("w", std::as_bytes(std::span(w)).subspan(0, 4)), Error);
  writer.write("h", std::vector<std::byte>(10, std::byte{7}));
  writer.write("q", std::vector<std::byte>(68, std::byte{9}));
  EXPECT_THROW(writer.write("q", std::vector<std::byte>(68)), Error);
  EXPECT_FALSE(fs::exists(folder_ / "m.gguf"));
  writer.finish();
  const auto file = GgufCheckpoint::open(folder_ / "m.gguf");
  EXPECT_EQ(file->version(), 3U);
  EXPECT_EQ(file->metadata().keys(), written.keys());
  for (const std::string& key : written.keys()) {
    EXPECT_EQ(file->metadata().find(key)->type, written.find(key)->type) << key;
    EXPECT_EQ(file->metadata().find(key)->data, written.find(key)->data) << key;
  }
  EXPECT_THAT(file->at("w").shape, ElementsAre(2, 3));
  EXPECT_EQ(std::memcmp(file->bytes(file->at("w")).data(), w.data(), 24), 0);
  EXPECT_EQ(file->bytes(file->at("h"))[9], std::byte{7});
  EXPECT_EQ(file->bytes(file->at("q"))[67], std::byte{9});
  // reading and writing a file gives the same bytes
  GgufWriter again(folder_ / "again.gguf", file->metadata(),
                   {{"w", DType::kF32, {2, 3}}, {"h", DType::kBF16, {5}}, {"q", DType::kQ8_0, {2, 32}}});
  for (const char* name : {"w", "h", "q"}) again.write(name, file->bytes(file->at(name)));
  again.finish();
  EXPECT_EQ(content(folder_ / "again.gguf"), content(folder_ / "m.gguf"));
}

TEST_F(GgufWriterTest, RefusesWhatTheFormatCannotHold) {
  const auto refused = [&](std::vector<TensorPlan> plan) {
    EXPECT_THROW(GgufWriter(folder_ / "m.gguf", {}, plan), Error);
    EXPECT_TRUE(fs::is_empty(folder_));
  };
  refused({{"a", DType::kF32, {1}}, {"a", DType::kF32, {1}}});
  refused({{"a", DType::kQ8_0, {2, 31}}});
  refused({{"a", DType::kBool, {2}}});
  refused({{"a", DType::kF32, {1, 1, 1, 1, 1}}});
  refused({{"a", DType::kF32, {int64_t{1} << 62, 4}}});
  GgufMetadata bad;
  bad.add("k", {uint64_t{1}, "complex"});
  EXPECT_THROW(GgufWriter(folder_ / "m.gguf", bad, {}), Error);
  { GgufWriter abandoned(folder_ / "m.gguf", {}, {{"a", DType::kF32, {4}}}); }
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST(GgufMetadata, SetReplacesAndRemoveDrops) {
  GgufMetadata m;
  m.set("a", GgufValue::uint32(1));
  m.set("b", GgufValue::uint32(2));
  m.set("a", GgufValue::uint32(3));
  EXPECT_THAT(m.keys(), ElementsAre("a", "b"));
  EXPECT_EQ(m.get_uint("a"), 3U);
  m.remove("a");
  m.remove("absent");
  EXPECT_THAT(m.keys(), ElementsAre("b"));
  EXPECT_FALSE(m.has("a"));
}

TEST(GgufTypes, NumbersGoBothWays) {
  for (uint32_t number = 0; number < 64; ++number) {
    const auto dtype = dtype_of_ggml(number);
    if (dtype) {
      EXPECT_EQ(ggml_type_of(*dtype), number);
    }
  }
  for (uint32_t type = 0; type <= 12; ++type)
    EXPECT_EQ(gguf_type_named(name(static_cast<GgufType>(type))), static_cast<GgufType>(type));
  EXPECT_FALSE(ggml_type_of(DType::kBool));
  EXPECT_FALSE(gguf_type_named("unknown"));
}

TEST(Quantise, ZerosStayExactZerosAndDequantiseBack) {
  std::vector<float> values(64);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = i % 2 == 0 ? 0.0F : static_cast<float>(static_cast<int>(i) - 31) / 8;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0}) {
    std::vector<std::byte> bytes(static_cast<size_t>(*bytes_for(dtype, 64)));
    quantise(dtype, values, bytes, "t");
    std::vector<float> back(64);
    dequantise(dtype, bytes, back);
    for (size_t i = 0; i < values.size(); ++i) {
      if (values[i] == 0) {
        EXPECT_EQ(back[i], 0.0F) << name(dtype);
      } else {
        EXPECT_NEAR(back[i], values[i], 0.02) << name(dtype);
      }
    }
  }
}

TEST(Quantise, Q8ByHand) {
  std::vector<float> values(32);
  values[0] = 127;
  values[1] = -0.5F;  // halves round away from zero
  values[2] = 1.49F;
  std::vector<std::byte> bytes(34);
  quantise(DType::kQ8_0, values, bytes, "t");
  EXPECT_THAT(std::vector<std::byte>(bytes.begin(), bytes.begin() + 6),
              ElementsAre(std::byte{0x00}, std::byte{0x3C}, std::byte{127}, std::byte{0xFF}, std::byte{1},
                          std::byte{0}));
}

TEST(Quantise, RefusesWhatTheDtypeCannotHold) {
  const auto refused = [](DType dtype, float value, const std::string& part) {
    const std::vector<float> values(32, value);
    std::vector<std::byte> bytes(static_cast<size_t>(*bytes_for(dtype, 32)));
    try {
      quantise(dtype, values, bytes, "some.weight");
      ADD_FAILURE() << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kNumerical);
      EXPECT_THAT(error.what(), HasSubstr("some.weight"));
      EXPECT_THAT(error.what(), HasSubstr(part));
    }
  };
  refused(DType::kF16, 70000, "70000");
  refused(DType::kQ8_0, 1e9F, "Q8_0");
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0}) {
    refused(dtype, std::numeric_limits<float>::quiet_NaN(), "nan");
    refused(dtype, std::numeric_limits<float>::infinity(), "inf");
  }
  std::vector<std::byte> bytes(10);
  EXPECT_THROW(quantise(DType::kQ8_0, std::vector<float>(31), bytes, "t"), Error);
  EXPECT_THROW(quantise(DType::kF32, std::vector<float>(31), bytes, "t"), Error);
  EXPECT_THROW(quantise(DType::kQ4_0, std::vector<float>(32), bytes, "t"), Error);
}

}  // namespace
}  // namespace freelunch::checkpoint
