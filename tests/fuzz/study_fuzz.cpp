#include <nlohmann/json.hpp>

#include "freelunch/study/study_file.h"
#include "hostile_input.h"

using namespace freelunch;

/// A study's file, as TOML and as JSON.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  for (const char* name : {"s.toml", "s.json"}) {
    const auto path = fuzz::write_file(name, data, size);
    fuzz::try_to_parse(name, [&] { study::read_study_file(path); });
  }
  return 0;
}
