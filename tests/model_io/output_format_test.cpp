#include "freelunch/model_io/output_format.h"

#include <gtest/gtest.h>

#include "freelunch/base/error.h"

namespace freelunch::pipeline {
namespace {

using checkpoint::DType;

TEST(OutputFormat, TheNameDecidesWhereNoFormatIsAskedFor) {
  EXPECT_EQ(format_of_output("a/model.gguf", std::nullopt), Format::kGguf);
  EXPECT_EQ(format_of_output("a/model", std::nullopt), Format::kHuggingFace);
  EXPECT_EQ(format_of_output("a/model", Format::kBitmask), Format::kBitmask);
}

TEST(OutputFormat, RefusesANameOfAnotherFormat) {
  EXPECT_THROW(format_of_output("a/model.gguf", Format::kHuggingFace), Error);
  EXPECT_THROW(format_of_output("a/model.gguf", Format::kBitmask), Error);
  EXPECT_THROW(format_of_output("a/model", Format::kGguf), Error);
}

TEST(OutputFormat, Q8IsForGgufOnly) {
  EXPECT_NO_THROW(validate({.format = Format::kGguf, .dtype = DType::kQ8_0}));
  EXPECT_THROW(validate({.format = Format::kHuggingFace, .dtype = DType::kQ8_0}), Error);
  EXPECT_THROW(validate({.format = Format::kBitmask, .dtype = DType::kQ8_0}), Error);
  EXPECT_NO_THROW(validate({.format = Format::kBitmask, .dtype = DType::kBF16}));
}

}  // namespace
}  // namespace freelunch::pipeline
