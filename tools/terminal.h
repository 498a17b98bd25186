#pragma once
#include <chrono>
#include <string>

#include "freelunch/base/sinks.h"

namespace freelunch::tools {

/// Log lines on standard error. Warnings always; debug lines with --verbose.
class StderrLog : public LogSink {
 public:
  explicit StderrLog(bool verbose) : verbose_(verbose) {}
  void log(LogLevel level, std::string_view line) override;

 private:
  bool verbose_;
};

/// A live bar on standard error (bar, rate, time left); where that is no terminal, a plain line at the start
/// of a stage, about every tenth of it, and at its end.
class StderrProgress : public ProgressSink {
 public:
  StderrProgress();
  void begin(std::string_view stage, int64_t total, std::string_view unit) override;
  void advance(int64_t done, std::string_view note) override;
  void end() override;

 private:
  void draw(int64_t done, std::string_view note);
  double elapsed() const;

  bool live_;
  std::string stage_, unit_;
  int64_t total_ = 0;
  int64_t printed_tenth_ = 0;
  std::chrono::steady_clock::time_point start_, drawn_;
};

/// "1:02:03", "2:05", "4 s".
std::string duration_text(double seconds);

}  // namespace freelunch::tools
