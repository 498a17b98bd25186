#include "freelunch/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>

#include "freelunch/base/error.h"
#include "freelunch/base/utf8.h"
#include "freelunch/tokenizer/bpe.h"
#include "freelunch/tokenizer/byte_alphabet.h"
#include "freelunch/tokenizer/gguf_vocabulary.h"
#include "freelunch/tokenizer/tokenizer_json.h"

namespace freelunch::tokenizer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// All bytes, then what the merges make of "low" and "er".
GgufVocabulary small() {
  GgufVocabulary v{.model = "gpt2", .pre = "gpt-2"};
  for (const std::string& c : byte_alphabet()) v.tokens.push_back(c);
  for (const char* t : {"lo", "low", "er", "Ġlow", "<|end|>", "<tool>"}) v.tokens.emplace_back(t);
  v.merges = {"l o", "lo w", "e r", "Ġ low"};
  v.token_types.assign(v.tokens.size(), 1);
  v.token_types[260] = 3;
  v.token_types[261] = 4;
  v.eos = 260;
  return v;
}

TEST(Bpe, MergesByRankFromTheLeft) {
  const auto t = from_gguf(small(), "f");
  EXPECT_THAT(t->encode("low"), ElementsAre(257));
  EXPECT_THAT(t->encode("lower"), ElementsAre(257, 258));
  EXPECT_THAT(t->encode("low low"), ElementsAre(257, 259));
  EXPECT_THAT(t->encode("lo lo"), ElementsAre(256, 32, 256));
  EXPECT_THAT(t->encode(""), ElementsAre());
  EXPECT_EQ(t->size(), 262);
}

TEST(Bpe, LongPiecesGiveWhatShortOnesGive) {
  const auto t = from_gguf(small(), "f");
  std::string text;
  std::vector<TokenId> expected;
  for (int i = 0; i < 200; ++i) {
    text += "lower";
    expected.insert(expected.end(), {257, 258});
  }
  EXPECT_EQ(t->encode(text), expected);
}

TEST(Tokenizer, AddedTokensAreFoundInTheTextAndTheLongestWins) {
  GgufVocabulary v = small();
  v.tokens.emplace_back("<tool>>");
  v.token_types.push_back(4);
  const auto t = from_gguf(v, "f");
  EXPECT_THAT(t->encode("low<|end|>low"), ElementsAre(257, 260, 257));
  EXPECT_THAT(t->encode("<tool><tool>>"), ElementsAre(261, 262));
  EXPECT_EQ(t->decode(t->encode("a<|end|>b")), "a<|end|>b");
}

TEST(Tokenizer, DecodingUndoesEncodingOfValidText) {
  const auto t = from_gguf(small(), "f");
  for (const std::string& text : {std::string("héllo wörld"), std::string("日本\n\t 😀  "),
                                  std::string("a\0b", 3), std::string("low  <|end|> lower")}) {
    EXPECT_EQ(t->decode(t->encode(text)), text);
  }
}

TEST(Tokenizer, SeveralThreadsEncodeAtOnce) {
  const auto t = from_gguf(small(), "f");
  const std::string text = "lower low  <|end|> h\u00e9llo 12 " + std::string(200, 'l');
  const auto expected = t->encode(text);
  std::atomic<int> wrong = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int k = 0; k < 50; ++k) {
          if (t->encode(text) != expected || t->decode(expected).empty()) ++wrong;
        }
      });
    }
  }
  EXPECT_EQ(wrong, 0);
}

TEST(Tokenizer, PutsBosInFrontWhereTheFileSaysSo) {
  GgufVocabulary v = small();
  v.bos = 260;
  v.add_bos = true;
  const auto t = from_gguf(v, "f");
  EXPECT_TRUE(t->adds_bos());
  EXPECT_EQ(t->bos(), 260);
  EXPECT_THAT(t->encode("low"), ElementsAre(260, 257));
  EXPECT_THAT(t->encode("low", false), ElementsAre(257));
}

TEST(Utf8, ReplacesEachMaximalSubpart) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(replace_invalid_utf8("a\xff"
                                 "b"),
            "a" + r + "b");
  EXPECT_EQ(replace_invalid_utf8("\xe2\x82"), r);  // a cut sequence is one
  EXPECT_EQ(replace_invalid_utf8("\xf0\x9f\x98x"), r + "x");
  EXPECT_EQ(replace_invalid_utf8("\xed\xa0\x80"), r + r + r);  // a surrogate is three
  EXPECT_EQ(replace_invalid_utf8("\xc0\xaf"), r + r);          // an overlong form
  EXPECT_TRUE(is_valid_utf8("é日😀"));
  EXPECT_FALSE(is_valid_utf8("\x80"));
}

