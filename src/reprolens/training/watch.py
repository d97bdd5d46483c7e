"""What is watched between steps: the clock, the time for a checkpoint, and signals that ask to stop."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch

from reprolens.config import Trainer
from reprolens.errors import StoppedError, TrainingError
from reprolens.training.checkpoint import save_checkpoint
from reprolens.training.hardware import Hardware
from reprolens.training.interruption import Interruption, noted_signals
from reprolens.training.state import Run, capture


class Watch:
    """The watch over one sitting of a run. Of several processes each decides what all have decided."""

    def __init__(
        self, run: Run, trainer: Trainer, hardware: Hardware, folder: Path | None, interruption: Interruption
    ) -> None:
        self._run, self._trainer, self._hardware, self._folder = run, trainer, hardware, folder
        self._interruption = interruption
        self._began = time.monotonic() - run.progress.seconds
        self._saved_at, self._saved_step = time.monotonic(), run.progress.step

    def seconds(self) -> float:
        """Return the seconds of training so far, over all sittings."""
        return time.monotonic() - self._began

    def time_is_over(self) -> bool:
        """Return whether `trainer.max_minutes` have passed."""
        limit = self._trainer.max_minutes
        return limit is not None and bool(self._most(self.seconds() >= limit * 60))

    def save_if_due(self) -> None:
        """Save a checkpoint if it is time to, or if a signal came; that one then ends the run with StoppedError.

        Of several processes the first one raises it, the others end quietly with its status.
        """
        asked = self._most(2 if self._interruption.received else int(self._is_due()))
        if asked:
            self.save()
        if asked == 2 and not self._run.accelerator.is_main_process:
            raise SystemExit(2)  # the first process says it for all
        if asked == 2:
            at = f"stopped by {self._interruption.received or 'a signal to another process'}"
            kept = "the same command goes on from there" if self._folder else "nothing was kept"
            raise StoppedError(f"{at} at step {self._run.progress.step}; {kept}")

    def save(self) -> None:
        """Save a checkpoint, where there is a folder for it."""
        if self._folder is None:
            return
        self._run.progress.seconds = self.seconds()
        content = capture(self._run) | {"hardware": asdict(self._hardware) | {"device": str(self._hardware.device)}}
        if self._run.accelerator.is_main_process:
            save_checkpoint(self._folder, self._run.progress.step, content)
        self._saved_at, self._saved_step = time.monotonic(), self._run.progress.step

    @contextmanager
    def loader_failures(self, between_steps: bool = True) -> Iterator[None]:
        """Raise TrainingError where a process that loads pictures has died.

        If a signal was why, a checkpoint is saved before; between steps only, where there is something whole to save.
        """
        try:
            yield
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            if between_steps:
                self.save_if_due()
            elif self._interruption.received:
                at = f"stopped by {self._interruption.received} while validating"
                raise StoppedError(f"{at}; the same command goes on from the last checkpoint") from None
            reason = str(error).splitlines()[0]
            raise TrainingError(f"trainer.workers: a process that loads pictures died ({reason}); try fewer") from None

    def total(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Return sums over all processes."""
        accelerator = self._run.accelerator
        if accelerator.num_processes == 1:
            return dict(sums)
        values = torch.tensor(list(sums.values()), dtype=torch.float64, device=accelerator.device)
        return dict(zip(sums, accelerator.reduce(values, "sum").tolist(), strict=True))

    def _is_due(self) -> bool:
        steps, minutes = self._trainer.checkpoint_steps, self._trainer.checkpoint_minutes
        by_steps = steps is not None and self._run.progress.step - self._saved_step >= steps
        return by_steps or (minutes is not None and time.monotonic() - self._saved_at >= minutes * 60)

    def _most(self, value: int) -> int:
        """Return the greatest value that any process has."""
        accelerator = self._run.accelerator
        if accelerator.num_processes == 1:
            return value
        return int(accelerator.gather(torch.tensor([value], device=accelerator.device)).max())


@contextmanager
def watched(run: Run, trainer: Trainer, hardware: Hardware, folder: Path | None) -> Iterator[Watch]:
    """Watch over a sitting of `run`, whose checkpoints go to `folder`; say where it goes on if it does."""
    with noted_signals() as interruption:
        if run.progress.step and run.accelerator.is_main_process:
            print(f"train: goes on at step {run.progress.step}, epoch {run.progress.epoch}", file=sys.stderr)
        yield Watch(run, trainer, hardware, folder, interruption)
