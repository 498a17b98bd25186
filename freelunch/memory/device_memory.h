#pragma once
#include <c10/core/Device.h>

#include <cstdint>

namespace freelunch::pipeline {

/// Memory of a device of its own, in bytes; 0 for the CPU, whose memory is the process's (memory.h).
int64_t free_device_bytes(c10::Device device);
/// The most that tensors took since the last reset.
int64_t peak_device_bytes(c10::Device device);
void reset_peak_device(c10::Device device);

}  // namespace freelunch::pipeline
