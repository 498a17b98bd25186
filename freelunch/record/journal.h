#pragma once
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>

#include "freelunch/base/stopwatch.h"
#include "freelunch/checkpoint/files/journal_file.h"
#include "freelunch/record/report_state.h"
#include "freelunch/storage/tensor_file.h"

namespace freelunch::pipeline {

/// Records what a run has finished, in its staging folder, so that rerunning the command resumes it
/// (docs/methods/resume.md).
///
/// A commit makes everything that the scratch file and the report gained since the last commit final: first
/// the tensors are written to disk, then a line of journal.jsonl records their places and digests. Work that
/// was not committed is lost. Opening the journal replays its lines as long as the tensors still have their
/// digests, and puts the scratch file and the report back to that state.
class Journal {
 public:
  /// A journal without a file: nothing is finished, and commits do nothing.
  Journal() = default;
  /// Opens or starts the journal in `folder`. `scratch` and `report` must outlive it. Inside a long region,
  /// due() asks for a commit every `interval`. Throws InvalidArgument naming the first difference if the
  /// journal belongs to a run with another fingerprint, and BadFile if it cannot be read as a journal.
  Journal(const std::filesystem::path& folder, const nlohmann::json& fingerprint, model::TensorFile& scratch,
          RunReport& report, std::chrono::seconds interval);

  /// Whether anything was committed that a later process can resume from.
  bool has_progress() const { return progress_; }
  /// Seconds that earlier processes spent on the work they committed.
  double earlier_seconds() const { return run_earlier_; }
  /// Returns the value that the run recorded under this name, or records what `choose` returns. For choices
  /// that depend on the machine, such as on free memory, and that a resumed run must not make again.
  nlohmann::json choice(const std::string& name, const std::function<nlohmann::json()>& choose);

  /// Whether an earlier process finished the stage.
  bool finished(const std::string& stage) const { return finished_.contains(stage); }
  /// Starts a stage: done(), position() and commits refer to it from now on.
  void begin(const std::string& stage);
  /// Finishes the stage. Its StageRecord is the last of the report; the seconds of earlier processes are
  /// added to it.
  void end();

  /// Whether an earlier process finished this region of the stage.
  bool done(const std::string& region) const;
  /// Records that this region of the stage is finished.
  void commit(const std::string& region);

  /// Whether a long region should call commit_position() now: the interval has passed, or the user asked to
  /// stop.
  bool due() const;
  /// Records a position inside the unfinished region, together with the tensors that the stage has put into
  /// the scratch file to resume from it.
  void commit_position(const nlohmann::json& position);
  /// The position that an earlier process committed last in the stage's unfinished region.
  std::optional<nlohmann::json> position() const;

 private:
  void replay(const std::vector<nlohmann::json>& records);
  void commit_record(nlohmann::json record);

  std::unique_ptr<checkpoint::JournalFile> file_;
  model::TensorFile* scratch_ = nullptr;
  RunReport* report_ = nullptr;
  std::chrono::seconds interval_{0};
  using Clock = std::chrono::steady_clock;
  Stopwatch run_watch_, stage_watch_;
  Clock::time_point last_commit_ = Clock::now();
  double run_earlier_ = 0, stage_earlier_ = 0;  ///< seconds of earlier processes
  std::string stage_;
  std::set<std::string> finished_;
  std::set<std::pair<std::string, std::string>> done_;  ///< (stage, region)
  std::map<std::string, nlohmann::json> positions_, choices_;
  std::map<std::string, double> stage_seconds_;
  ReportMark recorded_;  ///< the part of the report that the journal holds
  bool progress_ = false;
};

}  // namespace freelunch::pipeline
