#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>

namespace freelunch {

/// A path that only the running test uses, even if another process runs the same test. Nothing is there yet.
inline std::filesystem::path test_folder() {
  const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
  std::string name =
      std::string(test->test_suite_name()) + "." + test->name() + "-" + std::to_string(::getpid());
  std::replace(name.begin(), name.end(), '/', '.');  // parameterised tests have slashes in their names
  return std::filesystem::path(::testing::TempDir()) / name;
}

}  // namespace freelunch
