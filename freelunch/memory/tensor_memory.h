#pragma once

namespace freelunch::pipeline {

/// Lets large CPU tensors take the memory of freed ones of the same size. A page that comes fresh from the
/// system costs more than most operations on it, and a training step makes the same tensors again and again;
/// the C library's heap either gives such blocks back at once or keeps what lies between them for good. Idle
/// memory is at most an eighth of what is in use, or 32 MB, the longest idle going first. For a program's
/// start.
void reuse_tensor_memory();
/// Gives idle tensor memory back to the system.
void release_tensor_memory();

}  // namespace freelunch::pipeline
