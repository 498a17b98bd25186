"""kill -9, signals and changed inputs: the same command resumes to the bytes of an undisturbed run, or says why not.

The slow cases kill each kind of run at every record, and 20 times at random.
"""
import functools
import json
import random
import shutil
import signal
import time
import types

import pytest
import tiny_model
from freelunch_command import command
from resume import Run
from safetensors.torch import load_file, save_file

MAIN = "--repair solve,sublayer,model"
KINDS = {  # options of compress; "given" is a reconstruction of given masks
    "main": MAIN,
    "blend and sensitivity":
        "--repair solve,lora --blend 0,0.5 --sensitivity kronecker --allocation owl --sparsity 0.6",
    "matrix": "--criterion sparsegpt --group row --statistics dense --repair matrix,blocks:2 --learning-rate 1e-3 "
              "--activations disk --activation-dtype bf16",
    "given": "--repair solve,sublayer,bias-norm",
    "structure": "--mlp 96 --kv-groups 1 --pattern 2:4 --repair solve,sublayer,model --blend 0,1",
    "size": "--size 0.85 --repair solve,sublayer",
}
MORE_KINDS = {
    "dense": "--repair matrix,sublayer,model --propagation dense --model-loss ce",
    "sparse": "--repair matrix,sublayer --propagation sparse --criterion magnitude",
    "two epochs": "--repair solve,sublayer,model,lora --epochs 3 --model-epochs 3 --batch 2",
}
ALL_KINDS = KINDS | MORE_KINDS
MEASURED = ("seconds", "peak_bytes", "planned_bytes", "planned_seconds", "planned", "passes")
WINDOWS = ["--samples", 14, "--length", 32, "--held-out", 3]


@pytest.fixture(scope="module")
def base(tmp_path_factory, evaluation_text):
    """dense, of three blocks, and the texts. Tests that change one of them change it back."""
    base = tmp_path_factory.mktemp("resume")
    tiny_model.make(base / "dense", num_hidden_layers=3)
    (base / "train.txt").write_text(tiny_model.text(6000))
    shutil.copy(evaluation_text, base / "test.txt")
    return base


@pytest.fixture(scope="module")
def options(base):
    return ["--calibration", base / "train.txt", *WINDOWS, "--evaluate", base / "test.txt", "--evaluate-windows", 2,
            "--evaluate-length", 64, "--compute", "fp32", "--threads", 2, "--commit-seconds", 0]


@pytest.fixture(scope="module")
def pruned(base, options):
    """The masks of the kind "given"."""
    run = Run(command(), ["compress", base / "dense", *options, "--criterion", "magnitude", "--repair", "none"],
              base / "pruned")
    run.finish()
    return run.folder


@pytest.fixture(scope="module")
def arguments(base, options, request):
    """kind -> its command line, without the output."""

    def arguments(kind):
        request_of = ["compress", base / "dense"]
        if kind == "given":
            request_of = ["reconstruct", request.getfixturevalue("pruned"), "--dense", base / "dense"]
        return [*request_of, *options, *ALL_KINDS[kind].split()]

    return arguments


@pytest.fixture
def fresh(base, arguments):
    """kind -> a run of which nothing exists yet."""
    return lambda kind, *more: Run(command(), [*arguments(kind), *more], base / "died").discard()


def report_of(run):
    """The report without what is measured."""
    report = json.loads((run.folder / "freelunch.json").read_text())
    lists = [[{k: v for k, v in entry.items() if k not in MEASURED} for entry in report[part]]
             for part in ("stages", "regions", "tensors")]
    return [*lists, report["figures"], report["sha256"]]


@pytest.fixture(scope="module")
def undisturbed(base, arguments):
    """kind -> digest, report and seconds of a run that nothing disturbs."""

    @functools.cache
    def undisturbed(kind):
        run = Run(command(), arguments(kind), base / "whole").discard()
        start = time.time()
        run.finish()
        return types.SimpleNamespace(seconds=time.time() - start, digest=run.digest(), report=report_of(run))

    return undisturbed


