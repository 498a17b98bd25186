// The module freelunch._native. The files of python/freelunch wrap it; what users see is documented there.
#include <ATen/Parallel.h>
#include <pybind11/stl.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/utils/pybind.h>

#include <atomic>
#include <exception>
#include <filesystem>
#include <thread>

#include "blocks.h"
#include "channel.h"
#include "commands.h"
#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/base/version.h"
#include "freelunch/record/report_page.h"

namespace freelunch::python {
namespace {

/// The kind of an error as Python code compares it.
constexpr EnumNames<ErrorKind, 6> kErrorKinds{{{ErrorKind::kInvalidArgument, "invalid-argument"},
                                               {ErrorKind::kBadFile, "bad-file"},
                                               {ErrorKind::kUnsupported, "unsupported"},
                                               {ErrorKind::kNumerical, "numerical"},
                                               {ErrorKind::kInterrupted, "interrupted"},
                                               {ErrorKind::kIo, "io"}}};

[[noreturn]] void raise_error(const std::string& message, std::string_view kind) {
  const py::object type = py::module_::import("freelunch._errors").attr("Error");
  const py::object error = type(message, std::string(kind));
  PyErr_SetObject(type.ptr(), error.ptr());
  throw py::error_already_set();
}

[[noreturn]] void raise(const Error& error) {
  const std::string message = with_keywords(error.what());
  if (error.kind() == ErrorKind::kInvalidArgument) throw py::value_error(message);
  if (error.kind() == ErrorKind::kInterrupted) {
    PyErr_SetString(PyExc_KeyboardInterrupt, message.c_str());
    throw py::error_already_set();
  }
  raise_error(message, name_in(kErrorKinds, error.kind()));
}

/// Raises the exception of a run as the one that Python sees. Needs the GIL.
[[noreturn]] void raise(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (py::error_already_set&) {  // from a criterion of the caller
    throw;
  } catch (const Error& error) {
    raise(error);
  } catch (const std::filesystem::filesystem_error& error) {
    raise_error(fmt::format("cannot use '{}': {}", error.path1().string(), error.code().message()), "io");
  } catch (const std::bad_alloc&) {
    PyErr_SetString(PyExc_MemoryError,
                    "out of memory; lower samples or length, or leave out the model stage "
                    "(repair=['solve', 'sublayer'])");
    throw py::error_already_set();
  } catch (const std::exception& error) {  // LibTorch appends a stack trace
    const std::string text = error.what();
    raise_error("internal error: " + text.substr(0, text.find('\n')), "internal");
  }
}

/// The process runs one command at a time: threads and the interrupt flag are of the process.
class OnlyRun {
 public:
  OnlyRun() {
    if (running().exchange(true))
      raise_error("freelunch is still running in this process, and runs one command at a time",
                  "unsupported");
  }
  ~OnlyRun() { running() = false; }
  OnlyRun(const OnlyRun&) = delete;
  OnlyRun& operator=(const OnlyRun&) = delete;

