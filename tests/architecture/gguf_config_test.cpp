#include "freelunch/architecture/gguf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "freelunch/architecture/architecture.h"
#include "freelunch/architecture/gguf_keys.h"
#include "freelunch/architecture/hf_config.h"
#include "freelunch/base/error.h"
#include "freelunch/checkpoint/gguf/gguf_writer.h"
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
  void set_array(const std::string& key, const std::vector<uint32_t>& values) {
    std::string& bytes = metadata[key] = raw<uint32_t>(9) + raw<uint32_t>(4) + raw<uint64_t>(values.size());
    for (const uint32_t value : values) bytes += raw(value);
  }
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

TEST_F(GgufConfigTest, TakesSizesOfEachBlockIfTheyAreTheSame) {
  GgufFile file = sensible();
  file.set_array("llama.attention.head_count", {4, 4});
  EXPECT_EQ(read(file).heads, 4);
  file.set_array("llama.attention.head_count", {4, 8});
  EXPECT_THAT(refusal(file, ErrorKind::kUnsupported), HasSubstr("llama.attention.head_count"));
  file.set_array("llama.attention.head_count", {});
  refusal(file, ErrorKind::kUnsupported);
}

TEST_F(GgufConfigTest, RefusesAKeyThatMayChangeTheModelWithItsNameAndValue) {
  GgufFile file = sensible();
  file.set("llama.attention.clamp_kqv", 8.0F);
  EXPECT_THAT(refusal(file, ErrorKind::kUnsupported), HasSubstr("llama.attention.clamp_kqv = 8"));
  file.set("llama.attention.clamp_kqv", 0.0F);
  EXPECT_EQ(read(file).heads, 4);
  file.set("llama.no_such_key", "yes");
  EXPECT_THAT(refusal(file, ErrorKind::kUnsupported), HasSubstr("llama.no_such_key = 'yes'"));
  file.metadata.erase("llama.no_such_key");
  file.set("other.key", 1U);
  EXPECT_EQ(read(file).heads, 4);
}

TEST_F(GgufConfigTest, NamesTheHarmlessKeysThatItDoesNotRead) {
  GgufFile file = sensible();
  file.set("llama.tensor_data_layout", "Meta AI original pth");
  file.set("llama.attention.value_length", 16U);
  const Config config = read(file);
  const auto opened = checkpoint::GgufCheckpoint::open(path_);
  const Architecture& architecture = architecture_of_model_type("llama", "m.gguf");
  EXPECT_THAT(ignored_keys(opened->metadata(), architecture, config, "m.gguf"),
              ::testing::ElementsAre("llama.attention.value_length", "llama.tensor_data_layout"));
}

TEST_F(GgufConfigTest, RefusesBiasesOfSomeMatricesOnly) {
  GgufFile file = sensible();
  file.tensors.emplace_back("blk.1.attn_k.bias", std::vector<uint64_t>{64});
  EXPECT_THAT(refusal(file, ErrorKind::kUnsupported), HasSubstr("'blk.1.attn_k.bias' but not"));
}

std::vector<const Architecture*> with_gguf_form() {
  std::vector<const Architecture*> found;
  for (const Architecture* a : all_architectures()) {
    if (!a->gguf.name.empty()) found.push_back(a);
  }
  return found;
}

/// A small model whose every key differs from its default. Numbers are exact in fp32.
Config small(const Architecture& architecture) {
  Config c = architecture.base;
  c.architecture = architecture.name;
  c.vocabulary = 100;
  c.width = c.embedding_width = 64;
  c.intermediate = 128;
  c.blocks = 12;
  c.heads = 4;
  c.kv_heads = architecture.keys.kv_heads.empty() ? 4 : 2;
  c.head_dim = 16;
  c.max_length = 256;
  c.norm_epsilon = 0.00390625;
  if (c.experts.count > 0) c.experts = {.count = 4, .chosen = 3, .intermediate = 32};
  if (!architecture.gguf.parallel_key.empty()) c.parallel = !architecture.base.parallel;
  if (c.positions == PositionKind::kRotary) {
    for (LayerType& type : c.layer_types) {
      if (&type != c.layer_types.data() && architecture.rope_of_each_layer_type) continue;
      type.rope_theta = 500000;
      type.rope_scaling = {.kind = RopeScalingKind::kLinear, .factor = 4};
    }
    if (!architecture.gguf.window_key.empty()) c.layer_types.back().window = 32;
  }
  if (architecture.gguf.window_key.empty()) c.layer_types.back().window.reset();
  if (architecture.gguf.complete != nullptr) architecture.gguf.complete(c);
  return c;
}

class GgufRoundTripTest : public ::testing::TestWithParam<const Architecture*> {
 protected:
  void SetUp() override { path_ = test_folder().string() + ".gguf"; }
  void TearDown() override { fs::remove(path_); }

