#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>

#include "freelunch/base/error.h"
#include "freelunch/tokenizer/charsmap.h"
#include "freelunch/tokenizer/gguf_vocabulary.h"
#include "freelunch/tokenizer/scored_vocabulary.h"
#include "freelunch/tokenizer/sentencepiece_model.h"
#include "freelunch/tokenizer/sentencepiece_tokenizer.h"

namespace freelunch::tokenizer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Type = SentencePieceModel::Type;

std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7U) out += static_cast<char>(value | 0x80U);
  return out + static_cast<char>(value);
}
std::string number(unsigned field, uint64_t value) { return varint(field << 3U) + varint(value); }
std::string bytes(unsigned field, const std::string& data) {
  return varint((field << 3U) | 2U) + varint(data.size()) + data;
}
std::string piece(const std::string& text, float score, Type type) {
  std::string bits(4, '\0');
  std::memcpy(bits.data(), &score, 4);
  return bytes(1, bytes(1, text) + varint((2U << 3U) | 5U) + bits + number(3, static_cast<uint64_t>(type)));
}
constexpr uint64_t kBpe = 2;
constexpr uint64_t kUnigram = 1;

/// "<unk> <s> </s>", all bytes, and what makes "▁ab" of its letters.
std::string model_file(uint64_t kind = kBpe, bool remove_extra_whitespaces = false) {
  std::string out =
      piece("<unk>", 0, Type::kUnknown) + piece("<s>", 0, Type::kControl) + piece("</s>", 0, Type::kControl);
  for (int b = 0; b < 256; ++b) {
    std::array<char, 8> text{};
    std::snprintf(text.data(), text.size(), "<0x%02X>", static_cast<unsigned>(b));
    out += piece(text.data(), 0, Type::kByte);
  }
  float score = 0;
  for (const char* text : {"ab",
                           "\u2581"
                           "ab",
                           "\u2581", "a", "b", "c"})
    out += piece(text, --score, Type::kNormal);
  out += piece("<tool>", 0, Type::kUserDefined);
  out += bytes(2, number(3, kind) + number(35, 1));
  return out + bytes(3, number(3, 1) + number(4, remove_extra_whitespaces ? 1 : 0));
}

TEST(SentencePiece, EncodesAndDecodes) {
  const auto t = from_sentencepiece(model_file(), {}, "m");
  EXPECT_TRUE(t->adds_bos());
  EXPECT_EQ(t->bos(), 1);
  EXPECT_EQ(t->eos(), 2);
  EXPECT_EQ(t->size(), 266);
  EXPECT_THAT(t->encode("ab"), ElementsAre(1, 260));
  EXPECT_THAT(t->encode("ab", false), ElementsAre(260));
  EXPECT_THAT(t->encode(" ab c", false), ElementsAre(261, 260, 261, 264));
  EXPECT_THAT(t->encode("cé", false), ElementsAre(261, 264, 3 + 0xC3, 3 + 0xA9));
  EXPECT_THAT(t->encode("c\xff", false), ElementsAre(261, 264, 3 + 0xEF, 3 + 0xBF, 3 + 0xBD));
  for (const char* text : {"ab c é", " ab", "c<tool>ab", "日\n"})
    EXPECT_EQ(t->decode(t->encode(text, false)), text);
}

TEST(SentencePiece, FindsControlAndAddedTokensInTheText) {
  SentencePieceOptions options{.added = {{.id = 300, .content = "<end>", .special = true}}};
  auto t = from_sentencepiece(model_file(), options, "m");
  EXPECT_EQ(t->size(), 301);
  EXPECT_THAT(t->encode("ab</s>ab<end>", false), ElementsAre(260, 2, 259, 300));
  options.prefix_after_added = true;
  options.add_eos = true;
  options.add_bos = false;
  t = from_sentencepiece(model_file(), options, "m");
  EXPECT_THAT(t->encode("ab</s>ab"), ElementsAre(260, 2, 260, 2));
  options.add_prefix = false;
  t = from_sentencepiece(model_file(), options, "m");
  EXPECT_THAT(t->encode("ab", false), ElementsAre(259));
}

