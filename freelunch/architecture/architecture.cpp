#include "freelunch/architecture/architecture.h"

#include <nlohmann/json.hpp>
#include <utility>

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

void refuse_sliding_window(const Config& config, const nlohmann::json& json) {
  if (json.value("use_sliding_window", false)) {
    fail(ErrorKind::kUnsupported, "config.json: {} with use_sliding_window is not supported",
         config.architecture);
  }
  const auto types = json.find("layer_types");
  if (types == json.end() || !types->is_array()) return;
  if (std::cmp_not_equal(types->size(), config.blocks))
    fail(ErrorKind::kBadFile, "config.json: {} layer types for {} blocks", types->size(), config.blocks);
  for (const nlohmann::json& type : *types) {
    if (type != "full_attention")
      fail(ErrorKind::kUnsupported, "config.json: {} with the layer type {} is not supported",
           config.architecture, type.dump());
  }
}

void refuse_second_name(const nlohmann::json& json, const char* name, const char* second) {
  const auto a = json.find(name), b = json.find(second);
  if (a != json.end() && b != json.end() && *a != *b)
    fail(ErrorKind::kUnsupported, "config.json: '{}' is {} and '{}', its other name, is {}", name, a->dump(),
         second, b->dump());
}

}  // namespace freelunch::model
