#include "freelunch/record/journal.h"

#include <ATen/core/TensorBody.h>

#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/base/json_fields.h"

template <>
struct freelunch::JsonFields<freelunch::model::TensorFile::Entry> {
  using R = model::TensorFile::Entry;
  static constexpr auto list = std::tuple{json_field("offset", &R::offset), json_field("dtype", &R::dtype),
                                          json_field("shape", &R::shape), json_field("sha256", &R::sha256)};
};

namespace freelunch::pipeline {
namespace {

using nlohmann::json;
using Entry = model::TensorFile::Entry;
using Entries = std::map<std::string, Entry>;

/// Where the scratch file holds each tensor after some records, and where it held the version before.
struct Places {
  Entries now, former;
  std::map<std::string, size_t> writer;  ///< index of the record that wrote each tensor

  void follow(const json& record, size_t index) {
    const json tensors = record.value("tensors", json::object());
    for (const auto& [name, value] : tensors.items()) {
      if (now.contains(name)) former[name] = now[name];
      now[name] = value.get<Entry>();
      writer[name] = index;
    }
    for (const json& name : record.value("erased", json::array())) {
      now.erase(name.get<std::string>());
      former.erase(name.get<std::string>());
      writer.erase(name.get<std::string>());
    }
    // A former place that another name has taken over must not be overwritten.
    std::set<int64_t> used;
    for (const auto& [name, entry] : now) used.insert(entry.offset);
    for (const auto& [name, value] : tensors.items()) {
      const auto before = former.find(name);
      if (before != former.end() && used.contains(before->second.offset)) former.erase(before);
    }
  }
};

Places places_after(const std::vector<json>& records) {
  Places places;
  for (size_t i = 0; i < records.size(); ++i) places.follow(records[i], i);
  return places;
}

/// How many leading records can be replayed: after them, every tensor still has the digest that was recorded.
/// A damaged tensor invalidates the record that wrote it and all later ones. The state before may use older
/// versions of other tensors, so it is checked in its turn.
size_t count_intact(std::vector<json> records, const model::TensorFile& scratch) {
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

/// The first difference between two fingerprints: "option --seed was 0, is 7"; empty if they are equal.
std::string difference(const json& then, const json& now, const std::string& path = "") {
  const auto text = [](const json& value) { return value.is_null() ? "missing" : value.dump(); };
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
        fail(
            ErrorKind::kInvalidArgument,
            "'{}' holds an unfinished run, and {}; run with the same options, or set `restart` to discard it",
            folder.string(), changed);
      }
      records.resize(count_intact(records, scratch));
      if (records.size() < file_->records().size()) file_->rewrite(records);
      replay(records);
    }
  } catch (const json::exception&) {
    fail(ErrorKind::kBadFile, "'{}' is not a journal of this version; set `restart` to discard it",
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
    append(*report_, record.at("report"));
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
  stage_watch_ = Stopwatch();
  last_commit_ = Clock::now();
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

void Journal::commit(const std::string& region) { commit_record({{"region", region}}); }
void Journal::commit_position(const json& position) { commit_record({{"position", position}}); }

void Journal::end() {
  if (!file_) return;
  report_->stages.back().seconds += stage_earlier_;
  commit_record(json::object());
}

void Journal::commit_record(json record) {
  if (!file_) return;
  const model::TensorFile::Changes changes = scratch_->flush();
  record["stage"] = stage_;
  record["stage_seconds"] = stage_earlier_ + stage_watch_.seconds();
  record["run_seconds"] = run_earlier_ + run_watch_.seconds();
  record["report"] = additions(*report_, recorded_);
  for (const auto& [name, entry] : changes.written) record["tensors"][name] = entry;
  for (const std::string& name : changes.erased) record["erased"].push_back(name);
  file_->append(std::move(record));
  scratch_->settle();
  recorded_ = mark(*report_);
  last_commit_ = Clock::now();
  progress_ = true;
}

}  // namespace freelunch::pipeline
