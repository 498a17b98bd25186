#pragma once
#include <cstdint>

namespace freelunch::pipeline {

/// The process's resident memory, in bytes; 0 if the system does not report it (no /proc).
int64_t resident_bytes();
/// The process's peak resident memory since the last reset, in bytes; 0 if the system does not report it.
int64_t peak_resident_bytes();
/// Starts a new peak, so that each stage can report its own. The old peak stays if the system does not permit
/// this.
void reset_peak_resident();
/// Returns freed memory to the system, with glibc. Otherwise the memory that a stage has freed would count as
/// used by the next one.
void release_freed_memory();
/// Makes the C library return blocks of 1 MiB and more to the system as soon as they are freed, with glibc.
/// By default its heap takes in blocks of up to 32 MB, and fragmentation then keeps freed ones. Changes the
/// whole process; call it at the start of a program. The environment variable MALLOC_MMAP_THRESHOLD_
/// overrides it.
void return_large_blocks();
/// Memory of the machine that can be allocated without swapping, in bytes; 0 if the system does not report
/// it.
int64_t available_bytes();

}  // namespace freelunch::pipeline
