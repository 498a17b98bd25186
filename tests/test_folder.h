#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

namespace freelunch {

/// A path that only the running test uses, also if another process runs the same test. Nothing exists there
/// yet.
inline std::filesystem::path test_folder() {
  const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
  return std::filesystem::path(::testing::TempDir()) /
         (std::string(test->test_suite_name()) + "." + test->name() + "-" + std::to_string(::getpid()));
}

}  // namespace freelunch
