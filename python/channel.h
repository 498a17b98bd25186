#pragma once
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "freelunch/base/sinks.h"

namespace freelunch::python {

/// A log line, or a change of the progress, on its way from the thread that works to the one that called.
struct Event {
  enum class Kind { kLog, kBegin, kAdvance, kEnd };
  Kind kind = Kind::kLog;
  std::string text;    ///< the line, the stage, or the note of an advance
  std::string unit;    ///< of kBegin
  int64_t number = 0;  ///< level, total or units done
};

/// Carries events from one thread to another. An advance that has not been fetched is replaced by a later
/// one.
class Channel : public LogSink, public ProgressSink {
 public:
  Sinks sinks() { return {.log = *this, .progress = *this}; }

  void log(LogLevel level, std::string_view line) override {
    add({.text = std::string(line), .number = static_cast<int64_t>(level)});
  }
  void begin(std::string_view stage, int64_t total, std::string_view unit) override {
    add({.kind = Event::Kind::kBegin,
         .text = std::string(stage),
         .unit = std::string(unit),
         .number = total});
  }
  void advance(int64_t done, std::string_view note) override {
    add({.kind = Event::Kind::kAdvance, .text = std::string(note), .number = done});
  }
  void end() override { add({.kind = Event::Kind::kEnd}); }

  /// No more events come.
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_one();
  }

  /// Waits for events or, for this long, for nothing. Returns false if there will be none any more.
  bool fetch(std::vector<Event>& events, std::chrono::milliseconds patience) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, patience, [&] { return closed_ || !events_.empty(); });
    events.clear();
    std::swap(events, events_);
    return !closed_ || !events.empty();
  }

 private:
  void add(Event event) {
    const std::lock_guard lock(mutex_);
    if (event.kind == Event::Kind::kAdvance && !events_.empty() &&
        events_.back().kind == Event::Kind::kAdvance)
      events_.back() = std::move(event);
    else
      events_.push_back(std::move(event));
    changed_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Event> events_;
  bool closed_ = false;
};

}  // namespace freelunch::python
