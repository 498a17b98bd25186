#pragma once

namespace freelunch {

/// The version of the command and the library; the CHANGELOG names what each holds.
inline constexpr const char* kVersion = "0.1.0";

}  // namespace freelunch
