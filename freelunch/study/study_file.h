#pragma once
#include <filesystem>
#include <nlohmann/json_fwd.hpp>

namespace freelunch::study {

/// Reads a .toml or .json file as JSON. Throws BadFile with the position of a syntax error, InvalidArgument
/// for a file with another extension.
nlohmann::json read_study_file(const std::filesystem::path& path);

}  // namespace freelunch::study
