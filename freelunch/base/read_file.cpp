#include "freelunch/base/read_file.h"

#include <fstream>
#include <sstream>

namespace freelunch {

std::string read_file(const std::filesystem::path& path, ErrorKind kind) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  if (stream) text << stream.rdbuf();
  if (!stream) fail(kind, "cannot read '{}': {}", path.string(), system_error_text());
  return std::move(text).str();
}

}  // namespace freelunch
