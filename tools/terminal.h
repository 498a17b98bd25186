#pragma once
#include <chrono>
#include <functional>
#include <string>
#include <utility>

#include "freelunch/base/sinks.h"
#include "freelunch/base/stopwatch.h"

namespace freelunch::tools {

/// Writes log lines to standard error, each after `spell` has changed it; debug lines only if verbose.
class StderrLog : public LogSink {
 public:
  using Spell = std::function<std::string(std::string_view)>;
  StderrLog(bool verbose, Spell spell) : verbose_(verbose), spell_(std::move(spell)) {}
  void log(LogLevel level, std::string_view line) override;

 private:
  bool verbose_;
  Spell spell_;
};

/// Shows progress on standard error: on a terminal a live bar with rate and time left; otherwise a line at
/// the start of a stage, at about each tenth of it, and at its end.
class StderrProgress : public ProgressSink {
 public:
  StderrProgress();
  void begin(std::string_view stage, int64_t total, std::string_view unit) override;
  void advance(int64_t done, std::string_view note) override;
  void end() override;

 private:
  void draw(int64_t done, std::string_view note);

  bool live_;
  std::string stage_, unit_;
  int64_t total_ = 0;
  int64_t printed_tenth_ = 0;
  Stopwatch watch_;
  std::chrono::steady_clock::time_point drawn_;
};

/// "1:02:03", "2:05", "4 s".
std::string duration_text(double seconds);

}  // namespace freelunch::tools
