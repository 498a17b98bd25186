#pragma once

namespace freelunch {

/// Asks every running loop of the library to stop at its next check. Async-signal-safe.
void request_interrupt() noexcept;

/// Withdraws a request, so that an embedder can start another run.
void clear_interrupt() noexcept;

/// Whether a stop was asked for.
bool interrupt_requested() noexcept;

/// Throws Error(kInterrupted) if request_interrupt() was called. Loops call it once a batch.
void throw_if_interrupted();

}  // namespace freelunch
