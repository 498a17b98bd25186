#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <exception>
#include <filesystem>
#include <new>

#include "commands.h"
#include "examples.h"
#include "exit_codes.h"
#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/base/version.h"
#include "freelunch/memory/process_memory.h"
#include "freelunch/memory/tensor_memory.h"
#include "terminal.h"

namespace freelunch::tools {
namespace {

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidArgument:
      return 2;
    case ErrorKind::kBadFile:
      return 3;
    case ErrorKind::kUnsupported:
      return 4;
    case ErrorKind::kNumerical:
      return 5;
    case ErrorKind::kIo:
      return 6;
    case ErrorKind::kInterrupted:
      return 130;
  }
  return 1;
}

constexpr unsigned kGraceSeconds = 4;

/// Calls only functions that are safe in a signal handler.
template <size_t N>
[[noreturn]] void say_and_exit(const char (&line)[N], int code) {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line, N - 1);
  ::_exit(code);
}

extern "C" void on_signal(int) {
  request_interrupt();
  ::alarm(kGraceSeconds);
}

// It is safe to end at any moment: finished work is on disk and unfinished work is redone.
extern "C" void on_grace_over(int) {
  say_and_exit(
      "freelunch: interrupted by the user in the middle of a step; the same command resumes from what is "
      "finished\n",
      130);
}

// A mapped file was truncated, or its disk failed.
extern "C" void on_bus_error(int) {
  say_and_exit(
      "freelunch: an input file shrank or could not be read while it was in use; once it is restored, the "
      "same command resumes from what is finished\n",
      6);
}

void handle(int signal, void (*handler)(int), unsigned flags) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = static_cast<int>(flags);
  sigaction(signal, &action, nullptr);
}

void install_signal_handlers() {
  // A second Ctrl-C ends the process at once.
  handle(SIGINT, on_signal, SA_RESETHAND);
  handle(SIGTERM, on_signal, SA_RESETHAND);
  handle(SIGALRM, on_grace_over, 0);
  handle(SIGBUS, on_bus_error, SA_RESETHAND);
  std::signal(SIGPIPE, SIG_IGN);
}

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

/// ", did you mean --sparsity?" for the first unknown option; empty if all are known.
std::string hint(const CLI::App& app, const std::vector<std::string>& arguments) {
  const auto chosen = app.get_subcommands();
  const CLI::App& command = chosen.empty() ? app : *chosen.front();
  std::vector<std::string> known;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  }
  if (chosen.empty()) {
    for (const CLI::App* sub : app.get_subcommands({})) known.push_back(sub->get_name());
  }
  for (const std::string& typed : arguments) {
    const std::string name = typed.substr(0, typed.find('='));
    if (chosen.empty() ? name.starts_with("-") : !name.starts_with("--")) continue;
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const auto best =
        std::min_element(known.begin(), known.end(), [&](const std::string& a, const std::string& b) {
          return edit_distance(name, a) < edit_distance(name, b);
        });
    if (best != known.end() && edit_distance(name, *best) <= 3) return "; did you mean " + *best + "?";
    return chosen.empty() ? "; freelunch --help lists the commands"
                          : "; freelunch " + command.get_name() + " --help lists the options";
  }
  return "";
}

int refuse(const std::string& message, int code) {
  fmt::print(stderr, "freelunch: {}\n", message);
  return code;
}

/// The message of an exception from outside the library: LibTorch appends a stack trace.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

std::string exit_codes_text() {
  std::string text;
  for (const auto& [code, meaning] : kExitCodes)
    text += fmt::format("{}{} {}", text.empty() ? "Exit codes: " : ", ", code, meaning);
  return text + ".";
}

void add_commands(CLI::App& app, Session& session) {
  add_compress(app, session);
  add_reconstruct(app, session);
  add_plan(app, session);
  add_perplexity(app, session);
  add_zeroshot(app, session);
  add_generate(app, session);
  add_study(app, session);
  add_inspect(app, session);
  add_convert(app, session);
  add_completions(app, session);
  add_man(app, session);
  add_options(app, session);
  for (CLI::App* command : app.get_subcommands({})) {
    const std::string examples = examples_of(command->get_name());
    command->footer((examples.empty() ? "" : "Examples:\n" + examples + "\n") + exit_codes_text());
  }
}

/// Runs the command that the arguments name. Returns the exit code.
int run(int argc, char** argv) {
  CLI::App app{"Prunes large language models and repairs the weights that remain.", "freelunch"};
  app.set_version_flag("--version", std::string("freelunch ") + kVersion);
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.footer(std::string("freelunch COMMAND --help shows a command's options and examples.\n\n") +
             exit_codes_text());
  Session session{.arguments = {argv + 1, argv + argc}};
  add_commands(app, session);
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::Success& wish) {
    return app.exit(wish);  // --help, --version
  } catch (const CLI::ParseError& error) {
    return refuse(first_line(error.what()) + hint(app, session.arguments),
                  exit_code(ErrorKind::kInvalidArgument));
  } catch (const Error& error) {
    return refuse(with_flags(session, error.what()), exit_code(error.kind()));
  } catch (const std::filesystem::filesystem_error& error) {
    return refuse(fmt::format("cannot use '{}': {}", error.path1().string(), error.code().message()),
                  exit_code(ErrorKind::kIo));
  } catch (const std::bad_alloc&) {
    return refuse(
        "out of memory; lower --samples or --length, or leave out the model stage (--repair solve,sublayer)",
        5);
  } catch (const std::exception& error) {
    return refuse(fmt::format("internal error: {}", first_line(error.what())), 1);
  }
}

}  // namespace

void with_sinks(const Session& session, const std::function<void(Sinks)>& body) {
  StderrLog log(session.verbose, [&](std::string_view line) { return with_flags(session, line); });
  StderrProgress progress;
  body({.log = log, .progress = progress});
}

}  // namespace freelunch::tools

int main(int argc, char** argv) {
  freelunch::pipeline::return_large_blocks();
  freelunch::pipeline::reuse_tensor_memory();
  freelunch::tools::install_signal_handlers();
  return freelunch::tools::run(argc, argv);
}
