"""Calls from Python: keywords, callbacks, interrupts, errors, threads."""
import inspect
import logging
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import torch
from freelunch_command import digest, run_json
from short_runs import load

COMMANDS = ("compress", "reconstruct", "plan", "perplexity", "zeroshot", "convert", "study", "inspect")


@pytest.fixture
def quick(short):
    """A run of less than a second."""
    return dict(short, repair="none")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_of_the_command_is_a_documented_keyword(freelunch, command):
    terminal = {"json", "verbose"}  # how a command prints
    listed = {option["name"]: option for option in run_json("options").get(command, [])}
    table = {option["name"]: option for option in freelunch.options(command)}
    assert set(table) == set(listed) - terminal
    function = getattr(freelunch, command)
    parameters = inspect.signature(function).parameters
    for name, option in table.items():
        keyword = option["keyword"]
        assert keyword in parameters and keyword.isidentifier(), keyword
        assert f"    {keyword}: " in function.__doc__, keyword
        for fact in ("kind", "default", "expected"):
            assert option[fact] == listed[name][fact], (name, fact)


def value_of(option, folder):
    """A value that the option takes."""
    kind, default = option["kind"], option["default"]
    if default not in (None, [], ""):
        return default
    return {"flag": True, "integer": 2, "number": 0.5, "numbers": [0.5], "fraction": 0.5, "bytes": "1GB",
            "stages": ["solve"], "path": folder, "texts": ["2:4=*mlp*"], "text": "2:4",
            "word": None}[kind] or option["choices"][0]


def test_each_option_reaches_the_plan(freelunch, folder, text):
    for option in freelunch.options("plan"):
        given = {option["keyword"]: value_of(option, folder)}
        for needed in ("calibration", "evaluate"):
            given.setdefault(needed, text)
        given.update(samples=given.get("samples", 2), length=given.get("length", 16) and 16, held_out=2, threads=1)
        if option["name"].startswith("sensitivity-"):
            given["sensitivity"] = "kronecker"
        try:
            freelunch.plan(folder, **given)
        except (ValueError, freelunch.Error) as error:  # of what the value means, not that it is not known
            assert "there is no option" not in str(error) and "unexpected" not in str(error), option


def test_an_unknown_keyword_is_a_type_error_with_a_suggestion(freelunch, folder, tmp_path):
    with pytest.raises(TypeError) as refused:
        freelunch.compress(folder, tmp_path / "out", sampels=8)
    assert str(refused.value) == "compress() got an unexpected keyword argument 'sampels'; did you mean 'samples'?"


def test_values_of_other_types_are_refused_by_the_table(freelunch, folder, tmp_path):
    for value in ("8", 8.5, True, [8]):
        with pytest.raises(ValueError, match="^samples is .*expected an integer from 1 to"):
            freelunch.compress(folder, tmp_path / "out", samples=value)
    assert freelunch.plan(folder, criterion="magnitude", repair="none", samples=torch.tensor(8))["model"] == "dense"


def test_progress_tells_of_every_stage_in_the_thread_of_the_caller(freelunch, folder, short, tmp_path):
    seen = []
    freelunch.compress(folder, tmp_path / "out", **short,
                       progress=lambda p: seen.append((p.stage, p.done, p.total, threading.get_ident())))
    assert {"solve", "sublayer", "save"} <= {stage for stage, *_ in seen}
    assert all(0 <= done <= total for _, done, total, _ in seen)
    for stage in ("solve", "sublayer"):  # to the end
        assert any(s == stage and done == total for s, done, total, _ in seen), seen
    assert {s[3] for s in seen} == {threading.get_ident()}


def test_without_a_terminal_nothing_is_printed(freelunch, folder, quick, tmp_path, capfd):
    freelunch.compress(folder, tmp_path / "out", **quick)
    assert capfd.readouterr() == ("", "")


def test_bars_close_at_the_end_and_after_errors(freelunch, folder, quick, tmp_path):
    from freelunch._progress import Bars

    open_bars = []

    class Bar:
        def __init__(self, total, desc, unit):
            self.n, self.total, self.desc = 0, total, desc
            open_bars.append(self)

        def update(self, n):
            self.n += n
            if fails:
                raise RuntimeError("no terminal")

        def set_postfix_str(self, text, refresh):
            pass

        def close(self):
            open_bars.remove(self)

    fails = False
    freelunch.compress(folder, tmp_path / "out", **quick, progress=Bars(Bar))
    assert open_bars == []
    fails = True
    with pytest.raises(RuntimeError, match="no terminal"):
        freelunch.compress(folder, tmp_path / "again", **quick, progress=Bars(Bar))
    assert open_bars == []


def test_log_lines_go_to_logging(freelunch, folder, text, caplog, tmp_path):
    (tmp_path / "text.jsonl").write_text('{"text": null}\n{"text": "abc de"}\n' * 40)
    with caplog.at_level(logging.INFO, logger="freelunch"):
        freelunch.perplexity(folder, tmp_path / "text.jsonl", length=16, threads=1)
    assert any(r.levelname == "WARNING" and "documents that are null" in r.message for r in caplog.records)


class Stop(Exception):
    pass


def raising(*arguments):
    raise Stop("enough")


