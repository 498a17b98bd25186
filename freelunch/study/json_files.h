#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

namespace freelunch::study {

/// The JSON in a file; a discarded value if there is no such file or no JSON in it.
nlohmann::json read_json(const std::filesystem::path& path);
/// Replaces the file atomically. Throws Io.
void write_json(const std::filesystem::path& path, const nlohmann::json& value);

/// A record from a file; nothing if the file is missing, torn, or of another version.
template <class Record>
std::optional<Record> read_record(const std::filesystem::path& path) {
  try {
    return read_json(path).get<Record>();
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

}  // namespace freelunch::study
