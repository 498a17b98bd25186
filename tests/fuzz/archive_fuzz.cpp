#include <vector>

#include "freelunch/checkpoint/bitmask/bitmask_checkpoint.h"
#include "hostile_input.h"

using namespace freelunch;

/// A sparse archive: opening it, and unpacking all that it says it holds.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto path = fuzz::write_file("m.safetensors", data, size);
  return fuzz::try_to_parse("m.safetensors", [&] {
    const auto archive = checkpoint::open_safetensors(path);
    std::vector<std::byte> room;
    for (const checkpoint::TensorInfo& tensor : archive->tensors()) {
      if (tensor.bytes > 1U << 20U) continue;  // a mask of few bytes may stand for many zeros
      const auto bytes = archive->bytes(tensor, 0, tensor.bytes, room);
      fuzz::require(bytes.size() == tensor.bytes, "a tensor has the bytes that its shape needs");
    }
  });
}
