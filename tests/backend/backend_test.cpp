#include "freelunch/backend/backend.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "freelunch/backend/compute.h"
#include "freelunch/base/error.h"
#include "freelunch/gemm/gemm_bf16.h"

namespace freelunch::backend {
namespace {

TEST(Backend, KernelsTakeContiguousFp32AndBf16) {
  const at::Tensor fp32 = at::ones({4, 6});
  EXPECT_TRUE(kernels_take(fp32));
  EXPECT_TRUE(kernels_take(fp32.to(at::kBFloat16)));
  EXPECT_FALSE(kernels_take(fp32.to(at::kHalf)));
  EXPECT_FALSE(kernels_take(fp32.to(at::kDouble)));
  EXPECT_FALSE(kernels_take(fp32.t()));
  EXPECT_FALSE(kernels_take(fp32.narrow(1, 0, 3)));
  EXPECT_TRUE(kernels_take(fp32.narrow(0, 1, 2)));
  EXPECT_TRUE(kernels_take(fp32, at::kFloat));
  EXPECT_FALSE(kernels_take(fp32, at::kBFloat16));
}

TEST(Backend, TheCpuSharesTheMemoryOfTheProcess) {
  const Backend cpu = of(at::kCPU);
  EXPECT_FALSE(cpu.own_memory());
  EXPECT_FALSE(cpu.pinned_memory());
  EXPECT_EQ(cpu.free_bytes(), 0);
  EXPECT_EQ(cpu.peak_bytes(), 0);
  cpu.reset_peak_bytes();
  cpu.synchronize();
}

TEST(Backend, OnTheCpuBf16IsAutoWhereverOurGemmRuns) {
  const Backend cpu = of(at::kCPU);
  EXPECT_EQ(cpu.bf16_gemm(), gemm::has_bf16_gemm());
  EXPECT_TRUE(cpu.bf16_in_hardware() || !cpu.bf16_gemm());
  const at::ScalarType expected = cpu.bf16_in_hardware() ? at::kBFloat16 : at::kFloat;
  EXPECT_EQ(resolve({.device = "cpu", .compute = "auto"}).dtype, expected);
}

// A build without CUDA knows these answers too: they describe the kind of device.
TEST(Backend, CudaMultipliesBf16IntoFp32FromPinnedMemory) {
  const Backend cuda = of(at::Device(at::kCUDA, 0));
  EXPECT_TRUE(cuda.bf16_in_hardware());
  EXPECT_TRUE(cuda.mixed_mm());
  EXPECT_TRUE(cuda.own_memory());
  EXPECT_TRUE(cuda.pinned_memory());
  EXPECT_EQ(cuda.sum_dtype(), at::kDouble);
  EXPECT_FALSE(cuda.has_kernels(at::kFloat));
  EXPECT_FALSE(cuda.bf16_gemm());
}

// MPS has no fp64, and a device that is not the CPU need not be CUDA.
TEST(Backend, OfAnUnknownDeviceNothingIsAssumedThatCouldFail) {
  const Backend other = of(at::Device(at::kMPS, 0));
  EXPECT_TRUE(other.own_memory());
  EXPECT_FALSE(other.pinned_memory());
  EXPECT_FALSE(other.mixed_mm());
  EXPECT_FALSE(other.bf16_gemm());
  EXPECT_FALSE(other.bf16_in_hardware());
  EXPECT_FALSE(other.has_kernels(at::kFloat));
  EXPECT_EQ(other.sum_dtype(), at::kFloat);
}

TEST(Compute, RefusesDevicesThatItDoesNotKnowByName) {
  for (const char* bad : {"", "gpu", "cuda:", "cuda:x", "cuda:1x", "cudax", "cpu:0", "cuda:-1"}) {
    try {
      resolve({.device = bad});
      ADD_FAILURE() << "accepted '" << bad << "'";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
      EXPECT_THAT(error.what(), testing::HasSubstr("'" + std::string(bad) + "'"));
    }
  }
}

TEST(Compute, RefusesANegativeNumberOfThreads) { EXPECT_THROW(resolve({.threads = -1}), Error); }

}  // namespace
}  // namespace freelunch::backend
