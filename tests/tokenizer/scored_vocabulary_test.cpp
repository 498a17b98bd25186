#include "freelunch/tokenizer/scored_vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"
#include "freelunch/tokenizer/token_type.h"
#include "freelunch/tokenizer/vocabulary_of_json.h"

namespace freelunch::tokenizer {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr const char* kMark = "\u2581";

/// "<unk> <s> </s>", all bytes, letters, and two ways to make "▁abc".
GgufVocabulary small(const std::string& model = "llama") {
  GgufVocabulary v;
  v.model = model;
  v.pre = "default";
  const auto put = [&](const std::string& text, int32_t type, float score) {
    v.tokens.push_back(text);
    v.token_types.push_back(type);
    v.scores.push_back(score);
  };
  put("<unk>", kUnknown, 0);
  put("<s>", kControl, 0);
  put("</s>", kControl, 0);
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  for (size_t b = 0; b < 256; ++b)
    put(std::string("<0x") + kDigits[b / 16] + kDigits[b % 16] + ">", kByte, 0);
  float score = 0;
  for (const std::string& text :
       {std::string("ab"), std::string("bc"), kMark + std::string("a"), kMark + std::string("ab"),
        kMark + std::string("abc"), std::string(kMark), std::string("a"), std::string("b"), std::string("c")})
    put(text, kNormal, --score);
  put("<tool>", kUserDefined, -1000);
  v.bos = 1;
  v.eos = 2;
  v.unk = 0;
  v.add_bos = true;
  v.add_eos = false;
  v.add_space_prefix = true;
  return v;
}

json config_of(const GgufVocabulary& v) { return tokenizer_config_from_gguf(v); }

TEST(ScoredVocabulary, IsTheOtherWayRound) {
  for (const char* model : {"llama", "t5"}) {
    for (const bool prefix : {false, true}) {
      GgufVocabulary v = small(model);
      v.add_space_prefix = prefix;
      v.remove_extra_whitespaces = prefix;
      const json root = tokenizer_json_from_gguf(v);
      const GgufVocabulary back = vocabulary_of_tokenizer_json(
          root, config_of(v), static_cast<int64_t>(v.tokens.size()), "tokenizer.json");
      EXPECT_EQ(back.model, model);
      EXPECT_EQ(back.tokens, v.tokens);
      EXPECT_EQ(back.token_types, v.token_types);
      EXPECT_EQ(back.add_space_prefix, prefix);
      EXPECT_EQ(back.remove_extra_whitespaces, prefix);
      EXPECT_EQ(back.bos, v.bos);
      EXPECT_EQ(back.eos, v.eos);
      EXPECT_EQ(back.unk, v.unk);
      EXPECT_EQ(back.add_bos, true);
      EXPECT_EQ(back.add_eos, false);
      EXPECT_EQ(tokenizer_json_from_gguf(back), root) << model;
    }
  }
}

TEST(ScoredVocabulary, KnowsWhatConvertersMakeOfSpaces) {
  const json mark{{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kMark}};
  const json cut{{"type", "Split"}, {"pattern", {{"String", " "}}}, {"behavior", "MergedWithPrevious"}};
  const auto metaspace = [](const char* scheme, bool split) {
    return json{{"type", "Metaspace"}, {"replacement", kMark}, {"prepend_scheme", scheme}, {"split", split}};
  };
  EXPECT_FALSE(sentencepiece_spaces(mark, cut)->prefix);  // Gemma
  EXPECT_TRUE(sentencepiece_spaces(nullptr, metaspace("first", false))->prefix);
  EXPECT_FALSE(sentencepiece_spaces(nullptr, metaspace("never", false))->prefix);
  EXPECT_FALSE(sentencepiece_spaces(nullptr, metaspace("first", true)));  // cuts words apart, too
  EXPECT_FALSE(sentencepiece_spaces(mark, {{"type", "Digits"}, {"individual_digits", true}}));
  EXPECT_FALSE(sentencepiece_spaces({{"type", "NFKC"}}, nullptr));
  EXPECT_FALSE(sentencepiece_spaces(nullptr, nullptr));
}

TEST(ScoredVocabulary, RefusesMergesThatNoScoresGive) {
  const GgufVocabulary v = small();
  const json root = tokenizer_json_from_gguf(v);
  const auto refused = [&](json merges) {
    json changed = root;
    changed["model"]["merges"] = std::move(merges);
    try {
      vocabulary_of_tokenizer_json(changed, json::object(), static_cast<int64_t>(v.tokens.size()),
                                   "tokenizer.json");
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUnsupported) << error.what();
      EXPECT_THAT(error.what(), HasSubstr("no scores"));
    }
  };
  json fewer = root["model"]["merges"];
  fewer.erase(fewer.size() - 1);
  refused(fewer);  // one of the ways to make a token is missing
  json apart = root["model"]["merges"];
  std::rotate(apart.begin(), apart.end() - 1, apart.end());
  refused(apart);  // another merge stands between two of them
}

}  // namespace
}  // namespace freelunch::tokenizer
