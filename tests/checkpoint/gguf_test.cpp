#include "freelunch/checkpoint/gguf/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "freelunch/base/error.h"
#include "test_folder.h"

namespace freelunch::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

/// Writes GGUF files by hand, valid and broken ones.
class Bytes {
 public:
  template <typename T>
  Bytes& put(T value) {
    data_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Bytes& text(const std::string& s) {
    put<uint64_t>(s.size());
    data_ += s;
    return *this;
  }
  Bytes& raw(const std::string& s) {
    data_ += s;
    return *this;
  }
  Bytes& pad(size_t to) {
    while (data_.size() % to != 0) data_ += '\0';
    return *this;
  }
  const std::string& str() const { return data_; }

 private:
  std::string data_;
};

Bytes start(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
  Bytes b;
  b.raw("GGUF").put(version).put(tensors).put(keys);
  return b;
}

Bytes& tensor(Bytes& b, const std::string& name, std::vector<uint64_t> ggml_shape, uint32_t type,
              uint64_t offset) {
  b.text(name).put(static_cast<uint32_t>(ggml_shape.size()));
  for (const uint64_t size : ggml_shape) b.put(size);
  return b.put(type).put(offset);
}

class GgufTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = test_folder();
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path write(const std::string& content, const std::string& name = "m.gguf") {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  void expect(ErrorKind kind, const std::string& content, const std::string& part) {
    try {
      GgufCheckpoint::open(write(content));
      ADD_FAILURE() << "opened, expected: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(part));
      EXPECT_THAT(error.what(), HasSubstr("m.gguf"));
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }
  fs::path folder_;
};

TEST_F(GgufTest, ReadsMetadataAndPutsShapesOutermostFirst) {
  Bytes b = start(1, 4);
  b.text("general.architecture").put<uint32_t>(8).text("llama");
  b.text("n").put<uint32_t>(4).put<uint32_t>(7);
  b.text("eps").put<uint32_t>(6).put<float>(0.5F);
  b.text("types").put<uint32_t>(9).put<uint32_t>(5).put<uint64_t>(2).put<int32_t>(1).put<int32_t>(-3);
  tensor(b, "w", {3, 2}, 0, 0).pad(32);
  for (int i = 0; i < 6; ++i) b.put(static_cast<float>(i));
  const auto file = GgufCheckpoint::open(write(b.str()));
  EXPECT_EQ(file->version(), 3U);
  EXPECT_EQ(file->metadata().get_string("general.architecture"), "llama");
  EXPECT_EQ(file->metadata().get_uint("n"), 7U);
  EXPECT_EQ(file->metadata().get_float("eps"), 0.5);
  EXPECT_THAT(file->metadata().get_ints("types"), ::testing::ElementsAre(1, -3));
  EXPECT_EQ(file->metadata().get_uint("absent", 9), 9U);
  EXPECT_THROW(file->metadata().get_uint("absent"), Error);
  EXPECT_THROW(file->metadata().get_string("n"), Error);
  EXPECT_THAT(file->at("w").shape, ::testing::ElementsAre(2, 3));
  std::vector<float> row(3);
  file->read_f32_rows(file->at("w"), 1, 1, row);
  EXPECT_THAT(row, ::testing::ElementsAre(3.0F, 4.0F, 5.0F));
  EXPECT_THROW(file->read_f32_rows(file->at("w"), 2, 1, row), Error);
  EXPECT_THROW(file->at("v"), Error);
}

TEST_F(GgufTest, RefusesBrokenFiles) {
  const auto bad = ErrorKind::kBadFile;
  expect(bad, "", "m.gguf");
  expect(bad, "GG", "magic");
  expect(bad, "GGML1234567890123456789012345", "GGUF");
  expect(bad, "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "LFS");
  expect(ErrorKind::kUnsupported, start(0, 0, 1).str(), "version 1");
  expect(ErrorKind::kUnsupported, start(0, 0, 0x03000000).str(), "big-endian");
  expect(bad, start(uint64_t{1} << 60, 0).str(), "more than");
  expect(bad, start(0, uint64_t{1} << 60).str(), "more than");
  expect(bad, start(0, 1).put(uint64_t{1} << 63).raw(std::string(64, 'x')).str(), "incomplete download");
  expect(bad, start(0, 1).text("k").put<uint32_t>(8).put(uint64_t{1} << 63).raw(std::string(64, 'x')).str(),
         "incomplete download");
  expect(bad, start(0, 1).text("k").put<uint32_t>(9).put<uint32_t>(8).put(uint64_t{1} << 60).str(),
         "more than the file holds");
  expect(bad, start(0, 1).text("k").put<uint32_t>(9).put<uint32_t>(9).put<uint64_t>(1).str(), "array");
  expect(bad, start(0, 1).text("k").put<uint32_t>(77).put<uint64_t>(1).str(), "value type 77");
  expect(bad,
         start(0, 2)
             .text("k")
             .put<uint32_t>(7)
             .put<uint8_t>(1)
             .text("k")
             .put<uint32_t>(7)
             .put<uint8_t>(1)
             .raw(std::string(16, ' '))
             .str(),
         "twice");
  expect(bad, start(0, 1).text("general.alignment").put<uint32_t>(4).put<uint32_t>(0).str(), "alignment");
  expect(bad, start(0, 1).text("general.alignment").put<uint32_t>(4).put<uint32_t>(24).str(), "power of two");
  expect(bad, start(0, 1).text("general.alignment").put<uint32_t>(8).text("x").str(), "string");
}

TEST_F(GgufTest, RefusesBrokenTensors) {
  const auto one = [](std::vector<uint64_t> shape, uint32_t type, uint64_t offset, size_t data = 64) {
    Bytes b = start(1, 0);
    tensor(b, "w", std::move(shape), type, offset).pad(32).raw(std::string(data, '\0'));
    return b.str();
  };
  const auto bad = ErrorKind::kBadFile;
  EXPECT_NO_THROW(GgufCheckpoint::open(write(one({16}, 0, 0))));
  expect(bad, one({17}, 0, 0), "incomplete download");
  expect(bad, one({16}, 0, 32), "incomplete download");
  expect(bad, one({16}, 0, ~uint64_t{31}), "'w'");
  expect(bad, one({16}, 0, 1), "aligned");
  expect(bad, one({uint64_t{1} << 62, 4}, 0, 0), "shape");
  expect(bad, one({~uint64_t{0}}, 0, 0), "dimension");
  expect(bad, one({1, 1, 1, 1, 1}, 0, 0), "5 dimensions");
  expect(bad, one({16, 2}, 2, 0), "shape");  // Q4_0 rows are whole blocks of 32
  expect(ErrorKind::kUnsupported, one({256}, 16, 0), "ggml type 16");
  Bytes overlapping = start(2, 0);
  tensor(overlapping, "a", {16}, 0, 0);
  tensor(overlapping, "b", {16}, 0, 32).pad(32).raw(std::string(128, '\0'));
  expect(bad, overlapping.str(), "overlap");
  Bytes twice = start(2, 0);
  tensor(twice, "a", {8}, 0, 0);
  tensor(twice, "a", {8}, 0, 32).pad(32).raw(std::string(64, '\0'));
  expect(bad, twice.str(), "twice");
}

TEST_F(GgufTest, EveryTruncationIsRefused) {
  Bytes b = start(1, 2);
  b.text("general.architecture").put<uint32_t>(8).text("llama");
  b.text("list").put<uint32_t>(9).put<uint32_t>(8).put<uint64_t>(2).text("ab").text("c");
  tensor(b, "w", {8}, 0, 0).pad(32).raw(std::string(32, 'x'));
  const std::string whole = b.str();
  EXPECT_NO_THROW(GgufCheckpoint::open(write(whole)));
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THROW(GgufCheckpoint::open(write(whole.substr(0, size))), Error) << size;
  }
}

TEST_F(GgufTest, OpensSplitFilesAsOneAndMissesLostParts) {
  const auto part = [](const std::string& name) {
    Bytes b = start(1, 0);
    tensor(b, name, {8}, 0, 0).pad(32).raw(std::string(32, '\0'));
    return b.str();
  };
  write(part("a"), "m-00001-of-00002.gguf");
  try {
    GgufCheckpoint::open(folder_ / "m-00001-of-00002.gguf");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("m-00002-of-00002.gguf"));
  }
  write(part("b"), "m-00002-of-00002.gguf");
  const auto file = GgufCheckpoint::open(folder_ / "m-00002-of-00002.gguf");
  EXPECT_NE(file->find("a"), nullptr);
  EXPECT_EQ(file->at("b").file, "m-00002-of-00002.gguf");
  write(part("a"), "m-00002-of-00002.gguf");
  EXPECT_THROW(GgufCheckpoint::open(folder_ / "m-00001-of-00002.gguf"), Error);
  for (const char* impossible : {"m-00001-of-00000.gguf", "m-00000-of-00001.gguf", "m-00002-of-00001.gguf"}) {
    write(part("a"), impossible);
    EXPECT_THROW(GgufCheckpoint::open(folder_ / impossible), Error) << impossible;
  }
}

}  // namespace
}  // namespace freelunch::checkpoint