 private:
  static std::atomic<bool>& running() {
    static std::atomic<bool> value{false};
    return value;
  }
};

void report(const Event& event, const py::function& on_event) {
  static constexpr std::array kNames{"log", "begin", "advance", "end"};
  on_event(kNames.at(static_cast<size_t>(event.kind)),
           event.kind == Event::Kind::kLog ? with_keywords(event.text) : event.text, event.number,
           event.unit);
}

/// Runs a call in a thread of its own: there the caller's modes of torch (inference mode, autocast) do not
/// hold, and this one can look for Ctrl-C and report the progress. If that raises, the run is stopped first.
std::string run(const Call& call, const py::function& on_event) {
  const OnlyRun only;
  clear_interrupt();
  Channel channel;
  std::string result;
  std::exception_ptr failure;
  std::exception_ptr raised;
  std::thread worker([&] {
    const int threads = at::get_num_threads();
    try {
      result = run_call(call, channel.sinks());
    } catch (...) {
      failure = std::current_exception();
    }
    at::set_num_threads(threads);
    channel.close();
  });
  std::vector<Event> events;
  for (bool more = true; more;) {
    {
      const py::gil_scoped_release released;
      more = channel.fetch(events, std::chrono::milliseconds(50));
    }
    if (raised) continue;
    try {
      for (const Event& event : events) report(event, on_event);
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    } catch (...) {
      raised = std::current_exception();
      request_interrupt();
    }
  }
  {
    const py::gil_scoped_release released;
    worker.join();
  }
  clear_interrupt();
  if (raised) std::rethrow_exception(raised);
  if (failure) raise(failure);
  return result;
}

/// A criterion whose scores a Python callable computes. It must be destroyed under the GIL.
struct OwnCriterion {
  std::string name;
  py::function score;
  criteria::Criterion criterion;
};

at::Tensor call_score(const OwnCriterion& own, const at::Tensor& W, const criteria::CalibrationStats& stats) {
  const py::gil_scoped_acquire acquired;
  const auto or_none = [](const at::Tensor& tensor) {
    return tensor.defined() ? py::cast(tensor) : py::object(py::none());
  };
  const py::object scores = own.score(W, or_none(stats.column_norms), or_none(stats.inverse_factor));
  if (!THPVariable_Check(scores.ptr()))
    fail(ErrorKind::kInvalidArgument, "criterion '{}' returned {}, expected a tensor of scores", own.name,
         std::string(py::str(py::type::of(scores).attr("__name__"))));
  const auto tensor = scores.cast<at::Tensor>();
  if (tensor.sizes() != W.sizes())
    fail(ErrorKind::kInvalidArgument, "criterion '{}' returned scores of another shape than W: {} for {}",
         own.name, py::str(py::cast(tensor).attr("shape")).cast<std::string>(),
         py::str(py::cast(W).attr("shape")).cast<std::string>());
  return tensor.detach().to(W.options());
}

std::shared_ptr<OwnCriterion> own_criterion(const std::string& name, const std::string& needs,
                                            const std::string& group, const py::function& score) {
  using criteria::StatsNeeded;
  static constexpr EnumNames<StatsNeeded, 3> kNeeds{{{StatsNeeded::kNothing, "nothing"},
                                                     {StatsNeeded::kColumnNorms, "column_norms"},
                                                     {StatsNeeded::kGram, "gram"}}};
  auto own = std::make_shared<OwnCriterion>();
  own->name = name;
  own->score = score;
  own->criterion = {.name = own->name,
                    .needs = parse_named(kNeeds, needs, "needs"),
                    .group = parse_named(sparsity::kGroupNames, group, "group"),
                    .draws_random = true};
  own->criterion.score = [self = own.get()](const at::Tensor& W, const criteria::CalibrationStats& stats) {
    return call_score(*self, W, stats);
  };
  return own;
}

std::shared_ptr<model::LiveTensors> live_tensors(
    const std::vector<std::pair<std::string, at::Tensor>>& named) {
  std::vector<model::LiveTensors::Named> tensors;
  for (const auto& [name, tensor] : named) tensors.push_back({.name = name, .tensor = tensor});
  return std::make_shared<model::LiveTensors>(tensors);
}

std::string run_command(const std::string& command, const std::string& model, const std::string& options,
                        const std::string& as_typed, std::shared_ptr<model::LiveTensors> live, bool in_place,
                        const std::shared_ptr<OwnCriterion>& criterion, const py::function& on_event) {
  Call call{.command = command,
            .model = model,
            .options = nlohmann::json::parse(options),
            .as_typed = as_typed,
            .live = std::move(live),
            .in_place = in_place};
  if (criterion) call.criterion = {criterion, &criterion->criterion};
  return run(call, on_event);
}

void translate(std::exception_ptr failure) {  // NOLINT(performance-unnecessary-value-param): pybind11's type
  try {
    if (failure) std::rethrow_exception(failure);
  } catch (const Error& error) {
    try {
      raise(error);
    } catch (py::error_already_set& raised) {
      raised.restore();
    } catch (const py::builtin_exception& raised) {
      raised.set_error();
    }
  }
}

}  // namespace
}  // namespace freelunch::python

PYBIND11_MODULE(_native, m) {
  using namespace freelunch::python;
  const auto released = py::call_guard<py::gil_scoped_release>();
  py::register_local_exception_translator(&translate);
  m.attr("version") = freelunch::kVersion;
  py::class_<freelunch::model::LiveTensors, std::shared_ptr<freelunch::model::LiveTensors>>(m, "LiveTensors");
  py::class_<OwnCriterion, std::shared_ptr<OwnCriterion>>(m, "OwnCriterion");
  m.def("live_tensors", &live_tensors, py::arg("named"));
  m.def("own_criterion", &own_criterion, py::arg("name"), py::arg("needs"), py::arg("group"),
        py::arg("score"));
  m.def("run_command", &run_command, py::arg("command"), py::arg("model"), py::arg("options"),
        py::arg("as_typed"), py::arg("live").none(true), py::arg("in_place"), py::arg("criterion").none(true),
        py::arg("on_event"));
  m.def("options_json", &options_json);
  m.def(
      "report_page",
      [](const std::string& report) {
        return freelunch::pipeline::report_page(nlohmann::json::parse(report));
      },
      py::arg("report"));
  m.def("select_mask", &select_mask, py::arg("scores"), py::arg("pattern"), py::arg("group"), released);
  m.def("wanda", &wanda, py::arg("W"), py::arg("norms"), py::arg("pattern"), py::arg("group"), released);
  m.def("sparsegpt", &sparsegpt, py::arg("W"), py::arg("H"), py::arg("pattern"), py::arg("group"),
        py::arg("damping"), released);
  m.def(
      "closed_form",
      [](const at::Tensor& W, const at::Tensor& mask, const at::Tensor& H, const std::optional<at::Tensor>& C,
         double lambda, double blend, int64_t iterations) {
        return closed_form(W, mask, H, C.value_or(at::Tensor()), lambda, blend, iterations);
      },
      py::arg("W"), py::arg("mask"), py::arg("H"), py::arg("C").none(true), py::arg("lambda_"),
      py::arg("blend"), py::arg("iterations"), released);
}
