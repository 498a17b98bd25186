// Parts of a tokenizer.json, each on a case worked by hand. What a tokenizer makes of a text is read back
// through the texts of its tokens.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"
#include "freelunch/tokenizer/tokenizer_json.h"

namespace freelunch::tokenizer {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Every printable ASCII character and a few others, no merges.
json characters() {
  json vocabulary = json::object();
  const auto put = [&](const std::string& text) { vocabulary[text] = vocabulary.size(); };
  for (char c = 0x20; c < 0x7F; ++c) put(std::string(1, c));
  for (const char* c : {"é", "e\u0301", "ﬁ", "\u2581", "\n", "日"}) put(c);
  return {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", json::array()}, {"ignore_merges", false}};
}

/// The text after normalisation, pieces parted by '|': a model whose only tokens are whole pieces would be
/// unwieldy, so each piece is one unknown token where `whole` are the pieces known.
std::vector<std::string> tokens(const json& root, const std::string& text) {
  const auto tokenizer = tokenizer_from_json(root, "f");
  std::vector<std::string> texts;
  for (const TokenId id : tokenizer->encode(text)) texts.push_back(tokenizer->token_text(id));
  return texts;
}

std::string normalized(const json& normalizer, const std::string& text) {
  std::string joined;
  for (const std::string& t : tokens({{"normalizer", normalizer}, {"model", characters()}}, text))
    joined += t;
  return joined;
}

TEST(Normalizer, RewritesTheText) {
  EXPECT_EQ(normalized({{"type", "NFC"}}, "e\u0301"), "é");
  EXPECT_EQ(normalized({{"type", "NFKC"}}, "ﬁ"), "fi");
  EXPECT_EQ(normalized({{"type", "NFC"}}, "ﬁ"), "ﬁ");
  EXPECT_EQ(normalized({{"type", "Lowercase"}}, "AbÉ"), "abé");
  EXPECT_EQ(normalized({{"type", "Strip"}, {"strip_left", true}, {"strip_right", false}}, "  a "), "a ");
  EXPECT_EQ(normalized({{"type", "Strip"}}, " \u2003 "), "");
  json doubling = json::array();
  for (int i = 0; i < 60; ++i)
    doubling.push_back({{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}});
  EXPECT_THROW(normalized({{"type", "Sequence"}, {"normalizers", doubling}}, "a"), Error);
  EXPECT_EQ(normalized({{"type", "Prepend"}, {"prepend", "\u2581"}}, "a"),
            "\u2581"
            "a");
  EXPECT_EQ(normalized({{"type", "Replace"}, {"pattern", {{"String", "aa"}}}, {"content", "b"}}, "aaa"),
            "ba");
  EXPECT_EQ(normalized({{"type", "Replace"}, {"pattern", {{"Regex", "a+|x*"}}}, {"content", "b"}}, "caad"),
            "cbd");
  const json accents{{"type", "Sequence"}, {"normalizers", {{{"type", "NFD"}}, {{"type", "StripAccents"}}}}};
  EXPECT_EQ(normalized(accents, "é\u0304!"), "e!");
}

/// The pieces that a pre-tokenizer makes, each of which must be listed in `known`.
std::vector<std::string> pieces(const json& pre_tokenizer, const std::string& text,
                                const std::vector<std::string>& known) {
  json model = characters();
  model["ignore_merges"] = true;
  for (const std::string& piece : known) model["vocab"].emplace(piece, model["vocab"].size());
  return tokens({{"pre_tokenizer", pre_tokenizer}, {"model", model}}, text);
}

json split(const char* behavior, bool invert = false) {
  return {{"type", "Split"}, {"pattern", {{"Regex", "-"}}}, {"behavior", behavior}, {"invert", invert}};
}

TEST(PreTokenizer, EachBehaviourOfSplit) {
  const std::string text = "the-final--countdown";
  const std::vector<std::string> known{"the",    "final", "countdown", "the-",       "final-",
                                       "-final", "-",     "--",        "-countdown", "-countdown"};
  EXPECT_THAT(pieces(split("Isolated"), text, known),
              ElementsAre("the", "-", "final", "-", "-", "countdown"));
  EXPECT_THAT(pieces(split("Removed"), text, known), ElementsAre("the", "final", "countdown"));
  EXPECT_THAT(pieces(split("MergedWithPrevious"), text, known),
              ElementsAre("the-", "final-", "-", "countdown"));
  EXPECT_THAT(pieces(split("MergedWithNext"), text, known), ElementsAre("the", "-final", "-", "-countdown"));
  EXPECT_THAT(pieces(split("Contiguous"), text, known), ElementsAre("the", "-", "final", "--", "countdown"));
  EXPECT_THAT(pieces(split("Removed", true), text, known), ElementsAre("-", "-", "-"));
}

TEST(PreTokenizer, MetaspacePutsItsMarkInFront) {
  const std::vector<std::string> known{
      "\u2581"
      "a",
      "\u2581"
      "b",
      "\u2581"
      "a\u2581"
      "b",
      "a",
      "a\u2581"
      "b"};
  const auto metaspace = [](const char* scheme, bool split) {
    return json{
        {"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", scheme}, {"split", split}};
  };
  EXPECT_THAT(pieces(metaspace("always", true), "a b", known), ElementsAre("\u2581"
                                                                           "a",
                                                                           "\u2581"
                                                                           "b"));
  EXPECT_THAT(pieces(metaspace("always", true), " a", known), ElementsAre("\u2581"
                                                                          "a"));
  EXPECT_THAT(pieces(metaspace("always", false), "a b", known), ElementsAre("\u2581"
                                                                            "a\u2581"
                                                                            "b"));
  EXPECT_THAT(pieces(metaspace("never", false), "a b", known), ElementsAre("a\u2581"
                                                                           "b"));
  EXPECT_THAT(pieces(metaspace("first", true), "a b", known), ElementsAre("\u2581"
                                                                          "a",
                                                                          "\u2581"
                                                                          "b"));
}

TEST(PreTokenizer, TheFirstPartAloneGetsTheMarkOfSchemeFirst) {
  json model = characters();
  model["ignore_merges"] = true;
  model["vocab"].emplace(
      "\u2581"
      "a",
      model["vocab"].size());
  model["vocab"].emplace("<x>", model["vocab"].size());
  const json root{{"pre_tokenizer", {{"type", "Metaspace"}, {"prepend_scheme", "first"}}},
                  {"added_tokens", {{{"id", model["vocab"]["<x>"]}, {"content", "<x>"}, {"special", true}}}},
                  {"model", model}};
  EXPECT_THAT(tokens(root, "a<x>a"), ElementsAre("\u2581"
                                                 "a",
                                                 "<x>", "a"));
  EXPECT_THAT(tokens(root, "<x>a"), ElementsAre("<x>", "a"));
}

TEST(PreTokenizer, WhitespaceAndPunctuation) {
  const std::vector<std::string> known{"ab", "c", "?!", "ab?!", "é"};
  EXPECT_THAT(pieces({{"type", "Whitespace"}}, "ab?! c", known), ElementsAre("ab", "?!", "c"));
  EXPECT_THAT(pieces({{"type", "WhitespaceSplit"}}, "ab?!  c", known), ElementsAre("ab?!", "c"));
  EXPECT_THAT(pieces({{"type", "Punctuation"}}, "ab?!c", known), ElementsAre("ab", "?", "!", "c"));
}

/// Byte tokens for é alone.
json fallback_model() {
  return {{"type", "BPE"},
          {"vocab", {{"<unk>", 0}, {"<0xC3>", 1}, {"<0xA9>", 2}, {"a", 3}, {"b", 4}, {"ab", 5}}},
          {"merges", {"a b"}},
          {"unk_token", "<unk>"},
          {"byte_fallback", true},
          {"fuse_unk", true}};
}

TEST(Bpe, UnknownCharactersBecomeBytesOrOneUnknownToken) {
  json model = fallback_model();
  EXPECT_THAT(tokens({{"model", model}}, "abéa"), ElementsAre("ab", "<0xC3>", "<0xA9>", "a"));
  EXPECT_THAT(tokens({{"model", model}}, "a日本b"), ElementsAre("a", "<unk>", "b"));
  model["fuse_unk"] = false;
  EXPECT_THAT(tokens({{"model", model}}, "a日本b"), ElementsAre("a", "<unk>", "<unk>", "b"));
  model["byte_fallback"] = false;
  EXPECT_THAT(tokens({{"model", model}}, "é"), ElementsAre("<unk>"));
  model["unk_token"] = nullptr;
  EXPECT_THAT(tokens({{"model", model}}, "aéb"), ElementsAre("ab"));
}

TEST(Decoder, GivesBackTheText) {
  json model = fallback_model();
  model["vocab"]["\u2581"] = 6;
  const json replace{{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}};
  const json back{{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}};
  const json root{
      {"normalizer",
       {{"type", "Sequence"}, {"normalizers", {{{"type", "Prepend"}, {"prepend", "\u2581"}}, replace}}}},
      {"decoder",
       {{"type", "Sequence"},
        {"decoders",
         {back,
          {{"type", "ByteFallback"}},
          {{"type", "Fuse"}},
          {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
      {"model", model}};
  const auto tokenizer = tokenizer_from_json(root, "f");
  for (const char* text : {"ab é a", " ab", "a"}) EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
}

json unigram(const char* vocabulary) {
  return {{"type", "Unigram"}, {"unk_id", 0}, {"vocab", json::parse(vocabulary)}};
}

TEST(Unigram, TakesTheSegmentationOfHighestScore) {
  // ab + c scores -4, a + bc -3.5, the three letters -6
  const json model =
      unigram(R"([["<unk>", 0.0], ["a", -2.0], ["b", -2.0], ["c", -2.0], ["ab", -2.0], ["bc", -1.5]])");
  EXPECT_THAT(tokens({{"model", model}}, "abc"), ElementsAre("a", "bc"));
  EXPECT_THAT(tokens({{"model", model}}, "ab"), ElementsAre("ab"));
  EXPECT_THAT(tokens({{"model", model}}, "a日本c"), ElementsAre("a", "<unk>", "c"));
}

TEST(Unigram, UnknownCharactersBecomeBytes) {
  json model = unigram(R"([["<unk>", 0.0], ["a", -2.0], ["<0xC3>", -9.0], ["<0xA9>", -9.0]])");
  model["byte_fallback"] = true;
  EXPECT_THAT(tokens({{"model", model}}, "aé"), ElementsAre("a", "<0xC3>", "<0xA9>"));
  EXPECT_THAT(tokens({{"model", model}}, "aè"), ElementsAre("a", "<unk>"));
}

TEST(Template, GoesAroundTheText) {
  const json part{{"SpecialToken", {{"id", "^"}}}};
  const json text{{"Sequence", {{"id", "A"}}}};
  const json ends{{"type", "TemplateProcessing"},
                  {"single", {part, text, part, part}},
                  {"special_tokens", {{"^", {{"ids", {1}}}}}}};
  const json model = unigram(R"([["<unk>", 0.0], ["^", -1.0], ["a", -2.0]])");
  EXPECT_THAT(tokens({{"post_processor", ends}, {"model", model}}, "a"), ElementsAre("^", "a", "^", "^"));
}

std::string refusal(const json& root) {
  try {
    tokenizer_from_json(root, "tokenizer.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadFile);
    EXPECT_THAT(error.what(), HasSubstr("tokenizer.json"));
    return error.what();
  }
  return "accepted";
}

TEST(TokenizerJson, RefusesWrongTypesAndIds) {
  EXPECT_THAT(refusal({{"model", unigram(R"([["a", "b"]])")}}), HasSubstr("type must be number"));
  EXPECT_THAT(refusal({{"model", unigram(R"([["a"]])")}}), HasSubstr("not a valid"));
  EXPECT_THAT(refusal({{"model", unigram(R"([7])")}}), HasSubstr("not a valid"));
  EXPECT_THAT(refusal({{"model", unigram(R"([["a", 1], ["b", 2]])")},
                       {"added_tokens", {{{"id", 1}, {"content", "x"}}}}}),
              HasSubstr("both"));
  json model = unigram(R"([["a", 1]])");
  model["unk_id"] = 5;
  EXPECT_THAT(refusal({{"model", model}}), HasSubstr("unk_id 5"));
  model["unk_id"] = "a";
  EXPECT_THAT(refusal({{"model", model}}), HasSubstr("unk_id"));
  model["vocab"] = json::object();
  EXPECT_THAT(refusal({{"model", model}}), HasSubstr("not a list"));
  model = fallback_model();
  model["unk_token"] = "<none>";
  EXPECT_THAT(refusal({{"model", model}}), HasSubstr("<none>"));
  model = fallback_model();
  EXPECT_THAT(refusal({{"model", model}, {"normalizer", {{"type", 5}}}}), HasSubstr("not a valid"));
  EXPECT_THAT(refusal({{"model", model}, {"pre_tokenizer", json::array()}}), HasSubstr("not a valid"));
  EXPECT_THAT(refusal({{"model", model}, {"added_tokens", {{{"id", 1.5}, {"content", "x"}}}}}),
              HasSubstr("1.5"));
  EXPECT_THAT(refusal({{"model", model}, {"pre_tokenizer", {{"type", "Metaspace"}, {"replacement", ""}}}}),
              HasSubstr("replacement"));
  const json ends{{"type", "RobertaProcessing"}, {"cls", {"x", 77}}, {"sep", {"y", 1}}};
  EXPECT_THAT(refusal({{"model", model}, {"post_processor", ends}}), HasSubstr("id 77"));
}

}  // namespace
}  // namespace freelunch::tokenizer
