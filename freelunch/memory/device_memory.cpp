#include "freelunch/memory/device_memory.h"

#include <c10/core/CachingDeviceAllocator.h>

namespace freelunch::pipeline {

int64_t free_device_bytes(c10::Device device) {
  if (device.is_cpu()) return 0;
  return static_cast<int64_t>(at::getDeviceAllocator(device.type())->getMemoryInfo(device.index()).first);
}

int64_t peak_device_bytes(c10::Device device) {
  if (device.is_cpu()) return 0;
  const auto stats = at::getDeviceAllocator(device.type())->getDeviceStats(device.index());
  return stats.allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
}

void reset_peak_device(c10::Device device) {
  if (!device.is_cpu()) at::getDeviceAllocator(device.type())->resetPeakStats(device.index());
}

}  // namespace freelunch::pipeline
