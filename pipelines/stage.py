"""How a stage's file is run: its one line of summary, and its one line of error."""

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from reprolens.errors import ReprolensError
from reprolens.parent import die_with_parent

# GNU OpenMP's idle threads spin; beside any other busy process that starves the working ones (measured: a tenth of the
# speed). A short spin costs nothing on a quiet machine. It is read when torch is loaded, so it is set before that.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

ROOT = Path(__file__).resolve().parents[1]
"""The repository; every stage runs here, whatever folder it was started from."""


def run(main: Callable[[], str], argv: list[str] | None = None) -> None:
    """Run a stage and print the line it returns, if it has something to say.

    A user's error ends in one line and exit status 2; `--debug` shows where it was raised.
    """
    argv = sys.argv[1:] if argv is None else argv
    if unknown := [argument for argument in argv if argument != "--debug"]:
        print(
            f"unknown argument {unknown[0]!r}; a stage takes --debug only, its knobs are in params.yaml",
            file=sys.stderr,
        )
        raise SystemExit(2)
    if "DVC_ROOT" in os.environ:
        die_with_parent()  # whoever kills DVC must not leave a training behind that a second one would run beside
    os.chdir(ROOT)
    warnings.filterwarnings("ignore", module=r"(torch|torchvision|onnxscript|accelerate|copyreg)")
    try:
        if line := main():
            print(line)
    except ReprolensError as error:
        if "--debug" in argv:
            raise
        print(f"error: {error}", file=sys.stderr)
        if "DVC_ROOT" in os.environ:  # DVC removes a stage's outputs before it runs the stage
            print("Earlier results are safe in DVC's cache: `dvc checkout` puts them back.", file=sys.stderr)
        _record(error)
        raise SystemExit(2) from None
    except Exception as error:
        traceback.print_exc()
        _record(error)
        raise SystemExit(1) from None


def _record(error: Exception) -> None:
    """Let the dashboard show a failure too, once the user has been told."""
    if os.environ.get("RANK", "0") == "0":  # of several processes of a training the first
        from reprolens.tracking.failure import record_failure

        sys.stderr.flush()
        record_failure(Path(), Path(sys.argv[0]).stem, error)
