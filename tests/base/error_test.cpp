#include "freelunch/base/error.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "freelunch/base/interrupt.h"
#include "freelunch/base/printable.h"

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

TEST(Error, StaysOneLineWhateverAFilePutsIntoIt) {
  const Error error(ErrorKind::kBadFile, "token 'a\nb\x1b[2J\xff' " + std::string(5000, 'x'));
  const std::string message = error.what();
  EXPECT_EQ(message.substr(0, 20), "token 'a?b?[2J\xEF\xBF\xBD' x");
  EXPECT_EQ(message.size(), 2005U);  // 2000 bytes, two more for U+FFFD, the dots
  EXPECT_EQ(message.substr(message.size() - 4), "x...");
}

TEST(Printable, CutsBetweenCharactersAndKeepsWhatReadsWell) {
  EXPECT_EQ(printable("weights of \u00e9\u65e5"), "weights of \u00e9\u65e5");
  EXPECT_EQ(printable("\u00e9\u00e9", 3), "\u00e9...");
  EXPECT_EQ(printable("\u65e5", 1), "...");
  EXPECT_EQ(printable("a\u0085b\u2028c\u202ed"), "a?b?c?d");
}

TEST(Interrupt, ThrowsOnlyOnceRequestedAndUntilCleared) {
  EXPECT_NO_THROW(throw_if_interrupted());
  request_interrupt();
  EXPECT_THROW(throw_if_interrupted(), Error);
  clear_interrupt();
  EXPECT_NO_THROW(throw_if_interrupted());
}

TEST(Interrupt, ReachesALoopOnAnotherThread) {
  std::atomic<bool> stopped = false;
  std::jthread loop([&] {
    try {
      while (true) throw_if_interrupted();
    } catch (const Error& error) {
      stopped = error.kind() == ErrorKind::kInterrupted;
    }
  });
  request_interrupt();
  loop.join();
  clear_interrupt();
  EXPECT_TRUE(stopped);
}

}  // namespace
}  // namespace freelunch
