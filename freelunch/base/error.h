#pragma once
#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace freelunch {

/// What went wrong, in terms that a caller can act on. tools/ maps each kind to an exit code.
enum class ErrorKind {
  kInvalidArgument,  ///< an option or argument that cannot be used
  kBadFile,          ///< an input file that is broken or inconsistent
  kUnsupported,      ///< well-formed input that this version does not handle
  kNumerical,        ///< NaN, infinity, a factorisation that failed
  kInterrupted,      ///< the user asked to stop
  kIo                ///< the operating system refused: no space, no permission, vanished file
};

/// The one exception type of the library. The message is one line: who, what was found, what was expected,
/// likely cause. It stays one line even if it quotes a file or an argument: the constructor passes it through
/// printable() and cuts it after 2000 bytes.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message);
  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

/// Throws Error(kind) with a message formatted as by fmt::format.
template <typename... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

/// The message of the last operating-system error, for kIo errors.
std::string system_error_text();

}  // namespace freelunch
