#include "freelunch/base/sinks.h"

namespace freelunch {
namespace {

class SilentLog : public LogSink {
 public:
  void log(LogLevel, std::string_view) override {}
};

class SilentProgress : public ProgressSink {
 public:
  void begin(std::string_view, int64_t, std::string_view) override {}
  void advance(int64_t, std::string_view) override {}
  void end() override {}
};

}  // namespace

Sinks silent_sinks() {
  static SilentLog log;
  static SilentProgress progress;
  return {.log = log, .progress = progress};
}

}  // namespace freelunch
