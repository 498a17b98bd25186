#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace freelunch::model {

/// The keys of a config.json that nothing here looks up, keys of inner objects as "OUTER.INNER". Found by
/// trying: a key is ignored if neither its absence nor a value of any other kind changes what parse_config
/// returns. Throws as parse_config does.
std::vector<std::string> ignored_keys(std::string_view text, const std::string& file);

}  // namespace freelunch::model
