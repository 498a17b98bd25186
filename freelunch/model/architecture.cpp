#include "model/architecture.h"

#include "base/error.h"

namespace freelunch::model {
namespace {

std::string handled_names() {
  std::string names;
  for (const Architecture* a : all_architectures())
    names += (names.empty() ? "" : ", ") + std::string(a->name);
  return names;
}

}  // namespace

std::vector<const Architecture*> all_architectures() { return {&llama(), &mistral(), &qwen2()}; }

const Architecture& architecture_of_model_type(std::string_view model_type, const std::string& file) {
  for (const Architecture* a : all_architectures()) {
    if (a->name == model_type) return *a;
  }
  fail(ErrorKind::kUnsupported, "{}: model_type '{}' is not supported; this version handles {}", file,
       model_type, handled_names());
}

const Architecture& architecture_of_gguf(std::string_view gguf_name, const std::string& file) {
  for (const Architecture* a : all_architectures()) {
    if (!gguf_name.empty() && a->gguf_name == gguf_name) return *a;
  }
  fail(ErrorKind::kUnsupported, "{}: general.architecture '{}' is not supported; this version handles {}",
       file, gguf_name, handled_names());
}

}  // namespace freelunch::model
