#pragma once
#include <filesystem>
#include <string>

#include "freelunch/base/error.h"

namespace freelunch {

/// The bytes of a file. Throws `kind`, naming the file and the system's reason, if it cannot be read.
std::string read_file(const std::filesystem::path& path, ErrorKind kind = ErrorKind::kIo);

}  // namespace freelunch
