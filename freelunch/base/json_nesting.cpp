#include "freelunch/base/json_nesting.h"

#include "freelunch/base/error.h"

namespace freelunch {

void refuse_deep_nesting(std::string_view text, std::string_view file) {
  constexpr int kDeepest = 200;
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kDeepest)
        fail(ErrorKind::kBadFile, "{}: JSON is nested more than {} deep", file, kDeepest);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
}

}  // namespace freelunch
