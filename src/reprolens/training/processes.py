"""Several processes of one training (DDP): who is who, how they start, and how they agree."""

import logging
import os
import sys
from typing import TypeVar

from reprolens.errors import TrainingError

T = TypeVar("T")


def place() -> tuple[int, int]:
    """Return this process's rank and how many there are, as torchrun and accelerate's launcher say."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def launch(module: str, processes: int) -> bool:
    """Run `python -m module` in that many processes of this machine, and return whether it was necessary.

    It is not for one process, nor in a process that a launcher has started. Where one ends with a user's error, which
    it has said itself, or a signal stops them, this process ends with status 2; raises TrainingError if one crashes.
    """
    if processes == 1 or "RANK" in os.environ:
        return False
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)  # its report repeats what the processes say
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=str(os.getpid()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", module)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode == 2:
            raise SystemExit(2) from None
        raise TrainingError(f"process {rank} of {processes} ended with status {failure.exitcode}") from None
    except SignalException:  # passed on to the processes, which have saved a checkpoint
        raise SystemExit(2) from None
    finally:
        logging.disable(logging.NOTSET)
    return True


def agreed(value: T, cpu: bool) -> T:
    """Return the first process's value in all of them."""
    if place()[1] == 1:
        return value
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    PartialState(cpu=cpu)
    box = [value]
    broadcast_object_list(box)
    return box[0]
