#include "freelunch/study/json_files.h"

#include <fstream>

#include "freelunch/checkpoint/files/atomic_file.h"

namespace freelunch::study {

using nlohmann::json;

json read_json(const std::filesystem::path& path) {
  std::ifstream stream(path);
  return json::parse(stream, nullptr, /*allow_exceptions=*/false);
}

void write_json(const std::filesystem::path& path, const json& value) {
  checkpoint::write_file_atomically(path, value.dump(1, ' ', false, json::error_handler_t::replace) + "\n");
}

}  // namespace freelunch::study