def test_a_progress_callback_that_raises_stops_the_run_and_the_next_one_works(freelunch, folder, short, tmp_path):
    calls = []

    def progress(now):
        calls.append(now)
        if now.stage == "sublayer" and now.done == 1:
            raise Stop("enough")

    with pytest.raises(Stop, match="enough"):
        freelunch.compress(folder, tmp_path / "out", **short, progress=progress)
    assert not (tmp_path / "out").exists() and all(c.stage != "save" for c in calls)
    freelunch.compress(folder, tmp_path / "out", **short)  # resumes
    freelunch.compress(folder, tmp_path / "undisturbed", **short)
    assert digest(tmp_path / "out") == digest(tmp_path / "undisturbed")


def test_a_callback_that_raises_leaves_a_live_model_as_it_was(freelunch, folder, short):
    model, tokenizer = load(folder)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for options in (dict(progress=raising), dict(criterion=raising)):
        with pytest.raises(Stop):
            freelunch.compress(model, tokenizer=tokenizer, **short, **options)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_criterion_of_ones_own_is_wanda_if_it_computes_wanda(freelunch, folder, short, tmp_path):
    def my_wanda(W, stats):
        assert stats.column_norms.shape == (W.shape[1],) and not torch.is_grad_enabled()
        return W.abs() * stats.column_norms

    report = freelunch.compress(folder, tmp_path / "own", **short, criterion=my_wanda)
    assert report["plan"]["criterion"] == "my_wanda"
    freelunch.compress(folder, tmp_path / "built in", **short, criterion="wanda")
    assert digest(tmp_path / "own") == digest(tmp_path / "built in")


def test_a_criterion_without_inputs_needs_no_text(freelunch, folder, tmp_path):
    largest = freelunch.Criterion(lambda W, stats: W, name="largest", needs="nothing", group="matrix")
    freelunch.compress(folder, tmp_path / "out", criterion=largest, repair="none", sparsity=0.25)
    from freelunch_command import tensors

    dense, pruned = tensors(folder), tensors(tmp_path / "out")
    name = "model.layers.0.mlp.up_proj.weight"
    gone = pruned[name] == 0
    assert gone.sum() == gone.numel() // 4 and dense[name][gone].max() <= dense[name][~gone].min()


def test_the_gram_matrix_reaches_a_criterion(freelunch, folder, quick, tmp_path):
    shapes = []

    def score(W, stats):
        shapes.append((tuple(stats.inverse_factor.shape), W.shape[1]))
        return W.abs()

    freelunch.compress(folder, tmp_path / "out", **quick, criterion=freelunch.Criterion(score, needs="gram"))
    assert len(shapes) == 14 and all(shape == (width, width) for shape, width in shapes)


@pytest.mark.parametrize("score, message", [
    (lambda W, stats: None, "criterion 'bad' returned NoneType, expected a tensor of scores"),
    (lambda W, stats: W[0], "criterion 'bad' returned scores of another shape than W"),
])
def test_scores_of_another_form_are_refused(freelunch, folder, quick, score, message, tmp_path):
    with pytest.raises(ValueError) as refused:
        freelunch.compress(folder, tmp_path / "out", **quick, criterion=freelunch.Criterion(score, name="bad"))
    assert str(refused.value).startswith(message)


def test_other_threads_run_meanwhile(freelunch, folder, short, tmp_path):
    counted, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    start = time.monotonic()
    freelunch.compress(folder, tmp_path / "out", **short)
    seconds = time.monotonic() - start
    stop.set()
    thread.join()
    assert counted[0] > 50 * seconds  # of at most 1000


def test_a_call_inside_a_callback_is_refused(freelunch, folder, quick, tmp_path):
    with pytest.raises(freelunch.Error, match="runs one command at a time"):
        freelunch.compress(folder, tmp_path / "out", **quick, progress=lambda now: freelunch.inspect(folder))


SCRIPT = """
import os, sys
sys.path.insert(0, {package!r})
import freelunch

def progress(now):
    if now.stage == "sublayer":
        print("training", flush=True)

try:
    freelunch.compress({folder!r}, {output!r}, calibration={text!r}, samples=32, length=64, held_out=4, threads=1,
                       repair="sublayer", epochs=1000, progress=progress)
except KeyboardInterrupt:
    print("interrupted", flush=True)
print(freelunch.inspect({folder!r})["architecture"], flush=True)
"""


def test_control_c_is_a_keyboard_interrupt_after_which_calls_work(freelunch, folder, text, tmp_path):
    import pathlib

    package = str(pathlib.Path(freelunch.__file__).parents[1])
    script = SCRIPT.format(package=package, folder=str(folder), output=str(tmp_path / "out"), text=str(text))
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout.readline() == "training\n"
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        lines = [line for line in process.stdout.read().splitlines() if line != "training"]
        assert time.monotonic() - start < 30
    assert lines == ["interrupted", "llama"] and process.returncode == 0


def test_errors_can_be_pickled(freelunch):
    error = pickle.loads(pickle.dumps(freelunch.Error("no space", "io")))
    assert (str(error), error.kind) == ("no space", "io") and isinstance(error, RuntimeError)


def test_the_package_imports_without_torch(freelunch):
    """The command of a wheel starts through the package, and torch takes seconds."""
    import pathlib

    package = str(pathlib.Path(freelunch.__file__).parents[1])
    code = (f"import sys; sys.path.insert(0, {package!r}); import freelunch; "
            "assert 'torch' not in sys.modules; print(dir(freelunch))")
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(f"'{name}'" in listed for name in (*COMMANDS, "accelerate", "Error", "__version__"))
