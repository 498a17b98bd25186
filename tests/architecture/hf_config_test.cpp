#include "freelunch/architecture/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"

namespace freelunch::model {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

json sensible() {
  return {{"model_type", "llama"},    {"vocab_size", 400},      {"hidden_size", 64},
          {"intermediate_size", 128}, {"num_hidden_layers", 2}, {"num_attention_heads", 4},
          {"num_key_value_heads", 2}, {"rope_theta", 5e5}};
}

std::string refusal(const std::string& text, ErrorKind kind = ErrorKind::kBadFile) {
  try {
    parse_config(text, "config.json");
    return "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_THAT(error.what(), HasSubstr("config.json"));
    return error.what();
  }
}

std::string refusal_with(const char* key, const json& value, ErrorKind kind = ErrorKind::kBadFile) {
  json object = sensible();
  object[key] = value;
  return refusal(object.dump(), kind);
}

TEST(HuggingFaceConfig, ReadsWhatItIsGivenAndFillsInTheRest) {
  const Config config = parse_config(sensible().dump(), "config.json");
  EXPECT_EQ(config.width, 64);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.kv_heads, 2);
  EXPECT_EQ(config.layer_types[0].rope_theta, 5e5);
  EXPECT_FALSE(config.layer_types[0].window.has_value());
}

TEST(HuggingFaceConfig, SurvivesWriting) {
  json object = sensible();
  object["model_type"] = "mistral";
  object["sliding_window"] = 32;
  object["head_dim"] = 32;
  object["rope_scaling"] = {
      {"rope_type", "llama3"}, {"factor", 8.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}};
  const Config config = parse_config(object.dump(), "config.json");
  const Config again = config_from_hugging_face(config_to_hugging_face(config), "config.json");
  EXPECT_EQ(again.layer_types[0].window, 32);
  EXPECT_EQ(again.head_dim, 32);
  EXPECT_EQ(again.layer_types[0].rope_scaling.kind, RopeScalingKind::kLlama3);
  EXPECT_EQ(again.layer_types[0].rope_scaling.factor, 8.0);
  EXPECT_EQ(again.layer_types[0].rope_scaling.original_length,
            config.layer_types[0].rope_scaling.original_length);
}

TEST(HuggingFaceConfig, RefusesWhatIsNoConfiguration) {
  EXPECT_THAT(refusal(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal("[]"), HasSubstr("object"));
  EXPECT_THAT(refusal("{}"), HasSubstr("model_type"));
  EXPECT_THAT(refusal("{\"a\":" + std::string(10000, '[') + std::string(10000, ']') + "}"),
              HasSubstr("nested"));
  EXPECT_THAT(refusal(std::string(10000, '{')), HasSubstr("nested"));
  EXPECT_THAT(refusal("{\"model_type\": \"\xff\"}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal_with("model_type", "mamba", ErrorKind::kUnsupported), HasSubstr("mamba"));
  EXPECT_THAT(refusal_with("hidden_act", nullptr), HasSubstr("wrong type"));
}

TEST(HuggingFaceConfig, NamesTheKeyThatHasAWrongTypeOrSize) {
  for (const json& bad : {json("64"), json(64.5), json(-64), json(0), json(nullptr), json::array({64}),
                          json(1e300), json(uint64_t{1} << 63U), json(int64_t{1} << 40)}) {
    const std::string message = refusal_with("hidden_size", bad);
    EXPECT_TRUE(message.find("hidden_size") != std::string::npos ||
                message.find("width") != std::string::npos)
        << message;
  }
  EXPECT_THAT(refusal_with("num_attention_heads", 0), HasSubstr("num_attention_heads"));
  EXPECT_THAT(refusal_with("num_key_value_heads", 3), HasSubstr("evenly"));
  EXPECT_THAT(refusal_with("head_dim", 15), HasSubstr("odd"));
  EXPECT_THAT(refusal_with("rope_theta", -1), HasSubstr("rope theta"));
  EXPECT_THAT(refusal_with("rope_scaling", "llama3"), HasSubstr("rope_scaling"));
  EXPECT_THAT(refusal_with("rope_scaling", {{"rope_type", "linear"}}), HasSubstr("factor"));
  EXPECT_THAT(refusal_with("tie_word_embeddings", "yes"), HasSubstr("wrong type"));
}

}  // namespace
}  // namespace freelunch::model
