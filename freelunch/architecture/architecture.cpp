#include "freelunch/architecture/architecture.h"

#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"

namespace freelunch::model {
namespace {

std::string handled_names() {
  std::string names;
  for (const Architecture* a : all_architectures())
    names += (names.empty() ? "" : ", ") + std::string(a->name);
  return names;
}

constexpr std::string_view kWhatItTakes = "another needs a table of its own (docs/add-an-architecture.md)";

}  // namespace

void refuse_sliding_window(Config& config, const nlohmann::json* hf) {
  config.layer_types[0].window.reset();
  if (hf != nullptr && hf->value("use_sliding_window", false)) {
    fail(ErrorKind::kUnsupported, "config.json: {} with use_sliding_window is not supported",
         config.architecture);
  }
}

std::vector<const Architecture*> all_architectures() {
  return {&gemma2(), &gemma3(), &gpt2(), &gpt_neox(), &llama(), &mistral(),  &mixtral(),
          &olmo2(),  &opt(),    &phi3(), &qwen2(),    &qwen3(), &qwen3_moe()};
}

const Architecture& architecture_of_model_type(std::string_view model_type, const std::string& file) {
  for (const Architecture* a : all_architectures()) {
    if (a->name == model_type) return *a;
  }
  fail(ErrorKind::kUnsupported, "{}: model_type '{}' is not supported; this version handles {}; {}", file,
       model_type, handled_names(), kWhatItTakes);
}

const Architecture& architecture_of_gguf(std::string_view gguf_name, bool experts, const std::string& file) {
  for (const Architecture* a : all_architectures()) {
    if (!gguf_name.empty() && a->gguf_name == gguf_name && experts == (a->base.experts.count > 0)) return *a;
  }
  fail(ErrorKind::kUnsupported,
       "{}: general.architecture '{}'{} is not supported; this version handles {}; {}", file, gguf_name,
       experts ? " with experts" : "", handled_names(), kWhatItTakes);
}

}  // namespace freelunch::model
