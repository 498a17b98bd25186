#pragma once
#include <cstdint>
#include <string_view>

namespace freelunch {

enum class LogLevel { kDebug, kInfo, kWarning };

/// Receives the library's log lines. The library itself never prints; tools/ provides a sink.
class LogSink {
 public:
  virtual ~LogSink() = default;
  virtual void log(LogLevel level, std::string_view line) = 0;
};

/// Receives the progress of the running stage. Called from one thread.
class ProgressSink {
 public:
  virtual ~ProgressSink() = default;
  /// A stage of `total` units starts; `unit` is what they are, in the plural ("regions", "tensors").
  virtual void begin(std::string_view stage, int64_t total, std::string_view unit) = 0;
  /// `done` units of the stage are finished; `note` is a short figure to show with it, possibly empty.
  virtual void advance(int64_t done, std::string_view note) = 0;
  /// The stage is finished. Not called if it throws.
  virtual void end() = 0;
};

/// The two sinks of a run. They must outlive it.
struct Sinks {
  LogSink& log;
  ProgressSink& progress;
};

/// Sinks that drop everything, for tests and programs without an interface.
Sinks silent_sinks();

}  // namespace freelunch
