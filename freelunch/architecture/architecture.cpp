#include "freelunch/architecture/architecture.h"

#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"

namespace freelunch::model {

#define ARCHITECTURE(name) const Architecture& name();
#include "freelunch/architecture/architectures/list.inc"
#undef ARCHITECTURE

namespace {

std::string supported_names() {
  std::string names;
  for (const Architecture* a : all_architectures())
    names += (names.empty() ? "" : ", ") + std::string(a->name);
  return names;
}

constexpr std::string_view kWhatItTakes = "another needs a table of its own (docs/add-an-architecture.md)";

}  // namespace

std::vector<const Architecture*> all_architectures() {
  return {
#define ARCHITECTURE(name) &name(),
#include "freelunch/architecture/architectures/list.inc"
#undef ARCHITECTURE
  };
}

const Architecture& architecture_of_model_type(std::string_view model_type, const std::string& file) {
  for (const Architecture* a : all_architectures()) {
    if (a->name == model_type) return *a;
  }
  fail(ErrorKind::kUnsupported, "{}: model_type '{}' is not supported; this version handles {}; {}", file,
       model_type, supported_names(), kWhatItTakes);
}

const Architecture& architecture_of_gguf(std::string_view gguf_name, bool experts, const std::string& file) {
  for (const Architecture* a : all_architectures()) {
    const bool named = !gguf_name.empty() && a->gguf.read && a->gguf.name == gguf_name;
    if (named && experts == (a->base.experts.count > 0)) return *a;
  }
  fail(ErrorKind::kUnsupported,
       "{}: general.architecture '{}'{} is not supported; this version handles {}; {}", file, gguf_name,
       experts ? " with experts" : "", supported_names(), kWhatItTakes);
}

void refuse_sliding_window(Config& config, const nlohmann::json& json) {
  config.layer_types[0].window.reset();
  if (json.value("use_sliding_window", false)) {
    fail(ErrorKind::kUnsupported, "config.json: {} with use_sliding_window is not supported",
         config.architecture);
  }
}

}  // namespace freelunch::model