def check_killed_every(records, run, expected):
    deaths = run.die_every(records)
    assert deaths > 0
    assert run.digest() == expected.digest, f"other bytes after {deaths} deaths"
    assert report_of(run) == expected.report


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_killed_at_every_ninth_record_writes_the_same_bytes_and_report(kind, fresh, undisturbed):
    check_killed_every(9, fresh(kind), undisturbed(kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_run_that_is_killed_at_every_record_writes_the_same_bytes_and_report(kind, fresh, undisturbed):
    check_killed_every(1, fresh(kind), undisturbed(kind))


MOMENTS = [("main", seed) for seed in range(3)]
MORE_MOMENTS = [(kind, seed) for kind in ALL_KINDS for seed in range(20) if (kind, seed) not in MOMENTS]


@pytest.mark.parametrize("kind, seed", MOMENTS + [pytest.param(*m, marks=pytest.mark.slow) for m in MORE_MOMENTS])
def test_a_run_that_is_killed_at_a_random_moment_writes_the_same_bytes(kind, seed, fresh, undisturbed):
    expected = undisturbed(kind)
    run = fresh(kind)
    end = time.time() + random.Random(f"{kind} {seed}").uniform(0, expected.seconds)
    run.kill_when(lambda: time.time() > end)
    if not run.folder.exists():
        run.finish()
    assert run.digest() == expected.digest


def test_a_torn_journal_and_a_damaged_scratch_file_cost_a_region_at_most(fresh, undisturbed):
    run = fresh("main")
    run.kill_when(lambda: run.lines() >= 9)
    before = run.lines()
    run.journal.write_bytes(run.journal.read_bytes()[:-7])
    run.kill_when(lambda: run.lines() >= before)
    with (run.work / "weights.scratch").open("r+b") as file:  # at the tensor that was recorded last
        entries = [json.loads(line)["record"].get("tensors", {}) for line in run.journal.read_text().splitlines()]
        last = list(next(e for e in reversed(entries) if e).values())[-1]
        file.seek(last["offset"])
        file.write(b"\x55\xaa")
    run.finish()
    assert run.digest() == undisturbed("main").digest


@pytest.fixture(scope="module")
def killed_early(base, arguments):
    """The staging folder of a main run that was killed after five records."""
    run = Run(command(), arguments("main"), base / "early").discard()
    run.kill_when(lambda: run.lines() >= 5)
    return run.work


@pytest.fixture
def interrupted(killed_early, fresh):
    """A main run that was killed after five records."""
    run = fresh("main")
    shutil.copytree(killed_early, run.work)
    return run


def expect_refused(run, named, *more, arguments):
    """The run is refused with a line that names the difference, and its journal stays."""
    kept = run.journal.read_bytes()
    line = Run(command(), arguments, run.folder).finish(*more, code=2).splitlines()[-1]
    assert named in line and "--restart" in line, line
    assert run.journal.read_bytes() == kept


@pytest.mark.parametrize("option, named", [("--seed 1", "--seed was 0, is 1"), ("--batch 2", "--batch was 1, is 2")])
def test_another_value_of_an_option_is_refused(option, named, interrupted, arguments):
    expect_refused(interrupted, named, *option.split(), arguments=arguments("main"))


def test_other_stages_are_refused(interrupted, base, options):
    expect_refused(interrupted, "--repair",
                   arguments=["compress", base / "dense", *options, "--repair", "solve,sublayer"])


def test_another_calibration_text_is_refused(interrupted, base, arguments):
    text = (base / "train.txt").read_bytes()
    (base / "train.txt").write_bytes(text + b" more")
    try:
        expect_refused(interrupted, "calibration text", arguments=arguments("main"))
    finally:
        (base / "train.txt").write_bytes(text)


def test_another_model_is_refused(interrupted, base, arguments):
    path = base / "dense/model.safetensors"
    original, weights = path.read_bytes(), load_file(path)
    weights["model.norm.weight"][0] += 1
    save_file(weights, path, metadata={"format": "pt"})
    try:
        expect_refused(interrupted, "model.safetensors", arguments=arguments("main"))
    finally:
        path.write_bytes(original)


def test_options_that_decide_no_bytes_may_change(interrupted, undisturbed):
    interrupted.finish("--verbose", "--overwrite")
    assert interrupted.digest() == undisturbed("main").digest


def test_restart_discards_the_unfinished_run(interrupted, undisturbed):
    interrupted.finish("--restart", "--seed", 1)
    assert interrupted.digest() != undisturbed("main").digest


def test_one_process_at_a_time_and_an_interrupt_abandons_a_region_of_hours_within_seconds(fresh):
    run = fresh("main", "--epochs", 1000000)
    process = run.start_and_wait_for(5)
    line = run.finish(code=2)
    assert "another process" in line and line.count("\n") == 1, line
    start = time.time()
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait() == 130 and time.time() - start < 6, rest


def test_signals_leave_a_state_to_resume_from_and_the_former_output(fresh, undisturbed):
    run = fresh("main", "--overwrite")
    run.folder.mkdir()
    (run.folder / "former").write_text("former")
    for number in (signal.SIGINT, signal.SIGTERM):
        process = run.start_and_wait_for(run.lines() + 4)
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait() == 130, rest
        line = rest.splitlines()[-1]
        assert line.startswith("freelunch: interrupted by the user") and "the same command" in line, rest
        assert (run.folder / "former").read_text() == "former" and len(list(run.folder.iterdir())) == 1
    run.finish()
    assert run.digest() == undisturbed("main").digest and not (run.folder / "former").exists()


@pytest.fixture
def overflowing(base, tmp_path):
    """(factors by tensor, options) -> a run of a model whose weights are multiplied by them."""

    def overflowing(factors, *more):
        weights = load_file(base / "dense/model.safetensors")
        for name, factor in factors.items():
            weights[name] *= factor
        shutil.copytree(base / "dense", tmp_path / "large")
        save_file(weights, tmp_path / "large/model.safetensors", metadata={"format": "pt"})
        return Run(command(), ["compress", tmp_path / "large", "--calibration", base / "train.txt", *WINDOWS,
                               "--compute", "fp32", *more], tmp_path / "out")

    return overflowing


@pytest.mark.parametrize("repair", ["solve", "sublayer"])
def test_an_activation_that_overflows_is_named_and_what_came_before_is_kept(repair, overflowing):
    run = overflowing({f"model.layers.1.mlp.{part}.weight": 1e21 for part in ("up_proj", "down_proj")},
                      "--repair", repair)
    line = run.finish(code=5).splitlines()[-1]
    assert "blocks.1.mlp" in line and "not finite" in line and "the same command" in line, line
    assert run.journal.exists() and not run.folder.exists()
    assert "blocks.1.mlp" in run.finish(code=5).splitlines()[-1]


@pytest.mark.parametrize("loss", ["kl", "ce"])
def test_a_loss_of_the_whole_model_that_overflows_is_named_with_its_step(loss, overflowing):
    run = overflowing({"lm_head.weight": 1e38}, "--repair", "model", "--model-loss", loss)
    line = run.finish(code=5).splitlines()[-1]
    assert "model: the " in line and "not finite" in line and "step" in line and "the same command" in line, line
