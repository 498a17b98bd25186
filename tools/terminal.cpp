#include "terminal.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace freelunch::tools {

void StderrLog::log(LogLevel level, std::string_view line) {
  if (level == LogLevel::kDebug && !verbose_) return;
  fmt::print(stderr, "{}{}\n", level == LogLevel::kWarning ? "warning: " : "", spell_(line));
}

StderrProgress::StderrProgress() : live_(isatty(STDERR_FILENO) == 1) {}

void StderrProgress::begin(std::string_view stage, int64_t total, std::string_view unit) {
  stage_ = stage;
  unit_ = unit;
  total_ = std::max<int64_t>(total, 1);
  printed_tenth_ = 0;
  watch_ = Stopwatch();
  drawn_ = std::chrono::steady_clock::now();
  if (live_) {
    draw(0, "");
  } else {
    fmt::print(stderr, "{}: {} {}\n", stage_, total, unit_);
  }
}

void StderrProgress::advance(int64_t done, std::string_view note) {
  const auto now = std::chrono::steady_clock::now();
  if (live_) {
    if (done < total_ && now - drawn_ < std::chrono::milliseconds(80)) return;
    drawn_ = now;
    draw(done, note);
    return;
  }
  // no lines for tenths that take less than two seconds
  const int64_t tenth = done * 10 / total_;
  if (tenth <= printed_tenth_ || done >= total_ || now - drawn_ < std::chrono::seconds(2)) return;
  printed_tenth_ = tenth;
  drawn_ = now;
  const double left = watch_.seconds() / static_cast<double>(done) * static_cast<double>(total_ - done);
  fmt::print(stderr, "{}: {}/{} {}, {} left{}{}\n", stage_, done, total_, unit_, duration_text(left),
             note.empty() ? "" : ", ", note);
}

void StderrProgress::draw(int64_t done, std::string_view note) {
  constexpr int kWidth = 24;
  const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
  const int full = static_cast<int>(share * kWidth);
  std::string bar;
  for (int i = 0; i < kWidth; ++i) bar += i < full ? "━" : i == full ? "╸" : " ";
  std::string tail;
  if (done > 0) {
    const double rate = static_cast<double>(done) / std::max(watch_.seconds(), 1e-9);
    tail = rate >= 1 ? fmt::format("{:.1f} {}/s", rate, unit_) : fmt::format("{:.1f} s each", 1 / rate);
    tail += fmt::format(", {} left", duration_text(static_cast<double>(total_ - done) / rate));
  }
  fmt::print(stderr, "\r\x1b[K{:<16} {} {:>3.0f}% {}/{} {} {} {}", stage_, bar, share * 100, done, total_,
             unit_, tail, note);
  std::fflush(stderr);
}

void StderrProgress::end() {
  if (live_) fmt::print(stderr, "\r\x1b[K");
  fmt::print(stderr, "{}: done in {}\n", stage_, duration_text(watch_.seconds()));
}

std::string duration_text(double seconds) {
  const auto s = static_cast<int64_t>(seconds + 0.5);
  if (seconds < 10) return fmt::format("{:.1f} s", seconds);
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

}  // namespace freelunch::tools
