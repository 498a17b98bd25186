#include "freelunch/plan/assign_options.h"

namespace freelunch::pipeline {

bool gives(const nlohmann::json& values, std::string_view option) {
  const auto it = values.find(option);
  return it != values.end() && !it->is_null();
}

void check_company(const OptionFacts& option, const nlohmann::json& values) {
  if (!option.excludes.empty() && gives(values, option.excludes))
    fail(ErrorKind::kInvalidArgument, "{} excludes {}", field_name(option.name), field_name(option.excludes));
  if (!option.needs.empty() && !gives(values, option.needs))
    fail(ErrorKind::kInvalidArgument, "{} requires {}", field_name(option.name), field_name(option.needs));
}

void check_form(const OptionFacts& option, const nlohmann::json& value) {
  if (option.name != "pattern" || value.get<std::string>().find(':') != std::string::npos) return;
  fail(ErrorKind::kInvalidArgument,
       "`pattern` '{}' is not KEEP:OF such as 2:4; for a fraction of zeros use `sparsity`",
       value.get<std::string>());
}

}  // namespace freelunch::pipeline
