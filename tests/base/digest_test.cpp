#include "freelunch/base/digest.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "freelunch/base/error.h"

namespace freelunch {
namespace {

// The examples of FIPS 180-4 as NIST publishes them.
constexpr const char* kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr const char* kEmpty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST(Sha256, GivesThePublishedDigests) {
  EXPECT_EQ(sha256("abc"), kAbc);
  EXPECT_EQ(sha256(""), kEmpty);
}

TEST(Sha256, DoesNotDependOnThePieces) {
  Sha256 digest;
  digest.add("a", 1);
  digest.add("bc", 2);
  EXPECT_EQ(digest.hex(), kAbc);
}

TEST(Sha256, ReadsFilesAndNamesTheOneThatIsMissing) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("digest_test." + std::to_string(::getpid()));
  std::ofstream(path) << "abc";
  EXPECT_EQ(sha256_of_file(path), kAbc);
  std::filesystem::remove(path);
  try {
    sha256_of_file(path);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kIo);
    EXPECT_NE(std::string(error.what()).find("digest_test"), std::string::npos);
  }
}

}  // namespace
}  // namespace freelunch
