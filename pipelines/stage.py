"""How a stage's file is run: its one line of summary, and its one line of error."""

import os
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import yaml

from reprolens.errors import GateError, ReprolensError
from reprolens.parent import die_with_parent

# GNU OpenMP's idle threads spin, by default for milliseconds, which starves the working ones beside a busy process.
# Hardly spinning, they take long to wake. On two cores a training step of the default, ms, and one picture:
#   spins    quiet        beside a busy process
#   1,000    634   42     1103    38
#   6,000    576   18     1272    79
#   default  536   17     3902   292
# It is read when torch is loaded, so it is set before that.
os.environ.setdefault("GOMP_SPINCOUNT", "6000")

ROOT = Path(__file__).resolve().parents[1]
"""The repository; every stage runs here, whatever folder it was started from."""


def run(main: Callable[[], str], argv: list[str] | None = None, restore: str | None = None) -> None:
    """Run a stage and print the line it returns, if it has something to say.

    A user's error ends in one line and exit status 2; `--debug` shows where it was raised. The stage named `restore`
    gets its last good outputs back when it fails, which DVC removes before it runs a stage.
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
        if not isinstance(error, GateError):  # whose rejected files a checkout would put away
            _tell_of_earlier(restore)
        _record(error)
        raise SystemExit(2) from None
    except Exception as error:
        traceback.print_exc()
        _tell_of_earlier(restore)
        _record(error)
        raise SystemExit(1) from None


def _tell_of_earlier(restore: str | None) -> None:
    """Say where the last good results are, once those of the stage to restore are back in their place."""
    if "DVC_ROOT" not in os.environ:
        return
    if restore is not None and _has_results(Path("dvc.lock"), restore):
        # DVC leaves its lock to others while a stage runs. `persist: true` would keep the outputs in their place, but
        # such a stage has no run-cache, so that every trial of a sweep would convert anew.
        command = [sys.executable, "-m", "dvc", "checkout", "--quiet", restore]
        if subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
            print("The results of the last good run are in their place.", file=sys.stderr)
            return
    print("Earlier results are safe in DVC's cache: `dvc checkout` puts them back.", file=sys.stderr)


def _has_results(lock: Path, stage: str) -> bool:
    """Return whether DVC's lock knows results of a stage."""
    return lock.exists() and stage in (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {})


def _record(error: Exception) -> None:
    """Let the dashboard show a failure too, once the user has been told."""
    if os.environ.get("RANK", "0") == "0":  # of several processes of a training the first
        from reprolens.tracking.failure import record_failure

        sys.stderr.flush()
        record_failure(Path(), Path(sys.argv[0]).stem, error)
