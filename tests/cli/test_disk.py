"""A full disk, a read-only folder, files that vanish or shrink: one line, exit 6, no output.

The same command resumes afterwards.
"""
import os
import pathlib
import shutil
import subprocess
import tempfile
import types

import pytest
import tiny_model
from freelunch_command import command
from namespace import open_namespace
from resume import Run


def refusal(run, *named):
    """The one line of a run that ends with exit 6 and without output; it names these."""
    line = [line for line in run.finish(code=6).splitlines() if line.startswith("freelunch: ")]
    assert len(line) == 1 and all(name in line[0] for name in named), line
    assert not run.folder.exists(), "a part of an output folder"
    return line[0]


def arguments(model, train_text):
    return ["compress", model, "--calibration", train_text, "--samples", 8, "--length", 32, "--held-out", 2,
            "--repair", "solve,sublayer", "--compute", "fp32", "--threads", 2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "dense"
    tiny_model.make(folder, num_hidden_layers=3, vocab_size=6000)
    return folder


@pytest.fixture(scope="module")
def disk(model, train_text, tmp_path_factory):
    """A disk of 64 MB with
    run(model): the command that compresses a model to it;
    undisturbed: the digest of its result; needed: the bytes that its staging folder takes shortly before the end.
    """
    folder = tmp_path_factory.mktemp("disk")
    namespace = open_namespace(folder)

    def run(model):
        return Run(command(), arguments(model, train_text), folder / "out", namespace.prefix,
                   namespace.seen(folder / "out")).discard()

    whole = run(model)
    whole.finish()
    undisturbed = whole.digest()
    whole.discard().kill_when(lambda: whole.lines() >= 14)
    needed = shutil.disk_usage(namespace.seen(folder)).used
    whole.discard()
    yield types.SimpleNamespace(run=run, undisturbed=undisturbed, needed=needed,
                                remount=lambda options: namespace.mount("-o", f"remount,{options}", folder))
    namespace.close()


# The disk is full at the journal, at the scratch file, at the output.
SIXTEENTHS = [pytest.param(n, marks=[] if n % 3 == 1 else pytest.mark.slow) for n in range(1, 17)]


@pytest.mark.parametrize("sixteenths", SIXTEENTHS)
def test_a_disk_that_is_full_ends_the_run_and_it_resumes_once_there_is_space(sixteenths, disk, model):
    run = disk.run(model)
    disk.remount(f"size={disk.needed * sixteenths // 16 // 4096 * 4096 + 4096}")
    try:
        line = refusal(run, "No space left" if sixteenths < 12 else "", "out")
    finally:
        disk.remount("size=64m")
    assert ("goes on" in line) == (run.lines() > 2), line
    if sixteenths % 2 == 0:
        run.finish()
        assert run.digest() == disk.undisturbed


def test_a_read_only_disk_ends_the_run(disk, model):
    run = disk.run(model)
    disk.remount("ro")
    try:
        refusal(run, "Read-only file system")
    finally:
        disk.remount("rw,size=64m")


def vanish(model):
    model.rename(model.with_name("elsewhere"))


def come_back(model, _):
    model.with_name("elsewhere").rename(model)


def shrink(model):
    os.truncate(model / "model.safetensors", 8192)


def grow_back(model, original):
    shutil.copy(original / "model.safetensors", model / "model.safetensors")


@pytest.mark.parametrize("harm, repair", [(vanish, come_back), (shrink, grow_back)], ids=["vanishes", "shrinks"])
def test_a_model_that_is_lost_during_a_run_ends_it_and_it_resumes_once_the_model_is_back(harm, repair, disk, model,
                                                                                         tmp_path):
    copied = tmp_path / "model"
    shutil.copytree(model, copied)
    run = disk.run(copied)
    process = run.start_and_wait_for(4)
    harm(copied)
    rest = process.stderr.read()
    assert process.wait() == 6, rest
    line = rest.splitlines()[-1]
    assert line.startswith("freelunch: ") and "the same command goes on" in line, rest
    assert not run.folder.exists()
    repair(copied, model)
    run.finish()
    assert run.digest() == disk.undisturbed


@pytest.fixture
def readable_folder():
    """A folder that every user may enter, unlike those of tmp_path."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield pathlib.Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run the command as somebody else")
def test_an_output_folder_of_another_user_is_refused_in_one_line(model, train_text, readable_folder):
    shutil.copytree(model, readable_folder / "dense")
    shutil.copy(train_text, readable_folder / "train.txt")
    locked = readable_folder / "locked"
    locked.mkdir(mode=0o700)
    request = [*arguments(readable_folder / "dense", readable_folder / "train.txt"), "--output", locked / "out"]
    try:
        result = subprocess.run([command(), *map(str, request)], user=65534, capture_output=True, text=True)
    except PermissionError:
        pytest.skip("another user cannot run the command from its folder")
    if "error while loading" in result.stderr:
        pytest.skip("another user cannot load LibTorch from its folder")
    assert result.returncode == 6 and result.stderr.count("\n") == 1, result
    assert "ermission denied" in result.stderr and "locked" in result.stderr, result.stderr
