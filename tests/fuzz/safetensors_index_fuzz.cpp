#include "freelunch/checkpoint/safetensors/safetensors_header.h"
#include "hostile_input.h"

using namespace freelunch;

/// model.safetensors.index.json.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::try_to_parse("m.index.json", [&] {
    const auto shards = checkpoint::read_safetensors_index(fuzz::bytes_of(data, size), "m.index.json");
    fuzz::require(!shards.empty(), "an index names a tensor");
  });
}
