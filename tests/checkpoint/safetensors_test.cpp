#include "freelunch/checkpoint/safetensors/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <thread>

#include "freelunch/base/error.h"
#include "freelunch/checkpoint/safetensors/safetensors_writer.h"
#include "test_folder.h"

namespace freelunch::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string file_of(const std::string& header, size_t data) {
  const uint64_t length = header.size();
  std::string content(sizeof length, '\0');
  std::memcpy(content.data(), &length, sizeof length);
  return content + header + std::string(data, '\0');
}

class SafetensorsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = test_folder();
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path write(const std::string& content, const std::string& name = "model.safetensors") {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  void expect(const std::string& content, const std::string& part, ErrorKind kind = ErrorKind::kBadFile) {
    try {
      SafetensorsCheckpoint::open(write(content));
      ADD_FAILURE() << "opened, expected: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(part));
      EXPECT_THAT(error.what(), HasSubstr("model.safetensors"));
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }
  fs::path folder_;
};

TEST_F(SafetensorsTest, WritingAndOpeningIsTheIdentity) {
  const std::vector<float> a{1, 2, 3, 4, 5, 6};
  const std::vector<uint16_t> b{0x3F80, 0x8000, 0x7FC0};
  SafetensorsWriter writer(
      folder_ / "model.safetensors",
      {{"a", DType::kF32, {2, 3}}, {"b", DType::kBF16, {3}}, {"none", DType::kF32, {0, 4}}},
      {{"format", "pt"}});
  writer.write("b", std::as_bytes(std::span(b)));
  writer.write("none", {});
  EXPECT_THROW(writer.finish(), Error);
  EXPECT_THROW(writer.write("a", std::as_bytes(std::span(b))), Error);
  writer.write("a", std::as_bytes(std::span(a)));
  EXPECT_THROW(writer.write("a", std::as_bytes(std::span(a))), Error);
  EXPECT_FALSE(fs::exists(folder_ / "model.safetensors"));
  writer.finish();
  const auto file = SafetensorsCheckpoint::open(folder_);
  EXPECT_THAT(file->at("a").shape, ::testing::ElementsAre(2, 3));
  EXPECT_EQ(std::memcmp(file->bytes(file->at("a")).data(), a.data(), 24), 0);
  EXPECT_EQ(std::memcmp(file->bytes(file->at("b")).data(), b.data(), 6), 0);
  EXPECT_EQ(file->metadata().at("format"), "pt");
  std::vector<float> values(3);
  file->read_f32(file->at("b"), values);
  EXPECT_EQ(values[0], 1.0F);
  EXPECT_TRUE(std::signbit(values[1]));
  EXPECT_TRUE(std::isnan(values[2]));
}

TEST_F(SafetensorsTest, PiecesOfNoBytesMayComeAtAnyTime) {
  // the values of a matrix of zeros: one empty piece for each row
  const std::vector<float> a{1, 2};
  SafetensorsWriter writer(folder_ / "model.safetensors",
                           {{"a", DType::kF32, {2}}, {"none", DType::kF32, {0}}}, {});
  writer.append("none", {});
  writer.append("none", {});
  writer.append("a", std::as_bytes(std::span(a)));
  writer.append("a", {});
  EXPECT_THROW(writer.append("a", std::as_bytes(std::span(a)).first(4)), Error);
  EXPECT_THROW(writer.write("none", {}), Error);
  writer.finish();
  const auto file = SafetensorsCheckpoint::open(folder_);
  EXPECT_EQ(file->bytes(file->at("none")).size(), 0);
  EXPECT_EQ(std::memcmp(file->bytes(file->at("a")).data(), a.data(), 8), 0);
}

TEST_F(SafetensorsTest, AWriterThatIsNotFinishedLeavesNothing) {
  { SafetensorsWriter writer(folder_ / "x.safetensors", {{"a", DType::kF32, {4}}}, {}); }
  EXPECT_TRUE(fs::is_empty(folder_));
  EXPECT_THROW(SafetensorsWriter(folder_ / "no" / "x", {{"a", DType::kF32, {4}}}, {}), Error);
  EXPECT_THROW(SafetensorsWriter(folder_ / "x", {{"a", DType::kF32, {4}}, {"a", DType::kF32, {4}}}, {}),
               Error);
  EXPECT_THROW(SafetensorsWriter(folder_ / "x", {{"a", DType::kQ4_0, {32}}}, {}), Error);
}

TEST_F(SafetensorsTest, RefusesBrokenHeaders) {
  expect("", "model.safetensors");
  expect("1234", "too few");
  expect(file_of("{}", 0).substr(0, 9), "claims");
  expect(std::string(8, '\xff') + "{}", "claims");
  expect(file_of("[1,2]", 0), "not a JSON object");
  expect(file_of("{\"a\":", 0), "not valid JSON");
  expect(file_of(std::string(10000, '[') + std::string(10000, ']'), 0), "nested");
  std::string deep;
  for (int i = 0; i < 10000; ++i) deep += "{\"a\":";
  expect(file_of(deep, 0), "nested");
  expect(
      file_of(
          R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
          4),
      "twice");
  expect(file_of(R"({"__metadata__":{"a":1}})", 0), "strings");
  expect("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "LFS");
}

TEST_F(SafetensorsTest, RefusesBrokenTensors) {
  const auto one = [](const std::string& entry, size_t data) {
    return file_of("{\"t\":" + entry + "}", data);
  };
  EXPECT_NO_THROW(
      SafetensorsCheckpoint::open(write(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})", 8))));
  expect(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})", 7), "incomplete download");
  expect(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})", 9), "after its last tensor");
  expect(one(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})", 8), "backwards");
  expect(one(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})", 8), "needs 12");
  expect(one(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]})", 8),
         "more than exist");
  expect(one(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})", 8), "shape");
  expect(one(R"({"dtype":"F32","shape":"x","data_offsets":[0,8]})", 8), "shape");
  expect(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]})", 8), "'t'");
  expect(one(R"({"shape":[2],"data_offsets":[0,8]})", 8), "malformed");
  expect(one(R"({"dtype":"F9_E4M4","shape":[8],"data_offsets":[0,9]})", 9), "F9_E4M4",
         ErrorKind::kUnsupported);
  expect(one(R"({"dtype":"F4","shape":[3],"data_offsets":[0,2]})", 2), "needs");  // ends inside a byte
  expect(
      file_of(
          R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
          12),
      "overlaps");
  expect(
      file_of(
          R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
          12),
      "hole");
}