  /// What config_from_gguf makes of config_to_gguf and of the tensors that it looks at.
  Config written_and_read(const Config& config) const {
    std::vector<checkpoint::TensorPlan> tensors{
        {"token_embd.weight", checkpoint::DType::kF32, {config.vocabulary, config.width}}};
    if (!config.tied_embeddings) tensors.push_back({"output.weight", checkpoint::DType::kF32, {1}});
    std::set<std::string> biases;
    const auto add_biases = [&](bool present, const std::vector<WeightRole::Kind>& roles) {
      for (const WeightRole::Kind role : roles) {
        const RoleName* named = GetParam()->gguf.names.find(role);
        if (!present || named == nullptr) continue;
        const std::string stored(named->stored.empty() ? named->name : named->stored);
        for (int64_t b = 0; b < config.blocks; ++b) biases.insert("blk." + std::to_string(b) + "." + stored);
      }
    };
    add_biases(config.qkv_bias, {WeightRole::kQueryBias, WeightRole::kKeyBias, WeightRole::kValueBias});
    add_biases(config.output_bias, {WeightRole::kOutputBias});
    add_biases(config.mlp_bias, {WeightRole::kUpBias, WeightRole::kDownBias});
    for (const std::string& bias : biases) tensors.push_back({bias, checkpoint::DType::kF32, {1}});
    checkpoint::GgufWriter writer(path_, config_to_gguf(config), tensors);
    for (const checkpoint::TensorPlan& tensor : tensors) {
      size_t bytes = sizeof(float);
      for (const int64_t size : tensor.shape) bytes *= static_cast<size_t>(size);
      writer.write(tensor.name, std::vector<std::byte>(bytes));
    }
    writer.finish();
    return config_from_gguf(*checkpoint::GgufCheckpoint::open(path_), "m.gguf");
  }
  fs::path path_;
};

TEST_P(GgufRoundTripTest, AConfigurationSurvivesItsMetadata) {
  for (const bool tied : {false, true}) {
    Config config = small(*GetParam());
    config.tied_embeddings = tied;
    Config read = written_and_read(config);
    if (!GetParam()->gguf.read) {  // read as the architecture that shares the name
      EXPECT_EQ(architecture_of_model_type(read.architecture, "test").gguf.name, GetParam()->gguf.name);
      read.architecture = config.architecture;
    }
    EXPECT_TRUE(read == config) << config_to_hugging_face(read).dump() << "\n"
                                << config_to_hugging_face(config).dump();
  }
}

TEST_P(GgufRoundTripTest, ItsNameLeadsBackToTheArchitecture) {
  const Architecture& own = *GetParam();
  const Architecture& found = architecture_of_gguf(own.gguf.name, own.base.experts.count > 0, "m.gguf");
  EXPECT_EQ(&found == &own, own.gguf.read) << found.name;
}

TEST_P(GgufRoundTripTest, RefusesAModelThatAReaderWouldTakeForAnother) {
  const Config config = small(*GetParam());
  std::vector<Config> others(3, config);
  others[0].attention_scale = config.attention_scale.value_or(0.25) * 2;
  others[1].activation = config.activation == Activation::kRelu ? Activation::kSilu : Activation::kRelu;
  others[2].layer_type_of_block.assign(12, 0);
  others[2].layer_type_of_block[3] = 1;
  if (config.layer_types.size() > 1) {
    others.push_back(config);
    others.back().layer_types[1].rope_theta *= 2;
  }
  if (config.experts.count > 0) {
    others.push_back(config);
    others.back().experts.of_block.assign(12, true);
    others.back().experts.of_block[5] = false;
  }
  for (size_t i = 0; i < others.size(); ++i) {
    try {
      config_to_gguf(others[i]);
      ADD_FAILURE() << "accepted model " << i;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
      EXPECT_THAT(error.what(), HasSubstr("GGUF has no field"));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, GgufRoundTripTest, ::testing::ValuesIn(with_gguf_form()),
                         [](const auto& info) { return std::string(info.param->name); });

TEST(GgufConfig, ALlamaFileHoldsNoWindow) {
  Config mistral = small(architecture_of_model_type("mistral", "test"));
  mistral.layer_types[0].window = 32;
  EXPECT_FALSE(config_to_gguf(mistral).has("llama.attention.sliding_window"));
}

TEST(GgufConfig, RefusesAnArchitectureThatGgufDoesNotKnow) {
  Config opt = architecture_of_model_type("opt", "test").base;
  opt.architecture = "opt";
  EXPECT_THROW(config_to_gguf(opt), Error);
}

}  // namespace
}  // namespace freelunch::model