TEST(SentencePiece, RemovesExtraSpacesWhereTheModelSaysSo) {
  const auto t = from_sentencepiece(model_file(kUnigram, true), {}, "m");
  EXPECT_THAT(t->encode("  ab   ab ", false), ElementsAre(260, 260));
}

std::string refusal(const std::string& file) {
  try {
    from_sentencepiece(file, {}, "tokenizer.model");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadFile) << error.what();
    EXPECT_THAT(error.what(), HasSubstr("tokenizer.model"));
    return error.what();
  }
  return "accepted";
}

TEST(SentencePiece, RefusesWhatIsBroken) {
  const std::string whole = model_file();
  EXPECT_EQ(refusal(whole), "accepted");
  EXPECT_THAT(refusal(""), HasSubstr("no pieces"));
  EXPECT_THAT(refusal("{\"model\": 1}"), HasSubstr("not a protocol buffer"));
  EXPECT_THAT(refusal(whole.substr(0, whole.size() - 1)), HasSubstr("truncated"));
  EXPECT_THAT(refusal(whole + piece("ab", 0, Type::kNormal)), HasSubstr("twice"));
  EXPECT_THAT(refusal(whole + piece("", 0, Type::kNormal)), HasSubstr("empty"));
  EXPECT_THAT(refusal(whole + piece("\xff", 0, Type::kNormal)), HasSubstr("not text"));
  EXPECT_THAT(refusal(whole + piece("z", NAN, Type::kNormal)), HasSubstr("finite"));
  EXPECT_THAT(refusal(whole + piece("z", 0, Type::kByte)), HasSubstr("no byte"));
  EXPECT_THAT(refusal(whole + piece("z", 0, Type::kUnknown)), HasSubstr("2 unknown"));
  EXPECT_THAT(refusal(whole + piece("z", 0, static_cast<Type>(9))), HasSubstr("type 9"));
  EXPECT_THAT(refusal(whole + bytes(2, number(41, 5000))), HasSubstr("bos_id is 5000"));
  EXPECT_THAT(refusal(whole + bytes(3, bytes(2, "nonsense"))), HasSubstr("charsmap"));
}

TEST(SentencePiece, EveryTruncationIsRefusedOrReadWhole) {
  const std::string whole = model_file();
  for (size_t size = 0; size < whole.size(); size += 7) {
    try {
      from_sentencepiece(whole.substr(0, size), {}, "m");  // cut between two fields it is a shorter model
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadFile) << error.what();
    }
  }
}

TEST(SentencePiece, DamageIsRefusedOrHarmless) {
  const std::string whole = model_file();
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    std::string damaged = whole;
    for (int k = 0; k < 3; ++k) damaged[random() % damaged.size()] = static_cast<char>(random());
    try {
      const auto t = from_sentencepiece(damaged, {}, "m");
      for (const TokenId id : t->encode("ab c é <tool>")) EXPECT_LT(id, t->size());
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadFile) << error.what();
    }
  }
}

TEST(SentencePiece, TheSelfTestOfAModelIsNotRun) {
  const std::string sample = bytes(1, "ab") + bytes(2, "something else");
  EXPECT_THAT(from_sentencepiece(model_file() + bytes(4, bytes(1, sample)), {}, "m")->encode("ab"),
              ElementsAre(1, 260));
}

/// A double array whose root leads nowhere, of one block, and one text.
std::string charsmap(uint32_t root) {
  std::string out(4 + 256 * 4, '\0');
  const uint32_t size = 256 * 4;
  std::memcpy(out.data(), &size, 4);
  std::memcpy(out.data() + 4, &root, 4);
  for (uint32_t i = 1; i < 256; ++i) {
    const uint32_t unused = 0x80000000U;
    std::memcpy(out.data() + 4 + static_cast<size_t>(4 * i), &unused, 4);
  }
  return out + std::string(1, '\0');
}

