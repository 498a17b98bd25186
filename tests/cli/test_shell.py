"""Completions and the manual page: bash and zsh complete, and each names every option of every --help."""
import functools
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time

import pytest
from freelunch_command import command, refusal, run

PLAN_COMMANDS = ("compress", "reconstruct", "plan")
MACROS = {"TH", "SH", "SS", "TP", "br", "nf", "fi"}


@functools.cache
def commands():
    return re.findall(r"^  ([a-z]+)  ", run("--help").split("Subcommands:")[1], re.M)


@functools.cache
def flags(subcommand):
    """The options that the command's --help lists."""
    listed = re.findall(r"^  (?:-[a-z],)?(--[a-z][a-z-]*)", run(subcommand, "--help"), re.M)
    assert "--help" in listed and len(listed) == len(set(listed))
    return listed


@functools.cache
def table():
    return json.loads(run("options", "--json"))


@pytest.fixture(scope="session")
def scripts(tmp_path_factory):
    """(the script for bash, that for zsh, the manual page)"""
    folder = tmp_path_factory.mktemp("shell")
    paths = folder / "freelunch", folder / "_freelunch", folder / "freelunch.1"
    for path, arguments in zip(paths, (("completions", "bash"), ("completions", "zsh"), ("man",))):
        path.write_text(run(*arguments))
    return paths


@pytest.fixture(scope="session")
def complete(scripts):
    """What bash offers for the last of these words, as it has split them at blanks and =."""

    def complete(*words, folder="."):
        program = 'source "$1"; shift; COMP_WORDS=(freelunch "$@"); COMP_CWORD=$#; _freelunch; printf "%s\\n" "${COMPREPLY[@]}"'
        result = subprocess.run(["bash", "--norc", "-c", program, "bash", scripts[0], *words], cwd=folder, capture_output=True, text=True)
        assert result.returncode == 0 and result.stderr == "", result
        return result.stdout.split("\n")[:-1] if result.stdout != "\n" else []

    return complete


def test_bash_completes_the_commands(complete):
    assert complete("") == commands() + ["--help", "--version"]
    assert complete("con") == ["convert"]


@pytest.mark.parametrize("subcommand", ["compress", "reconstruct", "plan", "perplexity", "zeroshot", "generate", "study", "inspect", "convert"])
def test_bash_offers_the_options_that_help_lists(complete, subcommand):
    assert sorted(complete(subcommand, "--")) == sorted(flags(subcommand))
    assert sorted(complete(subcommand, "MODEL", "--json", "--")) == sorted(flags(subcommand))


def test_bash_offers_the_words_that_an_option_takes(complete):
    words = [option for option in table()["plan"] if option["kind"] == "word"]
    assert len(words) > 10
    for option in words:
        assert complete("plan", f"--{option['name']}", "") == option["choices"], option["name"]


def test_bash_offers_nothing_for_a_number(complete, tmp_path):
    (tmp_path / "file").write_text("")
    assert complete("compress", "--sparsity", "", folder=tmp_path) == []


def test_bash_completes_the_value_after_an_equals_sign(complete):
    assert complete("compress", "--criterion", "=", "wa") == ["wanda"]
    assert "wanda" in complete("compress", "--criterion", "=")


def test_bash_completes_the_last_stage_of_a_list(complete):
    assert complete("compress", "--repair", "solve,su") == ["solve,sublayer"]
    assert "none" in complete("compress", "--repair", "")


def test_bash_completes_paths(complete, tmp_path):
    (tmp_path / "a model.gguf").write_text("")
    (tmp_path / "texts").mkdir()
    assert complete("compress", "a", folder=tmp_path) == ["a model.gguf"]
    assert complete("compress", "--calibration", "te", folder=tmp_path) == ["texts"]
    assert complete("compress", "-o", "te", folder=tmp_path) == ["texts"]


def test_bash_completes_the_shells(complete):
    assert complete("completions", "") == ["bash", "zsh"]


def section(script, subcommand):
    """The branch of the zsh script for this command."""
    return re.search(rf"^    {subcommand}\)\n(.*?)^      ;;\n", script, re.M | re.S).group(1)


@pytest.mark.parametrize("subcommand", ["compress", "reconstruct", "plan", "zeroshot", "study", "convert"])
def test_the_zsh_script_names_the_options_that_help_lists(scripts, subcommand):
    found = re.findall(r"^        '?[^\[]*?(--[a-z][a-z-]*)[=}\[]", section(scripts[1].read_text(), subcommand), re.M)
    assert sorted(found) == sorted(flags(subcommand))


def test_zsh_offers_each_word_that_an_option_takes(scripts):
    text = section(scripts[1].read_text(), "plan")
    for option in table()["plan"]:
        if option["kind"] == "word":
            assert re.search(rf"--{option['name']}=\[.*\]:WORD:\({' '.join(option['choices'])}\)'", text), option["name"]


