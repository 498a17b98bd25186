#include "freelunch/calibration/windows.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "freelunch/base/error.h"

namespace freelunch::calibration {
namespace {

/// One token a byte.
class Bytes : public tokenizer::Tokenizer {
 public:
  std::vector<tokenizer::TokenId> encode(std::string_view text, bool) const override {
    return {text.begin(), text.end()};
  }
  std::string decode(std::span<const tokenizer::TokenId>) const override { return ""; }
  int64_t size() const override { return 256; }
  std::optional<tokenizer::TokenId> bos() const override { return std::nullopt; }
  std::optional<tokenizer::TokenId> eos() const override { return std::nullopt; }
  bool adds_bos() const override { return false; }
  const std::string& token_text(tokenizer::TokenId) const override { return text_; }

 private:
  std::string text_;
};

TEST(Windows, ConsecutiveJoinsDocumentsWithoutSeparators) {
  RandomStream random(0, "w");
  const std::vector<std::string> three{"abc", "de", "fgh"};
  const at::Tensor windows =
      token_windows(documents_of(three), Bytes(), WindowRule::kConsecutive, 3, 2, random);
  EXPECT_TRUE(at::equal(windows, at::tensor({'a', 'b', 'c', 'd', 'e', 'f'}).view({3, 2}).to(at::kLong)));
  const std::vector<std::string> few{"abc"};
  EXPECT_THROW(token_windows(documents_of(few), Bytes(), WindowRule::kConsecutive, 2, 2, random), Error);
}

TEST(Windows, CropsLieInsideLongDocumentsAndRepeatWithTheSeed) {
  const std::vector<std::string> documents{"xx", "abcdefghijklmnop", "ABCDEFGHIJ"};
  const auto take = [&](uint64_t seed) {
    RandomStream random(seed, "w");
    return token_windows(documents_of(documents), Bytes(), WindowRule::kCrop, 20, 4, random);
  };
  const at::Tensor windows = take(1);
  EXPECT_TRUE(at::equal(windows, take(1)));
  EXPECT_FALSE(at::equal(windows, take(2)));
  const at::Tensor steps = windows.narrow(1, 1, 3) - windows.narrow(1, 0, 3);
  EXPECT_TRUE(steps.eq(1).all().item<bool>());  // a crop never crosses documents
  EXPECT_FALSE(windows.eq('x').any().item<bool>());
  RandomStream random(0, "w");
  const std::vector<std::string> few{"ab", "abcd"};
  EXPECT_THROW(token_windows(documents_of(few), Bytes(), WindowRule::kCrop, 1, 4, random), Error);
}

}  // namespace
}  // namespace freelunch::calibration
