#pragma once

namespace freelunch {

/// Asks every running loop of the library to stop at its next check. Async-signal-safe.
void request_interrupt() noexcept;

/// Withdraws the request, so that a program can start another run.
void clear_interrupt() noexcept;

/// True after request_interrupt(), until clear_interrupt().
bool interrupt_requested() noexcept;

/// Throws Error(kInterrupted) if request_interrupt() was called. Loops call it once a batch.
void throw_if_interrupted();

}  // namespace freelunch
