#pragma once
#include <array>
#include <utility>

namespace freelunch::tools {

/// As --help and the manual page list them; docs/command.md says more.
constexpr std::array<std::pair<int, const char*>, 7> kExitCodes{{{0, "success"},
                                                                 {2, "usage"},
                                                                 {3, "bad input file"},
                                                                 {4, "unsupported"},
                                                                 {5, "numerical"},
                                                                 {6, "input/output"},
                                                                 {130, "interrupted"}}};

}  // namespace freelunch::tools
