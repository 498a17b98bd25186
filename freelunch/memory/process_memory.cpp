#include "freelunch/memory/process_memory.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "freelunch/memory/tensor_memory.h"

namespace freelunch::pipeline {
namespace {

int64_t kilobytes_after(const char* file, const std::string& key) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    if (!line.starts_with(key)) continue;
    std::istringstream rest(line.substr(key.size()));
    int64_t value = 0;
    rest >> value;
    return value * 1024;
  }
  return 0;
}

}  // namespace

int64_t resident_bytes() { return kilobytes_after("/proc/self/status", "VmRSS:"); }

int64_t peak_resident_bytes() { return kilobytes_after("/proc/self/status", "VmHWM:"); }

void reset_peak_resident() {
  std::ofstream stream("/proc/self/clear_refs");
  stream << '5';
}

void release_freed_memory() {
  release_tensor_memory();
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

void return_large_blocks() {
#if defined(__GLIBC__)
  // A user who tunes the C library's heap has the last word.
  if (std::getenv("MALLOC_MMAP_THRESHOLD_") == nullptr) mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
}

int64_t available_bytes() { return kilobytes_after("/proc/meminfo", "MemAvailable:"); }

}  // namespace freelunch::pipeline
