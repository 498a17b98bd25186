#include <set>
#include <vector>

#include "freelunch/checkpoint/dequantise.h"
#include "freelunch/checkpoint/safetensors/safetensors_header.h"
#include "hostile_input.h"

using namespace freelunch;

/// The header of a .safetensors file: what is accepted lies inside the file, gapless, each name once.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::try_to_parse("m.safetensors", [&] {
    const auto content = fuzz::bytes_of(data, size);
    const auto header = checkpoint::read_safetensors_header(content, "m.safetensors");
    std::set<std::string> names;
    uint64_t end = header.entries.empty() ? size : header.entries.front().begin;
    for (const auto& [info, begin] : header.entries) {
      fuzz::require(names.insert(info.name).second, "names are unique");
      fuzz::require(begin == end && info.bytes <= size - begin, "tensors lie gapless inside the file");
      end = begin + info.bytes;
      fuzz::require(checkpoint::bytes_for(info.dtype, info.elements()) == info.bytes,
                    "bytes are what shape and dtype need");
      if (!checkpoint::converts_to_f32(info.dtype)) continue;
      std::vector<float> values(static_cast<size_t>(info.elements()));
      checkpoint::dequantise(info.dtype, content.subspan(begin, info.bytes), values);
    }
    fuzz::require(end == size, "the last tensor ends the file");
  });
}
