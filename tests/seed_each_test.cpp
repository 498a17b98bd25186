// Seeds ATen before each test of a program: left alone, it draws other numbers in every process, and a
// test near a tolerance then fails now and then. A test that wants another seed sets it itself.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace {

class SeedEachTest : public ::testing::EmptyTestEventListener {
  void OnTestStart(const ::testing::TestInfo& /*test*/) override { at::manual_seed(0); }
};

const bool kListening = [] {
  ::testing::UnitTest::GetInstance()->listeners().Append(new SeedEachTest);
  return true;
}();

}  // namespace
