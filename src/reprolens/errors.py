"""The errors a user can cause: one clear line each, saying what, where and what to do.

The library raises them; only `pipelines` and the command line turn them into a line and exit status 2.
"""

import difflib
from collections.abc import Iterable


class ReprolensError(Exception):
    """Base of every error that a user can cause."""


class ConfigError(ReprolensError):
    """The configuration is wrong: an unknown key, a wrong type, a choice that does not exist."""


class DataError(ReprolensError):
    """A data set, or a file in it, is missing, damaged or of another kind."""


class WeightsError(ReprolensError):
    """Weights cannot be had, are damaged, or do not fit the model."""


class TrainingError(ReprolensError):
    """Training cannot start or cannot go on."""


class StoppedError(TrainingError):
    """Training was told to stop by a signal; the same command goes on with it."""


class ExportError(ReprolensError):
    """A model cannot be exported, or the exported model is not as good as the trained one."""


class GateError(ExportError):
    """An exported file is not as good as the trained model; it is kept, to be looked at."""


class TrackingError(ReprolensError):
    """The run cannot be published."""


class SweepError(ReprolensError):
    """A sweep cannot start or go on, or one of its trials cannot be had."""


def suggest(name: str, valid: Iterable[str]) -> str:
    """Return the end of an error line: the valid names nearest to `name`, or all of them where none is near."""
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"valid: {', '.join(names)}" if names else "nothing is valid here"


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind if it says nothing."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
