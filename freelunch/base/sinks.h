#pragma once
#include <cstdint>
#include <string_view>

namespace freelunch {

enum class LogLevel { kDebug, kInfo, kWarning };

/// Where the library's log lines go. The library itself never prints; tools provides a sink.
class LogSink {
 public:
  virtual ~LogSink() = default;
  virtual void log(LogLevel level, std::string_view line) = 0;
};

/// Where the library reports how far a stage is, and where it asks whether to stop.
class ProgressSink {
 public:
  virtual ~ProgressSink() = default;
  /// A stage of `total` units (regions, windows, tensors, ...) named by `unit` in the plural starts.
  virtual void begin(std::string_view stage, int64_t total, std::string_view unit) = 0;
  /// `done` units of the stage are finished; `note` is a short figure to show beside the bar, may be empty.
  virtual void advance(int64_t done, std::string_view note) = 0;
  virtual void end() = 0;
};

/// Both sinks of a run, passed down by reference. The defaults swallow everything.
struct Sinks {
  LogSink& log;
  ProgressSink& progress;
};

/// Sinks that swallow everything, for tests and embedders without an interface.
Sinks silent_sinks();

}  // namespace freelunch
