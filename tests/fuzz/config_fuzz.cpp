#include <nlohmann/json.hpp>

#include "hostile_input.h"
#include "model/hf_config.h"

using namespace freelunch;

/// config.json; what is accepted can be written and read again.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::try_to_parse("config.json", [&] {
    const model::Config config = model::parse_config(fuzz::text_of(data, size), "config.json");
    const std::string text = model::config_to_hugging_face(config).dump();
    const model::Config again = model::parse_config(text, "config.json");
    fuzz::require(again.width == config.width && again.head_dim == config.head_dim &&
                      again.kv_heads == config.kv_heads &&
                      again.reaches[0].window == config.reaches[0].window &&
                      again.reaches[0].rope_scaling.kind == config.reaches[0].rope_scaling.kind,
                  "a configuration survives writing");
  });
}
