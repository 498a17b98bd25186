"""The table of options: values outside a range are refused at once, on the command line and in study files, and docs/options.md is current."""
import json
import os
import pathlib
import subprocess

import pytest

import tiny_model

ROOT = pathlib.Path(__file__).parents[2]
COMMAND = os.environ.get("FREELUNCH_COMMAND", str(ROOT / "build/release/freelunch"))
PRIMARY = ("compress", "reconstruct", "plan", "perplexity", "zeroshot", "generate", "convert", "inspect", "study")
REQUIRED = {  # no file of these exists: a value must be refused before anything is read
    "compress": ["absent", "--output", "out"],
    "reconstruct": ["absent", "--dense", "absent", "--output", "out"],
    "plan": ["absent"],
    "perplexity": ["absent", "--text", "absent.txt"],
    "zeroshot": ["absent", "--tasks", "boolq=absent.jsonl"],
    "generate": ["absent", "--prompt", "a"],
    "convert": ["absent", "--output", "out"],
    "inspect": ["absent"],
    "study": ["absent.toml", "--output", "out"],
}
STUDY = """
models = ["absent"]
[calibration]
text = "absent.txt"
[[evaluate]]
name = "test"
text = "absent.txt"
"""


def run(*arguments, folder=None):
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, cwd=folder, timeout=60)


TABLE = json.loads(run("options", "--json").stdout)
NAMES = {command: {option["name"] for option in options} for command, options in TABLE.items()}


def is_numeric(option):
    return "range" in option


def outside(option):
    """Values that the option must refuse: below and above its range, not finite, and empty."""
    least, most = option["range"]["least"], option["range"]["most"]
    if option["kind"] in ("integer", "bytes"):
        return [str(int(least) - 1), str(int(most) + 1), "nan", "inf", ""]
    below = least if option["range"]["least_excluded"] else least - 0.125
    above = most if option["range"]["most_excluded"] else most * 1.001
    return [repr(below), repr(above), "nan", "inf", ""]


def expect_refusal(result, name, what, code=2):
    assert result.returncode == code, f"{what}: exit {result.returncode}\n{result.stderr}"
    assert result.stderr.startswith("freelunch: ") and result.stderr.count("\n") == 1, f"{what}: {result.stderr}"
    assert name in result.stderr and "`" not in result.stderr, f"{what}: {result.stderr}"
    assert result.stdout == ""


def numeric_cases():
    for command, options in TABLE.items():
        for option in filter(is_numeric, options):
            yield pytest.param(command, option, id=f"{command} --{option['name']}")


@pytest.mark.parametrize("command, option", list(numeric_cases()))
def test_a_number_outside_its_range_is_refused_before_anything_is_read(command, option, tmp_path):
    more = ["--sensitivity", "kronecker"] if option.get("needs") == "sensitivity" else []
    values = outside(option)
    first = next(name for name in PRIMARY if option["name"] in NAMES[name])
    if command != first:  # the same row of the table; one value shows that it is there
        values = values[:1]
    for value in values:
        result = run(command, *REQUIRED[command], *more, f"--{option['name']}", value, folder=tmp_path)
        expect_refusal(result, f"--{option['name']}", f"{command} --{option['name']} '{value}'")
    assert not list(tmp_path.iterdir())


def study_cases():
    for option in filter(is_numeric, TABLE["compress"]):
        if option["in_study"]:
            yield pytest.param(option, id=option["name"].replace("-", "_"))


@pytest.mark.parametrize("option", list(study_cases()))
def test_a_number_outside_its_range_is_refused_in_a_study_file(option, tmp_path):
    key = option["name"].replace("-", "_")
    for value in outside(option):
        written = value if value and value[0] in "-0123456789ni" else f'"{value}"'
        (tmp_path / "study.toml").write_text(f'{STUDY}[[grid]]\nrepair = "solve"\n{key} = {written}\n')
        result = run("study", "study.toml", "--output", "out", folder=tmp_path)
        expect_refusal(result, f"'{key}'", f"{key} = {written}")
    assert [p.name for p in tmp_path.iterdir()] == ["study.toml"]


@pytest.mark.parametrize("section, line", [
    ("[calibration]", "samples = 0"), ("[calibration]", "held_out = -1"), ("[[evaluate]]", "windows = -1"), ("[[evaluate]]", "length = 0")])
def test_a_number_outside_its_range_is_refused_in_the_other_sections_of_a_study_file(section, line, tmp_path):
    (tmp_path / "study.toml").write_text(STUDY.replace(section, f"{section}\n{line}") + '[[grid]]\nrepair = "solve"\n')
    expect_refusal(run("study", "study.toml", "--output", "out", folder=tmp_path), line.split()[0], line)


@pytest.mark.parametrize("option", [pytest.param(o, id=o["name"]) for o in TABLE["compress"] if o["kind"] in ("word", "path", "text", "texts", "stages")])
def test_an_empty_text_is_refused(option, tmp_path):
    required = REQUIRED["compress"] if option["name"] != "output" else ["absent"]
    expect_refusal(run("compress", *required, f"--{option['name']}", "", folder=tmp_path), f"--{option['name']}", option["name"])


@pytest.mark.parametrize("option", [pytest.param(o, id=o["name"]) for o in TABLE["compress"] if o["kind"] == "word"])
def test_an_unknown_word_is_refused_with_the_known_ones(option, tmp_path):
    result = run("compress", *REQUIRED["compress"], f"--{option['name']}", "nonsense", folder=tmp_path)
    expect_refusal(result, f"--{option['name']} is 'nonsense', expected one of {', '.join(option['choices'])}", option["name"])


def test_the_help_of_a_command_names_every_option_with_its_default():
    for command, options in TABLE.items():
        shown = run(command, "--help").stdout
        for option in options:
            assert f"--{option['name']}" in shown, (command, option["name"])


def test_the_options_page_is_current():
    printed = run("options", "--markdown").stdout
    assert printed == (ROOT / "docs/options.md").read_text(), "write it anew: freelunch options --markdown > docs/options.md"


def test_a_model_that_is_not_there_is_reported_before_a_calibration_text_that_is_not_given(tmp_path):
    expect_refusal(run("compress", "absent", "--output", "out", folder=tmp_path), "model 'absent' does not exist", "no model", code=3)
    expect_refusal(run("plan", "absent", folder=tmp_path), "model 'absent' does not exist", "no model", code=3)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tiny_model.make(folder / "dense")
    (folder / "text.txt").write_text(tiny_model.text(600))
    return folder


def test_no_windows_means_all_windows(tiny):
    def windows(*more):
        return json.loads(run("perplexity", tiny / "dense", "--text", tiny / "text.txt", "--length", 32, "--json", *more).stdout)["windows"]

    assert windows("--windows", 0) == windows() > windows("--windows", 2) == 2


def test_sizes_under_a_megabyte_are_shown_in_kilobytes(tiny):
    shown = run("inspect", tiny / "dense").stdout
    assert " kB" in shown and " 0 MB" not in shown


def test_half_is_still_read_as_sublayer(tiny):
    planned = run("plan", tiny / "dense", "--repair", "half", "--calibration", tiny / "text.txt", "--samples", 4, "--length", 16, "--held-out", 2, "--json")
    assert json.loads(planned.stdout)["repair"] == ["sublayer"]
