#include "freelunch/architecture/gguf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <map>

#include "freelunch/base/error.h"
#include "test_folder.h"

namespace freelunch::model {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

/// A GGUF file of metadata and fp32 tensors, written by hand so that any part can be wrong.
struct GgufFile {
  std::map<std::string, std::string> metadata;                         // value type and value, as bytes
  std::vector<std::pair<std::string, std::vector<uint64_t>>> tensors;  // ggml shape

  template <typename T>
  static std::string raw(T value) {
    std::string bytes(sizeof value, '\0');
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
  }
  static std::string text(const std::string& s) { return raw<uint64_t>(s.size()) + s; }
  void set(const std::string& key, uint32_t value) { metadata[key] = raw<uint32_t>(4) + raw(value); }
  void set(const std::string& key, uint64_t value) { metadata[key] = raw<uint32_t>(10) + raw(value); }
  void set(const std::string& key, float value) { metadata[key] = raw<uint32_t>(6) + raw(value); }
  void set(const std::string& key, const std::string& value) {
    metadata[key] = raw<uint32_t>(8) + text(value);
  }

  std::string bytes(float fill) const {
    std::string head =
        "GGUF" + raw<uint32_t>(3) + raw<uint64_t>(tensors.size()) + raw<uint64_t>(metadata.size());
    for (const auto& [key, value] : metadata) head += text(key) + value;
    std::string data;
    for (const auto& [name, shape] : tensors) {
      head += text(name) + raw<uint32_t>(static_cast<uint32_t>(shape.size()));
      size_t elements = 1;
      for (const uint64_t size : shape) {
        head += raw(size);
        elements *= size;
      }
      head += raw<uint32_t>(0) + raw<uint64_t>(data.size());
      for (size_t i = 0; i < elements; ++i) data += raw(fill);
      data.resize((data.size() + 31) / 32 * 32);
    }
    head.resize((head.size() + 31) / 32 * 32);
    return head + data;
  }
};

GgufFile sensible() {
  GgufFile file;
  file.set("general.architecture", "llama");
  file.set("llama.embedding_length", 64U);
  file.set("llama.feed_forward_length", 128U);
  file.set("llama.block_count", 2U);
  file.set("llama.attention.head_count", 4U);
  file.set("llama.context_length", 256U);
  file.set("llama.attention.layer_norm_rms_epsilon", 1e-5F);
  file.tensors = {{"token_embd.weight", {64, 100}}};
  return file;
}

class GgufConfigTest : public ::testing::Test {
 protected:
  void SetUp() override { path_ = test_folder().string() + ".gguf"; }
  void TearDown() override { fs::remove(path_); }

  Config read(const GgufFile& file, float fill = 1.0F) {
    std::ofstream(path_, std::ios::binary) << file.bytes(fill);
    return config_from_gguf(*checkpoint::GgufCheckpoint::open(path_), "m.gguf");
  }
  std::string refusal(const GgufFile& file, ErrorKind kind = ErrorKind::kBadFile) {
    try {
      read(file);
      return "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(".gguf"));
      return error.what();
    }
  }
  fs::path path_;
};

TEST_F(GgufConfigTest, ReadsSizesAndFillsInTheRest) {
  const Config config = read(sensible());
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.vocabulary, 100);
  EXPECT_EQ(config.kv_heads, 4);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.layer_types[0].rope_theta, 10000.0);
  EXPECT_TRUE(config.tied_embeddings);
}

TEST_F(GgufConfigTest, RefusesMetadataOfAWrongTypeOrSize) {
  GgufFile file = sensible();
  file.set("llama.block_count", "two");
  EXPECT_THAT(refusal(file), HasSubstr("llama.block_count"));
  file = sensible();
  file.metadata.erase("llama.embedding_length");
  EXPECT_THAT(refusal(file), HasSubstr("llama.embedding_length"));
  file = sensible();
  file.set("llama.attention.head_count", 0U);
  EXPECT_THAT(refusal(file), HasSubstr("head_count"));
  file = sensible();
  file.set("llama.embedding_length", uint64_t{1} << 63U);
  EXPECT_THAT(refusal(file), HasSubstr("width"));
  file = sensible();
  file.set("general.architecture", "mamba");
  EXPECT_THAT(refusal(file, ErrorKind::kUnsupported), HasSubstr("mamba"));
  file.set("general.architecture", "");  // the name of architectures that have none in GGUF files
  EXPECT_THAT(refusal(file, ErrorKind::kUnsupported), HasSubstr("not supported"));
}

TEST_F(GgufConfigTest, RefusesAnEmbeddingThatIsNoMatrix) {
  GgufFile file = sensible();
  file.tensors[0].second = {};
  EXPECT_THAT(refusal(file), HasSubstr("token_embd.weight"));
  file.tensors.clear();
  EXPECT_THAT(refusal(file), HasSubstr("token_embd.weight"));
}

TEST_F(GgufConfigTest, ReadsFrequenciesOnlyIfTheyAreOneAPair) {
  GgufFile file = sensible();
  file.tensors.emplace_back("rope_freqs.weight", std::vector<uint64_t>{8});
  EXPECT_EQ(read(file).layer_types[0].rope_scaling.kind, RopeScalingKind::kLlama3);  // all 1: a factor of 1
  file.tensors.back().second = {4};
  EXPECT_THAT(refusal(file), HasSubstr("rope_freqs.weight"));
  // a head of 2^31 would make the expected frequencies a list of gigabytes
  file.set("llama.attention.key_length", 1U << 31U);
  EXPECT_THAT(refusal(file), HasSubstr("rope_freqs.weight"));
}

}  // namespace
}  // namespace freelunch::model
