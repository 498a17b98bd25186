"""A full disk, a read-only folder, files that vanish or shrink: one line, exit 6, no output; the same command goes on afterwards.

Mounts small file systems in a namespace of its own; where that is not allowed the test is skipped.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import tiny_model
from resume import Run

command = sys.argv[1]
NAMESPACE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]

if sys.argv[-1] != "--inside":
    if subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", tempfile.gettempdir()], capture_output=True).returncode != 0:
        print("skipped: mounting a tmpfs is not allowed here")
        sys.exit(77)
    sys.exit(subprocess.run([*NAMESPACE, sys.executable, __file__, command, "--inside"]).returncode)


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


def refusal(run, *named):
    """Exit 6 with one line that names these, and no output."""
    line = [line for line in run.finish(code=6).splitlines() if line.startswith("freelunch: ")]
    assert len(line) == 1 and all(name in line[0] for name in named), line
    assert not run.folder.exists(), "a part of an output folder"
    return line[0]


with tempfile.TemporaryDirectory() as temporary:
    base = pathlib.Path(temporary)
    tiny_model.make(base / "dense", num_hidden_layers=3, vocab_size=6000)
    (base / "train.txt").write_text(tiny_model.text(6000))
    compress = lambda model: ["compress", model, "--calibration", base / "train.txt", "--samples", 8, "--length", 32, "--held-out", 2, "--repair", "solve,sublayer",
                              "--compute", "fp32", "--threads", 2]
    disk = base / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", disk)

    run = Run(command, compress(base / "dense"), disk / "out")
    run.finish()
    undisturbed = run.digest()
    shutil.rmtree(run.folder)
    whole = 0  # of the staging folder shortly before the end
    run.kill_when(lambda: run.lines() >= 14)
    whole = shutil.disk_usage(disk).used
    shutil.rmtree(run.work)
    print(f"the work of an undisturbed run takes {whole // 1024} KB")

    # full at every sixteenth of what the run needs: at the journal, the scratch file, the output
    full = 0
    for sixteenths in range(1, 17, 3 if "--slow" not in sys.argv else 1):
        mount("-o", f"remount,size={whole * sixteenths // 16 // 4096 * 4096 + 4096}", disk)
        line = refusal(run, "No space left" if sixteenths < 12 else "", "out")
        full += 1
        mount("-o", "remount,size=64m", disk)
        assert ("goes on" in line) == (run.lines() > 2), line
        if sixteenths % 2 == 0:
            run.finish()
            assert run.digest() == undisturbed
        shutil.rmtree(run.folder, ignore_errors=True)
        shutil.rmtree(run.work, ignore_errors=True)
    print(f"full disk: {full} sizes, one line each, and the same bytes once there is room")

    mount("-o", "remount,ro", disk)
    refusal(run, "Read-only file system")
    mount("-o", "remount,rw,size=64m", disk)

    # the model's folder goes away, or a file shrinks under the map
    for harm, named in (("vanish", "dense"), ("shrink", "input file")):
        model = base / harm
        shutil.copytree(base / "dense", model)
        run = Run(command, compress(model), disk / "out")
        process = run.start()
        while run.lines() < 4:
            assert process.poll() is None, process.stderr.read()
        if harm == "vanish":
            model.rename(base / "elsewhere")
        else:
            os.truncate(model / "model.safetensors", 8192)
        rest = process.stderr.read()
        assert process.wait() == 6, rest
        line = rest.splitlines()[-1]
        assert line.startswith("freelunch: ") and "the same command goes on" in line, rest
        assert not run.folder.exists()
        if harm == "vanish":
            (base / "elsewhere").rename(model)
        else:
            shutil.copy(base / "dense/model.safetensors", model / "model.safetensors")
        run.finish()
        assert run.digest() == undisturbed
        shutil.rmtree(run.folder)
    print("read-only, vanished, shrunk: one line each, exit 6; the same bytes once the files are back")

    # without permission (root may do anything, so as somebody else)
    if os.geteuid() == 0:
        locked = base / "locked"
        locked.mkdir(mode=0o700)
        os.chmod(base, 0o755)
        arguments = [command, *map(str, compress(base / "dense")), "--output", str(locked / "out")]
        try:
            result = subprocess.run(arguments, user=65534, capture_output=True, text=True)
        except PermissionError:
            result = None
        if result is None or "error while loading" in result.stderr:
            print("skipped: another user cannot run the command from here")
        else:
            assert result.returncode == 6 and "ermission denied" in result.stderr and result.stderr.count("\n") == 1, result
            print("no permission: exit 6")
    subprocess.run(["umount", str(disk)], check=True)
