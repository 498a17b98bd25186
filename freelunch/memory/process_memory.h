#pragma once
#include <cstdint>

namespace freelunch::pipeline {

/// The process's resident memory, in bytes; 0 where the system does not tell.
int64_t resident_bytes();
/// The process's peak resident memory since the last reset, in bytes; 0 where the system does not tell.
int64_t peak_resident_bytes();
/// Starts a new peak, so that each stage can report its own. Without permission the old peak stays.
void reset_peak_resident();
/// Gives freed memory back to the system, where the C library can. A stage's pools would count against the
/// next one.
void release_freed_memory();
/// Makes large blocks go back to the system as soon as they are freed, where the C library can: its heap
/// would otherwise take in blocks of up to 32 MB and keep what lies between them. For a program's start.
void return_large_blocks();
/// Memory that could be had without swapping, in bytes; 0 where the system does not tell.
int64_t available_bytes();

}  // namespace freelunch::pipeline
