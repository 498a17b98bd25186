#pragma once
#include <filesystem>
#include <nlohmann/json_fwd.hpp>

namespace freelunch::study {

/// A .toml or .json file as JSON. Throws BadFile with the place of what cannot be parsed, InvalidArgument for
/// another kind of file.
nlohmann::json read_study_file(const std::filesystem::path& path);

}  // namespace freelunch::study