TEST(Charsmap, IsWalkedBeforeItIsTrusted) {
  EXPECT_TRUE(is_sound_charsmap(charsmap(1U << 10U)));
  EXPECT_FALSE(is_sound_charsmap(charsmap(300U << 10U)));  // leads out of the array
  EXPECT_FALSE(is_sound_charsmap(charsmap((1U << 10U) | 0x100U).substr(0, 8)));
  std::string far = charsmap((1U << 10U) | 0x100U);  // a value beyond the texts
  const uint32_t value = 0x80000000U | 50U;
  std::memcpy(far.data() + 8, &value, 4);
  EXPECT_FALSE(is_sound_charsmap(far));
  EXPECT_FALSE(is_sound_charsmap(charsmap(0)));  // the root is its own child
}

/// The model of model_file() as GGUF metadata.
GgufVocabulary scored() {
  GgufVocabulary v{.model = "llama", .pre = "default"};
  const auto put = [&](const std::string& text, float score, Type type) {
    v.tokens.push_back(text);
    v.scores.push_back(score);
    v.token_types.push_back(static_cast<int32_t>(type));
  };
  const SentencePieceModel model = SentencePieceModel::parse(model_file(), "m");
  for (const auto& p : model.pieces) put(p.text, p.score, p.type);
  v.bos = 1;
  v.eos = 2;
  v.unk = 0;
  return v;
}

TEST(GgufVocabulary, ScoredTokensGiveWhatTheModelFileGives) {
  const auto file = from_sentencepiece(model_file(), {.prefix_after_added = true}, "m");
  const auto gguf = from_gguf(scored(), "m.gguf");
  for (const char* text : {"ab", " ab c", "cé\n", "ab</s>ab", "", "  ", "abc<s>"})
    EXPECT_EQ(gguf->encode(text), file->encode(text)) << text;
  EXPECT_EQ(gguf->decode(gguf->encode("ab é", false)), "ab é");
}

TEST(GgufVocabulary, RefusesScoresThatDoNotFit) {
  const auto refused = [](const GgufVocabulary& v, ErrorKind kind) {
    try {
      from_gguf(v, "m.gguf");
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      return true;
    }
    return false;
  };
  GgufVocabulary v = scored();
  v.scores.pop_back();
  EXPECT_TRUE(refused(v, ErrorKind::kBadFile));
  v = scored();
  v.scores[5] = NAN;
  EXPECT_TRUE(refused(v, ErrorKind::kBadFile));
  v = scored();
  v.has_charsmap = true;
  EXPECT_TRUE(refused(v, ErrorKind::kUnsupported));
}

TEST(SentencePiece, IsTheSameTokenizerAsGgufMetadata) {
  const SentencePieceOptions options{
      .added = {{.id = 265, .content = "<tool>"}, {.id = 267, .content = "<|end|>", .special = true}}};
  for (const uint64_t kind : {kBpe, kUnigram}) {
    const std::string file = model_file(kind);
    GgufVocabulary v = vocabulary_of_sentencepiece(file, options, 270, "tokenizer.model");
    EXPECT_EQ(v.model, kind == kBpe ? "llama" : "t5");
    EXPECT_EQ(v.tokens.size(), 270U);
    EXPECT_EQ(v.tokens[267], "<|end|>");
    EXPECT_EQ(v.token_types[265], 4);
    EXPECT_EQ(v.token_types[267], 3);
    EXPECT_EQ(v.token_types[269], 5);
    EXPECT_EQ(v.unk, 0);
    v.bos = 1;
    v.eos = 2;
    v.add_bos = true;
    v.add_eos = false;
    const auto ours = from_gguf(v, "model.gguf");
    const auto theirs = from_sentencepiece(file, options, "tokenizer.model");
    for (const char* text : {"ab", "ab abc", " c", "b\xc3\xa9 ab", "", "ab<|end|>", "ab<tool>"})
      EXPECT_EQ(ours->encode(text), theirs->encode(text)) << text;
  }
  const GgufVocabulary less = vocabulary_of_sentencepiece(model_file(), options, 267, "tokenizer.model");
  EXPECT_EQ(less.tokens.size(), 267U);
  EXPECT_EQ(less.dropped, std::vector<std::string>{"<|end|>"});
  EXPECT_THROW(vocabulary_of_sentencepiece(model_file(3), {}, 300, "tokenizer.model"), Error);
}

}  // namespace
}  // namespace freelunch::tokenizer
