#include "freelunch/base/error.h"

#include <cerrno>
#include <system_error>

#include "freelunch/base/printable.h"

namespace freelunch {
namespace {

constexpr size_t kLongestMessage = 2000;

}  // namespace

Error::Error(ErrorKind kind, const std::string& message)
    : std::runtime_error(printable(message, kLongestMessage)), kind_(kind) {}

std::string system_error_text() { return std::generic_category().message(errno); }

}  // namespace freelunch
