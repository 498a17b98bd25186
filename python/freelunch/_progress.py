"""From the events of a run to a callback, a bar of tqdm or nothing, and to the logger `freelunch`."""
import logging
import sys
from dataclasses import dataclass

LOG = logging.getLogger("freelunch")
LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING)


@dataclass(frozen=True)
class Progress:
    """How far a stage of a run is. `stage` is its name, `unit` what is counted ("regions"), `note` a figure to show."""

    stage: str
    done: int
    total: int
    unit: str
    note: str = ""


class Bars:
    """One bar of tqdm a stage."""

    def __init__(self, tqdm):
        self.tqdm, self.bar = tqdm, None

    def __call__(self, progress):
        if progress.done == 0 or self.bar is None:
            self.close()
            self.bar = self.tqdm(total=progress.total, desc=progress.stage, unit=" " + progress.unit)
        self.bar.update(progress.done - self.bar.n)
        if progress.note:
            self.bar.set_postfix_str(progress.note, refresh=False)

    def close(self):
        if self.bar is not None:
            self.bar.close()
        self.bar = None


def in_notebook():
    """Whether an IPython kernel runs this code."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and "IPKernelApp" in shell.config


def default_progress():
    """Bars in terminals and notebooks, if tqdm is installed."""
    if not (in_notebook() or (sys.stderr is not None and sys.stderr.isatty())):
        return None
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return Bars(tqdm)


class Events:
    """Receives the events of a run. `progress`: a callable, None for the default, False for none."""

    def __init__(self, progress):
        if progress is not None and progress is not False and not callable(progress):
            raise TypeError(f"progress is {type(progress).__name__}, expected a callable, None or False")
        self.callback = default_progress() if progress is None else progress or None
        self.now = None

    def __call__(self, kind, text, number, unit):
        if kind == "log":
            LOG.log(LEVELS[number], text)
            return
        if kind == "begin":
            self.now = Progress(text, 0, number, unit)
        elif kind == "advance" and self.now is not None:
            self.now = Progress(self.now.stage, number, self.now.total, self.now.unit, text)
        elif kind == "end":
            if isinstance(self.callback, Bars):
                self.callback.close()
            self.now = None
            return
        if self.callback is not None and self.now is not None:
            self.callback(self.now)

    def close(self):
        if isinstance(self.callback, Bars):
            self.callback.close()