// Bits of an element, from the specification: github.com/huggingface/safetensors, enum Dtype.
TEST_F(SafetensorsTest, OpensEveryDtypeOfTheSpecification) {
  for (const auto& [dtype, bits] : std::map<std::string, int>{
           {"BOOL", 8},        {"F4", 4},          {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},   {"I8", 8},
           {"F8_E5M2", 8},     {"F8_E4M3", 8},     {"F8_E8M0", 8}, {"I16", 16},    {"U16", 16}, {"F16", 16},
           {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"BF16", 16},   {"I32", 32},    {"U32", 32}, {"F32", 32},
           {"C64", 64},        {"F64", 64},        {"I64", 64},    {"U64", 64}}) {
    const auto bytes = static_cast<size_t>(8 * bits / 8);
    const std::string entry = "{\"t\":{\"dtype\":\"" + dtype + "\",\"shape\":[2,4],\"data_offsets\":[0," +
                              std::to_string(bytes) + "]}}";
    const auto file = SafetensorsCheckpoint::open(write(file_of(entry, bytes)));
    EXPECT_EQ(name(file->at("t").dtype), dtype);
    EXPECT_EQ(file->at("t").bytes, bytes) << dtype;
  }
}

TEST_F(SafetensorsTest, OpensShardsAndMissesLostOnes) {
  const std::string shard = file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4);
  write(shard, "model-00001-of-00002.safetensors");
  const auto index = [&](const std::string& map) {
    write("{\"weight_map\":" + map + "}", "model.safetensors.index.json");
  };
  const auto message = [&] {
    try {
      SafetensorsCheckpoint::open(folder_);
      return std::string("opened");
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadFile);
      return std::string(error.what());
    }
  };
  index(R"({"a":"model-00001-of-00002.safetensors"})");
  EXPECT_EQ(message(), "opened");
  index(R"({"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"})");
  EXPECT_THAT(message(), HasSubstr("not there"));
  index(R"({"a":"model-00001-of-00002.safetensors","b":"model-00001-of-00002.safetensors"})");
  EXPECT_EQ(message(), "opened");  // nothing may need 'b'
  EXPECT_THAT(SafetensorsCheckpoint::open(folder_)->notes(), ElementsAre(HasSubstr("no shard holds: 'b'")));
  index(R"({"a":"../x.safetensors"})");
  EXPECT_THAT(message(), HasSubstr("outside"));
  index("{}");
  EXPECT_THAT(message(), HasSubstr("no tensor"));
  write("{}", "model.safetensors.index.json");
  EXPECT_THAT(message(), HasSubstr("weight_map"));
}

TEST_F(SafetensorsTest, SeveralThreadsReadAtOnce) {
  std::string header = "{";
  for (int i = 0; i < 50; ++i)
    header += (i > 0 ? "," : "") + std::string("\"t") + std::to_string(i) +
              R"(":{"dtype":"BF16","shape":[8,16],"data_offsets":[)" + std::to_string(256 * i) + "," +
              std::to_string(256 * (i + 1)) + "]}";
  const auto file = SafetensorsCheckpoint::open(write(file_of(header + "}", 256 * 50)));
  std::atomic<int> found = 0;
  {
    std::vector<std::jthread> threads;
    for (int k = 0; k < 4; ++k) {
      threads.emplace_back([&] {
        std::vector<float> values(128);
        for (int i = 0; i < 50; ++i) {
          const TensorInfo& info = file->at("t" + std::to_string(i));  // the first at() builds the index
          file->read_f32(info, values);
          file->release(info);
          if (values[0] == 0) ++found;
        }
      });
    }
  }
  EXPECT_EQ(found, 200);
}

TEST_F(SafetensorsTest, AFolderWithoutWeightsIsRefused) {
  EXPECT_THROW(SafetensorsCheckpoint::open(folder_), Error);
  EXPECT_THROW(SafetensorsCheckpoint::open(folder_ / "absent"), Error);
}

}  // namespace
}  // namespace freelunch::checkpoint
