"""Runs that die and go on: starts the command, kills it where its journal says it is, and compares what comes out."""
import hashlib
import pathlib
import signal
import subprocess
import time


class Run:
    """One command line whose output is `folder`, run any number of times."""

    def __init__(self, command, arguments, folder):
        self.command = [str(command), *map(str, arguments), "--output", str(folder)]
        self.folder = pathlib.Path(folder)
        self.work = self.folder.with_name(self.folder.name + ".partial")
        self.journal = self.work / "journal.jsonl"

    def lines(self):
        """How many records the journal holds."""
        try:
            return self.journal.read_bytes().count(b"\n")
        except FileNotFoundError:
            return 0

    def start(self, *more):
        return subprocess.Popen([*self.command, *map(str, more)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def finish(self, *more, code=0):
        """Runs to its end; returns standard error."""
        result = subprocess.run([*self.command, *map(str, more)], capture_output=True, text=True)
        assert result.returncode == code, f"exit {result.returncode}, expected {code}\n{result.stderr}"
        return result.stderr

    def kill_when(self, reached, number=signal.SIGKILL):
        """Starts it and sends the signal as soon as `reached()` holds. False: it came to its end before that."""
        process = self.start()
        while process.poll() is None and not reached():
            time.sleep(0.0005)
        if process.poll() is None:
            process.send_signal(number)
        rest = process.stderr.read()
        code = process.wait()
        assert code in (0, -number, 130), rest
        return code != 0

    def die_every(self, records):
        """Kills it each time that its journal has grown by so many records, until it gets through. Returns how often."""
        deaths = 0
        while True:
            before = self.lines()
            if not self.kill_when(lambda: self.lines() >= before + records):
                return deaths
            deaths += 1
            assert not self.folder.exists(), "a part of an output folder"
            assert deaths < 1000

    def digest(self):
        assert self.folder.exists() and not self.work.exists()
        return hashlib.sha256((self.folder / "model.safetensors").read_bytes()).hexdigest()
