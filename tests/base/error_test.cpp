#include "base/error.h"

#include <gtest/gtest.h>

#include "base/interrupt.h"

namespace freelunch {
namespace {

TEST(Error, KeepsItsKindAndFormatsItsMessage) {
  try {
    fail(ErrorKind::kBadFile, "tensor '{}' has {} bytes", "x", 12);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadFile);
    EXPECT_STREQ(error.what(), "tensor 'x' has 12 bytes");
    return;
  }
  FAIL() << "nothing was thrown";
}

TEST(Interrupt, ThrowsOnlyOnceRequestedAndUntilCleared) {
  EXPECT_NO_THROW(throw_if_interrupted());
  request_interrupt();
  EXPECT_THROW(throw_if_interrupted(), Error);
  clear_interrupt();
  EXPECT_NO_THROW(throw_if_interrupted());
}

}  // namespace
}  // namespace freelunch