std::string message(const std::string& json, ErrorKind kind = ErrorKind::kBadFile) {
  try {
    from_tokenizer_json(json, "tokenizer.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_THAT(error.what(), HasSubstr("tokenizer.json"));
    return error.what();
  }
  return "accepted";
}

std::string with_model(const std::string& model) { return "{\"model\":" + model + "}"; }

TEST(TokenizerJson, RefusesWhatIsBroken) {
  EXPECT_THAT(message("nonsense"), HasSubstr("not valid JSON"));
  EXPECT_THAT(message("{}"), HasSubstr("model"));
  EXPECT_THAT(message(std::string(10000, '[')), HasSubstr("nested"));
  EXPECT_THAT(message(with_model(R"({"type":"BPE","vocab":[],"merges":[]})")), HasSubstr("vocab"));
  EXPECT_THAT(message(with_model(R"({"type":"BPE","vocab":{"a":-1},"merges":[]})")), HasSubstr("-1"));
  EXPECT_THAT(message(with_model(R"({"type":"BPE","vocab":{"a":4294967296},"merges":[]})")),
              HasSubstr("4294967296"));
  EXPECT_THAT(message(with_model(R"({"type":"BPE","vocab":{"a":"x"},"merges":[]})")), HasSubstr("integer"));
  EXPECT_THAT(message(with_model(R"({"type":"BPE","vocab":{"a":0,"b":0},"merges":[]})")), HasSubstr("both"));
  EXPECT_THAT(message(with_model(R"({"type":"BPE","vocab":{"a":0},"merges":["a b"]})")), HasSubstr("'b'"));
  EXPECT_THAT(message(with_model(R"({"type":"BPE","vocab":{"a":0},"merges":["ab"]})")),
              HasSubstr("two tokens"));
  EXPECT_THAT(message(with_model(R"({"type":"BPE","vocab":{"a":0},"merges":7})")), HasSubstr("not a valid"));
}

TEST(TokenizerJson, NamesWhatItDoesNotHandle) {
  const auto unsupported = ErrorKind::kUnsupported;
  EXPECT_THAT(message(with_model(R"({"type":"WordPiece","vocab":{}})"), unsupported), HasSubstr("WordPiece"));
  const std::string bpe = R"({"type":"BPE","vocab":{"a":0},"merges":[]})";
  EXPECT_THAT(message(R"({"normalizer":{"type":"Precompiled"},"model":)" + bpe + "}", unsupported),
              HasSubstr("Precompiled"));
  EXPECT_THAT(message(R"({"pre_tokenizer":{"type":"UnicodeScripts"},"model":)" + bpe + "}", unsupported),
              HasSubstr("UnicodeScripts"));
  EXPECT_THAT(message(R"({"post_processor":{"type":"Wreath"},"model":)" + bpe + "}", unsupported),
              HasSubstr("Wreath"));
  EXPECT_THAT(
      message(R"({"pre_tokenizer":{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated"},"model":)" +
                  bpe + "}",
              unsupported),
      HasSubstr("'('"));
}

TEST(TokenizerJson, BoundsWhatAHostileFileCanAskFor) {
  const auto unsupported = ErrorKind::kUnsupported;
  // an id sizes the tables: 16 million of them would take a gigabyte
  EXPECT_THAT(message(with_model(R"({"type":"BPE","vocab":{"a":16000000},"merges":[]})")),
              HasSubstr("16000000"));
  const std::string bpe = R"({"type":"BPE","vocab":{"a":0},"merges":[]})";
  const auto split = [&](const std::string& regex) {
    return R"({"pre_tokenizer":{"type":"Split","pattern":{"Regex":")" + regex +
           R"("},"behavior":"Isolated"},"model":)" + bpe + "}";
  };
  // \\C matches a byte, which would cut characters in two
  EXPECT_THAT(message(split("\\\\C"), unsupported), HasSubstr("regular expression"));
  // each step of a pre-tokenizer is a step down the stack
  std::string steps;
  for (int i = 0; i < 100000; ++i) steps += R"({"type":"Digits"},)";
  steps += R"({"type":"Digits"})";
  EXPECT_THAT(message(R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[)" + steps + R"(]},"model":)" +
                          bpe + "}",
                      unsupported),
              HasSubstr("in a row"));
  // an expression that backtracks for ever ends in an error, not in a run without end
  const auto t = from_tokenizer_json(split("(a+)+$"), "tokenizer.json");
  try {
    t->encode(std::string(60, 'a') + "b");
    FAIL() << "an exponential expression came to an end";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), unsupported);
    EXPECT_THAT(error.what(), HasSubstr("too many steps"));
  }
  EXPECT_EQ(t->encode(std::string(1 << 20, 'a')).size(), size_t{1} << 20);  // while a long text is no reason
}

TEST(TokenizerJson, ErrorsStayOneLineWhateverATokenHolds) {
  const std::string said = message(with_model("{\"type\":\"BPE\",\"vocab\":{\"a\\nb\":-1},\"merges\":[]}"));
  EXPECT_THAT(said, HasSubstr("a?b"));
  EXPECT_EQ(said.find('\n'), std::string::npos);
}

TEST(GgufVocabulary, RefusesWhatIsInconsistent) {
  const auto kind_of = [](const GgufVocabulary& v) {
    try {
      from_gguf(v, "m.gguf");
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("m.gguf"));
      return error.kind();
    }
    return ErrorKind::kInterrupted;
  };
  GgufVocabulary v = small();
  v.pre = "klingon";
  EXPECT_EQ(kind_of(v), ErrorKind::kUnsupported);
  v = small();
  v.model = "rwkv";
  EXPECT_EQ(kind_of(v), ErrorKind::kUnsupported);
  v = small();
  v.model = "llama";  // without scores
  EXPECT_EQ(kind_of(v), ErrorKind::kBadFile);
  v = small();
  v.tokens[10] = "\xff";
  EXPECT_EQ(kind_of(v), ErrorKind::kBadFile);
  v = small();
  v.token_types.pop_back();
  EXPECT_EQ(kind_of(v), ErrorKind::kBadFile);
  v = small();
  v.bos = 5000;
  EXPECT_EQ(kind_of(v), ErrorKind::kBadFile);
  v = small();
  v.tokens[10] = "\xff";  // could not be written into a tokenizer.json
  EXPECT_EQ(kind_of(v), ErrorKind::kBadFile);
  v = small();
  v.tokens[10] = v.tokens[11];
  EXPECT_EQ(kind_of(v), ErrorKind::kBadFile);
}

}  // namespace
}  // namespace freelunch::tokenizer
