"""Runs that are killed and resumed: starts the command, kills it when its journal has grown, compares the results."""
import pathlib
import shutil
import signal
import subprocess
import time

from freelunch_command import digest


class Run:
    """One command line whose output is `folder`, run any number of times.

    prefix: a program that starts the command in another mount namespace; seen_at: the folder's path from outside it.
    """

    def __init__(self, command, arguments, folder, prefix=(), seen_at=None):
        self.command = [*map(str, prefix), str(command), *map(str, arguments), "--output", str(folder)]
        self.folder = pathlib.Path(seen_at or folder)
        self.work = self.folder.with_name(self.folder.name + ".partial")
        self.journal = self.work / "journal.jsonl"

    def discard(self):
        """Removes the output and the staging folder; returns itself."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.work, ignore_errors=True)
        return self

    def lines(self):
        """How many records the journal holds."""
        try:
            return self.journal.read_bytes().count(b"\n")
        except FileNotFoundError:
            return 0

    def start(self, *more):
        return subprocess.Popen([*self.command, *map(str, more)], stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True)

    def start_and_wait_for(self, records, *more):
        """Returns the running process once the journal has so many records. It must not end before."""
        process = self.start(*more)
        while self.lines() < records:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.0005)
        return process

    def finish(self, *more, code=0):
        """Runs to its end; returns standard error."""
        result = subprocess.run([*self.command, *map(str, more)], capture_output=True, text=True)
        assert result.returncode == code, f"exit {result.returncode}, expected {code}\n{result.stderr}"
        return result.stderr

    def kill_when(self, reached, number=signal.SIGKILL):
        """Starts it and sends the signal as soon as `reached()` holds. False if it ended before that."""
        process = self.start()
        while process.poll() is None and not reached():
            time.sleep(0.0005)
        if process.poll() is None:
            process.send_signal(number)
        rest = process.stderr.read()
        code = process.wait()
        assert code in (0, -number, 130), rest
        return code != 0

    def kill_at(self, records):
        """Starts it and kills it as soon as its journal has so many records. False if it ended before that."""
        return self.kill_when(lambda: self.lines() >= records)

    def die_every(self, records):
        """Kills it each time that its journal has grown by so many records, until it ends. Returns how often."""
        deaths = 0
        while True:
            before = self.lines()
            if not self.kill_at(before + records):
                return deaths
            deaths += 1
            assert not self.folder.exists(), "a part of an output folder"
            assert deaths < 1000

    def digest(self):
        """SHA-256 of the model of a finished run."""
        assert self.folder.exists() and not self.work.exists()
        return digest(self.folder)
