#include "freelunch/storage/activation_store.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "freelunch/base/error.h"

namespace freelunch::model {
namespace {

namespace fs = std::filesystem;

/// Everywhere, fp32 or bf16. Beside a CPU the machine's memory is the device's.
class ActivationStoreTest : public ::testing::TestWithParam<std::tuple<ActivationPlacement, at::ScalarType>> {
 protected:
  fs::path folder_ = fs::temp_directory_path() / ("activation_store_test." + std::to_string(::getpid()));
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }

  ActivationSettings settings() const {
    return {.placement = std::get<0>(GetParam()), .folder = folder_, .dtype = std::get<1>(GetParam())};
  }
  /// What a stream of these values is when it comes back.
  at::Tensor rounded(const at::Tensor& values) const { return values.to(settings().dtype).to(at::kFloat); }
};

TEST_P(ActivationStoreTest, GivesBackWindowsInAnyOrder) {
  at::manual_seed(0);
  const at::Tensor X = at::randn({11, 3, 5});
  ActivationStore store(settings(), {11, 3, 5}, at::kFloat, at::kCPU);
  store.write(0, X.narrow(0, 0, 4));
  store.write(4, X.narrow(0, 4, 7));
  EXPECT_EQ(store.read(0, 1).scalar_type(), at::kFloat);
  for (int64_t i = 0; i < 11; i += 4) {
    const int64_t n = std::min<int64_t>(4, 11 - i);
    EXPECT_TRUE(at::equal(store.read(i, n), rounded(X.narrow(0, i, n)))) << i;
  }
  const std::vector<int64_t> some{7, 0, 10}, others{3, 3};
  store.prefetch(some);
  EXPECT_TRUE(at::equal(store.read(some), rounded(X.index_select(0, at::tensor(some)))));
  store.prefetch(some);  // and then something else is asked for
  EXPECT_TRUE(at::equal(store.read(others), rounded(X.index_select(0, at::tensor(others)))));
}

TEST_P(ActivationStoreTest, AWriteIsSeenThoughTheOldWindowsWereReadAhead) {
  ActivationStore store(settings(), {6, 2, 2}, at::kFloat, at::kCPU);
  store.write(0, at::zeros({6, 2, 2}));
  const std::vector<int64_t> some{5, 2};
  store.prefetch(some);
  store.write(2, at::ones({1, 2, 2}));
  EXPECT_TRUE(at::equal(store.read(some), at::stack({at::zeros({2, 2}), at::ones({2, 2})})));
  store.read(0, 2);  // reads 2 and 3 ahead
  store.write(3, at::full({1, 2, 2}, 4.0));
  EXPECT_EQ(store.read(2, 2).sum().item<double>(), 4 * (1 + 4));
}

TEST_P(ActivationStoreTest, AdvancesInPlace) {
  ActivationStore store(settings(), {9, 2, 3}, at::kFloat, at::kCPU);
  for (int64_t i = 0; i < 9; ++i) store.write(i, at::full({1, 2, 3}, static_cast<double>(i)));
  for (int pass = 0; pass < 3; ++pass) {
    for (int64_t i = 0; i < 9; i += 2) {
      const int64_t n = std::min<int64_t>(2, 9 - i);
      store.write(i, store.read(i, n) + 1);
    }
  }
  for (int64_t i = 0; i < 9; ++i) EXPECT_EQ(store.read(i, 1).mean().item<double>(), i + 3);
}

TEST_P(ActivationStoreTest, KeepsNarrowValuesAsTheyAre) {
  const at::Tensor X = at::randn({2, 2, 4}).to(at::kHalf);
  ActivationStore store(settings(), {2, 2, 4}, at::kHalf, at::kCPU);
  store.write(0, X);
  EXPECT_TRUE(at::equal(store.read(0, 2), X));
}

TEST_P(ActivationStoreTest, LeavesNoFileBehindEvenWhileItLives) {
  ActivationStore store(settings(), {2, 2, 4}, at::kFloat, at::kCPU);
  store.write(0, at::ones({2, 2, 4}));
  ActivationStore moved(std::move(store));
  EXPECT_EQ(moved.read(0, 2).sum().item<double>(), 16);
  EXPECT_TRUE(fs::is_empty(folder_));
}

INSTANTIATE_TEST_SUITE_P(Kinds, ActivationStoreTest,
                         ::testing::Combine(::testing::Values(ActivationPlacement::kMemory,
                                                              ActivationPlacement::kHost,
                                                              ActivationPlacement::kDisk),
                                            ::testing::Values(at::kFloat, at::kBFloat16)));

TEST(ActivationStoreOnDiskTest, AFolderThatIsNotThereIsOneLine) {
  try {
    ActivationStore({.placement = ActivationPlacement::kDisk, .folder = "/nowhere/at/all"}, {2, 2, 2},
                    at::kFloat, at::kCPU);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kIo);
    EXPECT_NE(std::string(error.what()).find("/nowhere/at/all"), std::string::npos) << error.what();
  }
}

TEST(ActivationStoreOnDiskTest, ADiskThatIsTooSmallIsFoundOutAtTheStart) {
  // 4 exabytes: more than any file system at hand reserves
  EXPECT_THROW(ActivationStore({.placement = ActivationPlacement::kDisk, .folder = fs::temp_directory_path()},
                               {int64_t{1} << 50, 32, 32}, at::kFloat, at::kCPU),
               Error);
}

TEST(ActivationStoreOnDiskTest, AWindowThatWasNeverWrittenIsZeroOrAnErrorButNeverRubbish) {
  ActivationStore store({.placement = ActivationPlacement::kDisk, .folder = fs::temp_directory_path()},
                        {2, 2, 2}, at::kFloat, at::kCPU);
  store.write(1, at::ones({1, 2, 2}));
  EXPECT_EQ(store.read(0, 1).abs().sum().item<double>(), 0);
}

}  // namespace
}  // namespace freelunch::model
