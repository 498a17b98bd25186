#pragma once

namespace freelunch::pipeline {

/// Replaces LibTorch's CPU allocator by one that reuses the memory of freed tensors for new ones of the same
/// size, from 256 KiB on. A new page from the system costs more than most operations on it, and each training
/// step allocates the same tensors again; the C library's heap would return such blocks at once or lose them
/// to fragmentation. At most an eighth of the memory in use, or 32 MiB, is kept idle; memory that was idle
/// longest is freed first. Changes the whole process; call it at the start of a program. A second call does
/// nothing.
void reuse_tensor_memory();
/// Returns idle tensor memory to the system. Does nothing unless reuse_tensor_memory() was called.
void release_tensor_memory();

}  // namespace freelunch::pipeline
