#include <algorithm>
#include <vector>

#include "freelunch/checkpoint/dequantise.h"
#include "freelunch/checkpoint/gguf/gguf_header.h"
#include "hostile_input.h"

using namespace freelunch;

/// The header of a .gguf file: what is accepted lies inside the file and overlaps nothing.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::try_to_parse("m.gguf", [&] {
    const auto content = fuzz::bytes_of(data, size);
    const auto header = checkpoint::read_gguf_header(content, "m.gguf");
    for (const std::string& key : header.metadata.keys())
      fuzz::require(header.metadata.find(key) != nullptr, "every key listed has a value");
    std::vector<std::pair<uint64_t, uint64_t>> places;
    for (const auto& [info, begin] : header.entries) {
      fuzz::require(begin <= size && info.bytes <= size - begin, "tensors lie inside the file");
      if (info.bytes > 0) places.emplace_back(begin, begin + info.bytes);
      if (!checkpoint::converts_to_f32(info.dtype)) continue;
      std::vector<float> values(static_cast<size_t>(info.elements()));
      checkpoint::dequantise(info.dtype, content.subspan(begin, info.bytes), values);
    }
    std::sort(places.begin(), places.end());
    for (size_t i = 1; i < places.size(); ++i)
      fuzz::require(places[i - 1].second <= places[i].first, "tensors do not overlap");
  });
}
