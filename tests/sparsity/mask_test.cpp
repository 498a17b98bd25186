#include "freelunch/sparsity/mask.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "freelunch/base/error.h"

namespace freelunch::sparsity {
namespace {

TEST(SelectLargest, KeepsTheLargestOfEachRow) {
  const at::Tensor scores = at::tensor({4.0, 1.0, 3.0, 2.0, 1.0, 2.0, 3.0, 4.0}).view({2, 4}).to(at::kFloat);
  const at::Tensor expected = at::tensor({1, 0, 1, 0, 0, 0, 1, 1}).view({2, 4}).to(at::kBool);
  EXPECT_TRUE(at::equal(select_largest(scores, Unstructured{0.5}, Group::kRow).retained, expected));
}

TEST(SelectLargest, ComparesTheWholeMatrixWhenAsked) {
  const at::Tensor scores = at::tensor({8.0, 7.0, 6.0, 5.0, 1.0, 2.0, 3.0, 4.0}).view({2, 4}).to(at::kFloat);
  const Mask mask = select_largest(scores, Unstructured{0.5}, Group::kMatrix);
  EXPECT_TRUE(mask.retained[0].all().item<bool>());
  EXPECT_FALSE(mask.retained[1].any().item<bool>());
}

TEST(SelectLargest, RemovesTiesFromTheLowerIndexOn) {
  const at::Tensor equal = at::ones({1, 6});
  const at::Tensor expected = at::tensor({0, 0, 0, 1, 1, 1}).view({1, 6}).to(at::kBool);
  EXPECT_TRUE(at::equal(select_largest(equal, Unstructured{0.5}, Group::kRow).retained, expected));
  EXPECT_TRUE(at::equal(select_largest(equal, NofM{.keep = 1, .of = 2}, Group::kRow).retained,
                        at::tensor({0, 1, 0, 1, 0, 1}).view({1, 6}).to(at::kBool)));
}

TEST(SelectLargest, NofMKeepsNOfEveryMOfAnyPattern) {
  at::manual_seed(0);
  const at::Tensor scores = at::rand({16, 96});
  for (const NofM& pattern : {NofM{2, 4}, NofM{4, 8}, NofM{1, 3}, NofM{5, 32}, NofM{3, 4}}) {
    const at::Tensor retained = select_largest(scores, pattern, Group::kRow).retained;
    const at::Tensor groups = retained.view({-1, pattern.of});
    EXPECT_TRUE(groups.sum(1).eq(pattern.keep).all().item<bool>()) << to_string(Pattern(pattern));
    // the smallest kept of a group is at least the largest removed
    const at::Tensor values = scores.view({-1, pattern.of});
    const at::Tensor least = values.masked_fill(groups.logical_not(), 2).amin(1);
    const at::Tensor most = values.masked_fill(groups, -1).amax(1);
    EXPECT_TRUE(least.ge(most).all().item<bool>());
  }
}

TEST(SelectLargest, RemovesExactlyTheFloorOfTheFraction) {
  at::manual_seed(1);
  for (const double fraction : {0.0, 0.1, 0.3, 0.5, 0.7, 0.95}) {
    for (const int64_t width : {7, 10, 576}) {
      const at::Tensor scores = at::randint(5, {9, width}).to(at::kFloat);  // many ties
      for (const Group group : {Group::kRow, Group::kMatrix}) {
        const at::Tensor retained = select_largest(scores, Unstructured{fraction}, group).retained;
        EXPECT_EQ(retained.logical_not().sum().item<int64_t>(),
                  expected_zeros(9, width, Unstructured{fraction}, group));
      }
    }
  }
  EXPECT_EQ(expected_zeros(1, 10, Unstructured{0.7}, Group::kRow), 7);  // 0.7 * 10 is 6.999... in binary
}

TEST(SelectLargest, RefusesNaNAndWidthsThatDoNotDivide) {
  EXPECT_THROW(select_largest(at::full({2, 4}, NAN), Unstructured{0.5}, Group::kRow), Error);
  EXPECT_THROW(select_largest(at::ones({2, 6}), NofM{2, 4}, Group::kRow), Error);
}

TEST(CheckRespected, NamesTheTensorThatBreaksItsMask) {
  const Mask mask{at::tensor({1, 0}).view({1, 2}).to(at::kBool)};
  EXPECT_NO_THROW(check_respected(at::tensor({1.0F, 0.0F}).view({1, 2}), mask, "w"));
  try {
    check_respected(at::tensor({1.0F, 2.0F}).view({1, 2}), mask, "w");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNumerical);
    EXPECT_NE(std::string(error.what()).find("'w'"), std::string::npos);
  }
}

TEST(Observe, FindsTheTightestPattern) {
  at::manual_seed(2);
  const at::Tensor W = at::rand({8, 64}) + 0.1;
  for (const NofM& pattern : {NofM{2, 4}, NofM{4, 8}, NofM{1, 4}}) {
    const Observed seen = observe(W * select_largest(W, pattern, Group::kRow).retained);
    ASSERT_TRUE(seen.pattern.has_value());
    EXPECT_EQ(*seen.pattern, pattern);
  }
  EXPECT_FALSE(observe(W).pattern.has_value());
  // some rows at a time: what the first obey the later may not
  Observer observer;
  observer.add(W * select_largest(W, NofM{1, 4}, Group::kRow).retained);
  EXPECT_EQ(observer.result().pattern, (NofM{1, 4}));
  observer.add(W * select_largest(W, NofM{2, 4}, Group::kRow).retained);
  EXPECT_EQ(observer.result().pattern, (NofM{2, 4}));
  EXPECT_EQ(observer.result().zeros, 8 * 64 * 3 / 4 + 8 * 64 / 2);
  observer.add(W);
  EXPECT_FALSE(observer.result().pattern.has_value());
  EXPECT_FALSE(Observer().result().pattern.has_value());
  EXPECT_FALSE(observe(at::zeros({0, 8})).pattern.has_value());
  EXPECT_FALSE(observe(at::zeros({8, 0})).pattern.has_value());
  EXPECT_FALSE(observe(W * select_largest(W, Unstructured{0.5}, Group::kRow).retained).pattern.has_value());
}

TEST(Pattern, ReadsWhatItWrites) {
  EXPECT_EQ(std::get<NofM>(parse_pattern("2:4")), (NofM{2, 4}));
  EXPECT_EQ(std::get<Unstructured>(parse_pattern("0.5")), (Unstructured{0.5}));
  EXPECT_EQ(std::get<Unstructured>(parse_pattern("60%")), (Unstructured{0.6}));
  EXPECT_EQ(to_string(parse_pattern("4:8")), "4:8");
  EXPECT_EQ(to_string(parse_pattern("0.55")), "55%");
  for (const char* bad :
       {"", "4:2", "0:4", "2:64", "2:", ":4", "1.0", "-0.1", "abc", "2:4x", "0.5x", "nan"}) {
    EXPECT_THROW(parse_pattern(bad), Error) << bad;
  }
}

}  // namespace
}  // namespace freelunch::sparsity
