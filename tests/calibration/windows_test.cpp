#include "freelunch/calibration/windows.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "freelunch/base/error.h"

namespace freelunch::calibration {
namespace {

/// One token a byte.
class Bytes : public tokenizer::Tokenizer {
 public:
  explicit Bytes(std::optional<tokenizer::TokenId> bos = {}, bool adds_bos = false)
      : bos_(bos), adds_bos_(adds_bos) {}
  std::vector<tokenizer::TokenId> encode(std::string_view text, bool) const override {
    return {text.begin(), text.end()};
  }
  std::string decode(std::span<const tokenizer::TokenId>) const override { return ""; }
  int64_t size() const override { return 256; }
  std::optional<tokenizer::TokenId> bos() const override { return bos_; }
  std::optional<tokenizer::TokenId> eos() const override { return std::nullopt; }
  bool adds_bos() const override { return adds_bos_; }
  const std::string& token_text(tokenizer::TokenId) const override { return text_; }

 private:
  std::string text_;
  std::optional<tokenizer::TokenId> bos_;
  bool adds_bos_ = false;
};

TEST(Windows, ConsecutiveJoinsDocumentsWithoutSeparators) {
  RandomStream random(0, "w");
  const std::vector<std::string> three{"abc", "de", "fgh"};
  const at::Tensor windows = token_windows(documents_of(three), Bytes(), {.count = 3, .length = 2}, random);
  EXPECT_TRUE(at::equal(windows, at::tensor({'a', 'b', 'c', 'd', 'e', 'f'}).view({3, 2}).to(at::kLong)));
  const std::vector<std::string> few{"abc"};
  EXPECT_THROW(token_windows(documents_of(few), Bytes(), {.count = 2, .length = 2}, random), Error);
}

TEST(Windows, StartWithBosWhereTheTokenizerAddsOneOrItIsAskedFor) {
  const std::vector<std::string> documents{"abcdef"};
  const auto take = [&](const Bytes& tokenizer, WindowStart bos, WindowRule rule = WindowRule::kConsecutive) {
    RandomStream random(0, "w");
    return token_windows(documents_of(documents), tokenizer,
                         {.rule = rule, .bos = bos, .count = 2, .length = 3}, random);
  };
  const at::Tensor with =
      at::tensor({1, int{'a'}, int{'b'}, 1, int{'c'}, int{'d'}}).view({2, 3}).to(at::kLong);
  const at::Tensor without = at::tensor({'a', 'b', 'c', 'd', 'e', 'f'}).view({2, 3}).to(at::kLong);
  const Bytes adds(1, true);
  const Bytes has(1, false);
  EXPECT_TRUE(at::equal(take(adds, WindowStart::kTokenizer), with));
  EXPECT_TRUE(at::equal(take(has, WindowStart::kTokenizer), without));
  EXPECT_TRUE(at::equal(take(has, WindowStart::kAlways), with));
  EXPECT_TRUE(at::equal(take(adds, WindowStart::kNever), without));
  EXPECT_TRUE(take(adds, WindowStart::kTokenizer, WindowRule::kCrop).select(1, 0).eq(1).all().item<bool>());
  EXPECT_THROW(take(Bytes(), WindowStart::kAlways), Error);
}

TEST(Windows, CropsLieInsideLongDocumentsAndRepeatWithTheSeed) {
  const std::vector<std::string> documents{"xx", "abcdefghijklmnop", "ABCDEFGHIJ"};
  const auto take = [&](uint64_t seed) {
    RandomStream random(seed, "w");
    return token_windows(documents_of(documents), Bytes(),
                         {.rule = WindowRule::kCrop, .count = 20, .length = 4}, random);
  };
  const at::Tensor windows = take(1);
  EXPECT_TRUE(at::equal(windows, take(1)));
  EXPECT_FALSE(at::equal(windows, take(2)));
  const at::Tensor steps = windows.narrow(1, 1, 3) - windows.narrow(1, 0, 3);
  EXPECT_TRUE(steps.eq(1).all().item<bool>());  // a crop never crosses documents
  EXPECT_FALSE(windows.eq('x').any().item<bool>());
  RandomStream random(0, "w");
  const std::vector<std::string> few{"ab", "abcd"};
  EXPECT_THROW(
      token_windows(documents_of(few), Bytes(), {.rule = WindowRule::kCrop, .count = 1, .length = 4}, random),
      Error);
}

}  // namespace
}  // namespace freelunch::calibration
