#include "freelunch/record/journal.h"

#include <ATen/core/TensorBody.h>

#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"

namespace freelunch::pipeline {
namespace {

using nlohmann::json;
using Entry = model::TensorFile::Entry;
using Entries = std::map<std::string, Entry>;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

json to_json(const Entry& e) {
  return {
      {"offset", e.offset}, {"dtype", static_cast<int>(e.dtype)}, {"shape", e.shape}, {"sha256", e.sha256}};
}
Entry entry_of(const json& e) {
  return {.offset = e.at("offset"),
          .dtype = static_cast<at::ScalarType>(e.at("dtype").get<int>()),
          .shape = e.at("shape"),
          .sha256 = e.at("sha256")};
}

/// Where tensors are after some records, and where they were before that.
struct Places {
  Entries now, former;
  std::map<std::string, size_t> writer;  ///< the record that put each tensor where it is

  void follow(const json& record, size_t index) {
    const json tensors = record.value("tensors", json::object());
    for (const auto& [name, value] : tensors.items()) {
      if (now.contains(name)) former[name] = now[name];
      now[name] = entry_of(value);
      writer[name] = index;
    }
    for (const json& name : record.value("erased", json::array())) {
      now.erase(name.get<std::string>());
      former.erase(name.get<std::string>());
      writer.erase(name.get<std::string>());
    }
  }
};

Places places_after(const std::vector<json>& records) {
  Places places;
  for (size_t i = 0; i < records.size(); ++i) places.follow(records[i], i);
  return places;
}

/// How many of the records hold: all whose tensors, as they stood then, are still what was written. A record
/// whose tensor is damaged takes those after it along; a state before it may still be whole.
size_t backed(std::vector<json> records, const model::TensorFile& scratch) {
  std::map<std::pair<int64_t, std::string>, bool> seen;
  while (true) {
    const Places places = places_after(records);
    size_t damaged = records.size();
    for (const auto& [name, entry] : places.now) {
      const auto [it, first] = seen.try_emplace({entry.offset, entry.sha256});
      if (first) it->second = scratch.intact(entry);
      if (!it->second) damaged = std::min(damaged, places.writer.at(name));
    }
    if (damaged == records.size()) return damaged;
    records.resize(damaged);
  }
}

/// What differs first between the options, files and versions of two runs, in words; empty if nothing does.
std::string difference(const json& then, const json& now, const std::string& path = "") {
  const auto text = [](const json& value) { return value.is_null() ? "not there" : value.dump(); };
  if (!then.is_object() || !now.is_object())
    return then == now ? "" : fmt::format("{} was {}, is {}", path, text(then), text(now));
  json keys = then;
  keys.update(now);
  for (const auto& item : keys.items()) {
    const std::string& key = item.key();
    const std::string found =
        difference(then.value(key, json()), now.value(key, json()), path.empty() ? key : path + " " + key);
    if (!found.empty()) return found;
  }
  return "";
}

}  // namespace

Journal::Journal(const std::filesystem::path& folder, const json& fingerprint, model::TensorFile& scratch,
                 RunReport& report, std::chrono::seconds interval)
    : scratch_(&scratch), report_(&report), interval_(interval) {
  const std::filesystem::path path = folder / "journal.jsonl";
  file_ = std::make_unique<checkpoint::JournalFile>(path);
  try {
    std::vector<json> records = file_->records();
    if (records.empty()) {
      file_->append({{"fingerprint", fingerprint}});
    } else {
      const std::string changed = difference(records.front().at("fingerprint"), fingerprint);
      if (!changed.empty()) {
        fail(ErrorKind::kInvalidArgument,
             "'{}' holds an unfinished run, and {}; go on with what it was, or pass --restart to start over",
             folder.string(), changed);
      }
      records.resize(backed(records, scratch));
      if (records.size() < file_->records().size()) file_->rewrite(records);
      replay(records);
    }
  } catch (const json::exception&) {
    fail(ErrorKind::kBadFile, "'{}' is not a journal of this version; pass --restart to start over",
         path.string());
  }
  recorded_ = mark(report);
}

void Journal::replay(const std::vector<json>& records) {
  Places places = places_after(records);
  scratch_->adopt(std::move(places.now), std::move(places.former));
  for (const json& record : records) {
    if (record.contains("choice")) choices_[record.at("choice").get<std::string>()] = record.at("value");
    if (!record.contains("stage")) continue;
    const std::string stage = record.at("stage");
    progress_ = true;
    run_earlier_ = record.at("run_seconds");
    stage_seconds_[stage] = record.at("stage_seconds");
    if (record.contains("position")) {
      positions_[stage] = record["position"];
    } else if (record.contains("region")) {
      positions_.erase(stage);
      done_.emplace(stage, record["region"].get<std::string>());
    } else {
      finished_.insert(stage);
    }
    add_gained(*report_, record.at("report"));
  }
}

json Journal::choice(const std::string& name, const std::function<json()>& choose) {
  const auto made = choices_.find(name);
  if (made != choices_.end()) return made->second;
  json value = choose();
  if (file_) file_->append({{"choice", name}, {"value", value}});
  return choices_[name] = std::move(value);
}

void Journal::begin(const std::string& stage) {
  stage_ = stage;
  stage_start_ = last_commit_ = Clock::now();
  const auto earlier = stage_seconds_.find(stage);
  stage_earlier_ = earlier == stage_seconds_.end() ? 0 : earlier->second;
}

bool Journal::done(const std::string& region) const { return done_.contains({stage_, region}); }

std::optional<json> Journal::position() const {
  const auto it = positions_.find(stage_);
  return it == positions_.end() ? std::nullopt : std::optional(it->second);
}

bool Journal::due() const {
  return file_ && (interrupt_requested() || Clock::now() - last_commit_ >= interval_);
}

void Journal::commit(const std::string& region) { append({{"region", region}}); }
void Journal::commit_position(const json& position) { append({{"position", position}}); }

void Journal::end() {
  if (!file_) return;
  report_->stages.back().seconds += stage_earlier_;
  append(json::object());
}

void Journal::append(json record) {
  if (!file_) return;
  const model::TensorFile::Changes changes = scratch_->flush();
  record["stage"] = stage_;
  record["stage_seconds"] = stage_earlier_ + seconds_since(stage_start_);
  record["run_seconds"] = run_earlier_ + seconds_since(run_start_);
  record["report"] = gained(*report_, recorded_);
  for (const auto& [name, entry] : changes.written) record["tensors"][name] = to_json(entry);
  for (const std::string& name : changes.erased) record["erased"].push_back(name);
  file_->append(std::move(record));
  scratch_->settle();
  recorded_ = mark(*report_);
  last_commit_ = Clock::now();
  progress_ = true;
}

}  // namespace freelunch::pipeline
