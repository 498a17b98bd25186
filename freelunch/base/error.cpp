#include "base/error.h"

#include <cerrno>
#include <system_error>

namespace freelunch {

std::string system_error_text() { return std::generic_category().message(errno); }

}  // namespace freelunch
