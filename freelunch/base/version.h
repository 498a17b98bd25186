#pragma once

namespace freelunch {

/// The version of the command and of the library. CMakeLists.txt reads it from here; CHANGELOG.md lists the
/// changes of each version.
inline constexpr const char* kVersion = "0.1.0";

}  // namespace freelunch
