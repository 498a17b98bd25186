#include "freelunch/memory/tensor_memory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace freelunch::pipeline {
namespace {

/// Each test replaces the allocator for the rest of the process, so this folder has an executable of its own.
TEST(TensorMemory, GivesATensorTheMemoryOfAFreedOneOfItsSize) {
  reuse_tensor_memory();
  reuse_tensor_memory();  // a second time changes nothing
  at::Tensor first = at::ones({1 << 20});
  const void* place = first.const_data_ptr();
  at::Tensor other = at::ones({1 << 19});
  first = at::Tensor();
  EXPECT_NE(at::empty({1 << 19}).const_data_ptr(), place);
  const at::Tensor again = at::empty({1 << 20});
  EXPECT_EQ(again.const_data_ptr(), place);
  EXPECT_EQ(again.sum().item<float>(), 1 << 20);  // its former content
  EXPECT_TRUE(at::equal(other, at::ones({1 << 19})));
}

TEST(TensorMemory, KeepsTensorsThatAreInUseApartWhenThreadsMakeAndFreeThem) {
  reuse_tensor_memory();
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t, &wrong] {
      for (int i = 0; i < 50; ++i) {
        const at::Tensor a = at::full({100000 + 1000 * (i % 3)}, t * 100 + i, at::kInt);
        const at::Tensor b = at::full({100000}, -1, at::kInt);
        if (!a.eq(t * 100 + i).all().item<bool>()) ++wrong[static_cast<size_t>(t)];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  release_tensor_memory();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

}  // namespace
}  // namespace freelunch::pipeline
