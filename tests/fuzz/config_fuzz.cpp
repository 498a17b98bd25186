#include <nlohmann/json.hpp>

#include "freelunch/architecture/hf_config.h"
#include "hostile_input.h"

using namespace freelunch;

/// config.json; what is accepted can be written and read again.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::try_to_parse("config.json", [&] {
    const model::Config config = model::parse_config(fuzz::text_of(data, size), "config.json");
    const std::string text = model::config_to_hugging_face(config).dump();
    const model::Config again = model::parse_config(text, "config.json");
    fuzz::require(again.width == config.width && again.head_dim == config.head_dim &&
                      again.kv_heads == config.kv_heads &&
                      again.layer_types[0].window == config.layer_types[0].window &&
                      again.layer_types[0].rope_scaling.kind == config.layer_types[0].rope_scaling.kind,
                  "a configuration survives writing");
  });
}
