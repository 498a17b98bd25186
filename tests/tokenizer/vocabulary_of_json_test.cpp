#include "freelunch/tokenizer/vocabulary_of_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"

namespace freelunch::tokenizer {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

GgufVocabulary small(const std::string& pre) {
  GgufVocabulary v;
  v.model = "gpt2";
  v.pre = pre;
  v.tokens = {"a", "b", "ab", "<s>", "</s>", "<tool>"};
  v.token_types = {1, 1, 1, 3, 3, 4};
  v.merges = {"a b"};
  v.bos = 3;
  v.eos = 4;
  return v;
}

json config_of(const GgufVocabulary& v) { return tokenizer_config_from_gguf(v); }

TEST(VocabularyOfJson, IsTheOtherWayRound) {
  for (const char* pre : {"gpt-2", "smollm", "llama-bpe", "qwen2", "olmo", "dbrx", "tekken", "default"}) {
    for (const bool ends : {false, true}) {
      GgufVocabulary v = small(pre);
      v.add_bos = v.add_eos = ends;
      const json root = tokenizer_json_from_gguf(v);
      const GgufVocabulary back = vocabulary_of_tokenizer_json(root, config_of(v), 8, "tokenizer.json");
      EXPECT_EQ(back.model, "gpt2");
      EXPECT_EQ(back.pre, pre);
      v.tokens.insert(v.tokens.end(), {"[PAD6]", "[PAD7]"});  // rows of the embedding without a token
      v.token_types.insert(v.token_types.end(), {5, 5});
      EXPECT_EQ(back.tokens, v.tokens);
      EXPECT_EQ(back.token_types, v.token_types);
      EXPECT_EQ(back.merges, v.merges);
      EXPECT_EQ(back.bos, v.bos);
      EXPECT_EQ(back.eos, v.eos);
      EXPECT_EQ(back.unk, std::nullopt);
      EXPECT_EQ(back.add_bos, ends);
      EXPECT_EQ(back.add_eos, ends);
      // and the fillers are no tokens of a tokenizer.json made from it
      EXPECT_EQ(tokenizer_json_from_gguf(back), root) << pre;
    }
  }
}

TEST(VocabularyOfJson, ReadsMergesAndSpecialTokensInBothSpellings) {
  const GgufVocabulary v = small("gpt-2");
  json root = tokenizer_json_from_gguf(v);
  root["model"]["merges"] = json::array({json::array({"a", "b"})});
  root["pre_tokenizer"].erase("use_regex");  // older files leave it out
  const json config{{"bos_token", {{"content", "<s>"}}}, {"pad_token", "</s>"}, {"unk_token", nullptr}};
  const GgufVocabulary back = vocabulary_of_tokenizer_json(root, config, 6, "tokenizer.json");
  EXPECT_EQ(back.merges, v.merges);
  EXPECT_EQ(back.pre, "gpt-2");
  EXPECT_EQ(back.bos, 3);
  EXPECT_EQ(back.pad, 4);
  EXPECT_EQ(back.eos, std::nullopt);
}

TEST(VocabularyOfJson, RefusesWhatGgufHasNoNameFor) {
  const auto refused = [](const json& root, int64_t size, ErrorKind kind, const std::string& part) {
    try {
      vocabulary_of_tokenizer_json(root, json::object(), size, "tokenizer.json");
      ADD_FAILURE() << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(part));
    }
  };
  json root = tokenizer_json_from_gguf(small("qwen2"));
  refused(root, 5, ErrorKind::kBadFile, "the embedding has 5 rows");
  root["normalizer"] = nullptr;  // qwen2's expression without its normalizer
  refused(root, 6, ErrorKind::kUnsupported, "no name for this one");
  root = tokenizer_json_from_gguf(small("smollm"));
  root["model"]["ignore_merges"] = true;
  refused(root, 6, ErrorKind::kUnsupported, "no name for this one");
}

}  // namespace
}  // namespace freelunch::tokenizer