class Terminal:
    """A zsh in a terminal of its own, with the completions loaded."""

    def __init__(self, script, folder):
        self.process, self.file = pty.fork()
        if self.process == 0:
            os.chdir(folder)
            os.environ.update(TERM="dumb", ZDOTDIR=str(folder), PATH=f"{command().parent}:{os.environ['PATH']}")
            os.execvp("zsh", ["zsh", "-f", "-i"])
        self.send("PROMPT='' RPROMPT='' PROMPT_EOL_MARK=; unsetopt beep; autoload -Uz compinit; compinit -u -D\n")
        self.send(f"source {script}; print rea''dy\n")
        self.wait("ready")

    def send(self, text):
        os.write(self.file, text.encode())

    def wait(self, expected, seconds=30):
        """Reads until the text has appeared; the text so far if it has not."""
        shown, end = "", time.monotonic() + seconds
        while expected not in shown and time.monotonic() < end:
            if select.select([self.file], [], [], 0.2)[0]:
                shown += os.read(self.file, 65536).decode(errors="replace")
        assert expected in shown, f"zsh showed {shown!r}, expected {expected!r}"

    def close(self):
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self.file)


@pytest.fixture
def terminal(scripts, tmp_path):
    if not shutil.which("zsh"):
        pytest.skip("zsh does not exist; scripts/setup --tests installs it")
    terminal = Terminal(scripts[1], tmp_path)
    yield terminal
    terminal.close()


@pytest.mark.parametrize("typed, expected", [
    ("freelunch conv", "convert "), ("freelunch compress --crit", "--criterion="), ("freelunch compress MODEL --crit", "--criterion="),
    ("freelunch compress --criterion=wan", "wanda"), ("freelunch plan --criterion sparse", "sparsegpt"),
    ("freelunch compress --repair solve,subl", "solve,sublayer"), ("freelunch inspect some-mo", "some-model.gguf"),
    ("freelunch compress -o some-mo", "some-model.gguf"), ("freelunch completions z", "zsh")])
def test_zsh_completes(terminal, tmp_path, typed, expected):
    (tmp_path / "some-model.gguf").write_text("")
    terminal.send(typed + "\t")
    terminal.wait(typed[: typed.rfind(" ") + 1] + expected if expected.startswith("solve") else expected)


def test_an_unknown_shell_is_refused():
    assert refusal(2, "completions", "fish") == "freelunch: SHELL is 'fish', expected bash or zsh"


def test_the_manual_page_describes_the_options_that_help_lists(scripts):
    page = scripts[2].read_text().replace("\\-", "-")
    plan, *others = re.split(r"^\.SH OPTIONS OF ", page, flags=re.M)[1:]
    described = {name: re.findall(r"^\\fB--([a-z-]+)\\fR|^\\fB-[a-z]\\fR, \\fB--([a-z-]+)\\fR", text, re.M)
                 for name, text in [("plan", plan)] + [(text.split("\n")[0].lower(), text) for text in others]}
    for subcommand in commands():
        names = ["--" + (a or b) for a, b in described["plan" if subcommand in PLAN_COMMANDS else subcommand]]
        assert set(flags(subcommand)) <= set(names), subcommand
        if subcommand != "plan" and subcommand not in PLAN_COMMANDS:
            assert sorted(names) == sorted(flags(subcommand))


def test_the_manual_page_is_roff_without_stray_requests(scripts):
    lines = scripts[2].read_text().splitlines()
    assert lines[1].startswith(".TH FREELUNCH 1 ")
    requests = [line for line in lines[1:] if line.startswith((".", "'"))]
    assert {re.match(r".([A-Za-z]*)", line).group(1) for line in requests} == MACROS


@pytest.mark.parametrize("checker", [["mandoc", "-T", "lint", "-W", "warning"], ["groff", "-man", "-Tutf8", "-ww", "-z"]], ids=lambda c: c[0])
def test_the_manual_page_is_accepted_by(checker, scripts):
    if not shutil.which(checker[0]):
        pytest.skip(f"{checker[0]} does not exist; scripts/setup --tests installs it")
    result = subprocess.run([*checker, scripts[2]], capture_output=True, text=True)
    complaints = [line for line in (result.stdout + result.stderr).splitlines() if "missing date" not in line]
    assert not complaints, complaints  # no date: the same version gives the same page


def test_the_manual_page_has_every_example_and_exit_code(scripts):
    page = scripts[2].read_text().replace("\\-", "-").replace("\\(aq", "'")
    for subcommand in commands():
        for example in re.findall(r"^  (freelunch .*)$", run(subcommand, "--help"), re.M):
            assert f"\n{example}\n" in page, example
    for code in (0, 2, 3, 4, 5, 6, 130):
        assert f".TP\n\\fB{code}\\fR\n" in page
