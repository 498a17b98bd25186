#include "checkpoint/printable.h"

#include <nlohmann/json.hpp>

namespace freelunch::checkpoint {
namespace {

constexpr size_t kLongest = 200;

}  // namespace

std::string printable(std::string_view text) {
  std::string shown(text.substr(0, kLongest));
  for (char& c : shown) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) c = '?';
  }
  if (text.size() > kLongest) shown += "...";
  // The serialiser knows UTF-8; a cut character at the end is replaced too.
  using Json = nlohmann::json;
  std::string quoted = Json(shown).dump(-1, ' ', false, Json::error_handler_t::ignore);
  return Json::parse(quoted).get<std::string>();
}

}  // namespace freelunch::checkpoint
