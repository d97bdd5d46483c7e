"""Places on a machine: every process finds one of its own, all cores are used, and death frees a place."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprolens.errors import SweepError
from reprolens.sweeps.slots import Slot, environment, share, side_by_side, slot, usable_cores, visible_gpus

HOLDER = """
import sys, time
from pathlib import Path
from reprolens.sweeps.slots import slot
with slot(Path(sys.argv[1]), int(sys.argv[2])) as place:
    print(place.number, flush=True)
    sys.stdin.readline()
"""

COMPETITOR = """
import os, sys, time
from pathlib import Path
from reprolens.sweeps.slots import slot
folder = Path(sys.argv[1])
for _ in range(5):
    with slot(folder / "places", 2) as place:
        mark = folder / f"taken-{place.number}"
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))  # fails where another is in the same place
        time.sleep(0.01)
        mark.unlink()
"""

WHOLE = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa1111-0000)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb2222-0000)
"""
DIVIDED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa1111-0000)
  MIG 1g.5gb      Device  0: (UUID: MIG-cccc3333-0000)
  MIG 1g.5gb      Device  1: (UUID: MIG-dddd4444-0000)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb2222-0000)
"""


@contextmanager
def holder(folder: Path, workers: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Let another process hold a place; yield it and the place's number."""
    command = [sys.executable, "-c", HOLDER, str(folder), str(workers)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


@given(items=st.lists(st.integers(), unique=True, min_size=1, max_size=200), workers=st.integers(1, 64))
def test_shares_are_disjoint_and_even_and_use_all(items: list[int], workers: int) -> None:
    shares = [share(items, workers, number) for number in range(workers)]
    sizes = [len(part) for part in shares]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1
    if workers <= len(items):
        assert [item for part in shares for item in part] == items
    else:
        counts = [sum(item in part for part in shares) for item in items]
        assert max(counts) - min(counts) <= 1
        assert min(counts) >= 1


@given(workers=st.integers(1, 8))
def test_nobody_gets_a_share_of_nothing(workers: int) -> None:
    assert all(list(share([], workers, number)) == [] for number in range(workers))


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_places_of_one_process_are_numbered_and_use_all_its_cores(tmp_path: Path, workers: int) -> None:
    with ExitStack() as stack:
        places = [stack.enter_context(slot(tmp_path, workers)) for _ in range(workers)]
    assert [place.number for place in places] == list(range(workers))
    assert set().union(*(place.cores for place in places)) == set(usable_cores())
    if workers <= len(usable_cores()):
        assert sum(len(place.cores) for place in places) == len(usable_cores())


def test_a_place_left_is_the_next_one_taken(tmp_path: Path) -> None:
    with slot(tmp_path, 3) as first:
        pass
    with slot(tmp_path, 3) as second:
        assert first == second
        assert second.number == 0


def test_places_follow_the_affinity_of_the_process(tmp_path: Path) -> None:
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        with slot(tmp_path, 2) as first, slot(tmp_path, 2) as second:
            assert first.cores == second.cores == {min(cores)}
    finally:
        os.sched_setaffinity(0, cores)


def test_threads_of_one_process_never_share_a_place(tmp_path: Path) -> None:
    inside: set[int] = set()
    clashes = []

    def work() -> None:
        for _ in range(20):
            with slot(tmp_path, 2) as place:
                if place.number in inside:
                    clashes.append(place.number)
                inside.add(place.number)
                time.sleep(0.001)
                inside.discard(place.number)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not clashes


def test_a_second_thread_does_not_give_up_the_place_of_the_first(tmp_path: Path) -> None:
    """Closing a file gives up all locks of the process on it."""

    def look() -> None:
        with slot(tmp_path, 2) as place:
            assert place.number == 1

    with slot(tmp_path, 2):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        with holder(tmp_path, 2) as (_, number):
            assert number == 1


def test_processes_compete_for_places_without_sharing_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COMPETITOR, str(tmp_path)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    errors = [process.communicate()[1] for process in processes]
    assert errors == [""] * 4


def test_a_killed_holder_leaves_its_place_free(tmp_path: Path) -> None:
    with holder(tmp_path, 1) as (process, number):
        assert number == 0
        waiting = threading.Thread(target=_enter, args=(tmp_path,))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()  # the only place is taken
        process.send_signal(signal.SIGKILL)
        waiting.join(5)
        assert not waiting.is_alive()


def _enter(folder: Path) -> None:
    with slot(folder, 1):
        pass


def test_a_child_process_does_not_keep_its_parents_place(tmp_path: Path) -> None:
    with slot(tmp_path, 1):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(20)"], close_fds=False)
    try:
        with holder(tmp_path, 1) as (_, number):
            assert number == 0
    finally:
        child.kill()
        child.wait()


def test_a_place_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="of the trial"), slot(tmp_path, 1):
        raise OSError("of the trial")
    with slot(tmp_path, 1) as place:
        assert place.number == 0


def test_a_folder_that_cannot_be_written_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SweepError, match=r"file/places: no place for a trial"), slot(tmp_path / "file" / "places", 1):
        pass


def test_no_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="at least 1"), slot(tmp_path, 0):
        pass


def test_environment_keeps_what_the_user_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    values = environment(Slot(0, frozenset({2, 3, 5}), "1,2"))
    assert values["OMP_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS" not in values
    assert values["CUDA_VISIBLE_DEVICES"] == "1,2"
    assert "CUDA_VISIBLE_DEVICES" not in environment(Slot(0, frozenset({0}), None))


@pytest.mark.parametrize(
    ("allowed", "listing", "expected"),
    [
        (None, None, []),
        (None, WHOLE, ["GPU-aaaa1111-0000", "GPU-bbbb2222-0000"]),
        (None, DIVIDED, ["MIG-cccc3333-0000", "MIG-dddd4444-0000", "GPU-bbbb2222-0000"]),
        ("", WHOLE, []),
        ("-1", WHOLE, []),
        ("NoDevFiles", WHOLE, []),  # what Slurm writes where a job asked for none
        ("1", WHOLE, ["1"]),
        ("1, 0", WHOLE, ["1", "0"]),
        ("0,1,2,3,4,5,6,7", WHOLE, ["0", "1"]),
        ("0,-1,1", WHOLE, ["0"]),
        ("GPU-bbbb", WHOLE, ["GPU-bbbb"]),
        ("GPU-eeee,0", WHOLE, []),
        ("MIG-dddd4444-0000", DIVIDED, ["MIG-dddd4444-0000"]),
        ("0,1", None, ["0", "1"]),
    ],
)
def test_gpus_are_those_that_cuda_would_show(allowed: str | None, listing: str | None, expected: list[str]) -> None:
    assert visible_gpus(allowed, listing) == expected


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that puts an nvidia-smi of the same answer on the path."""

    def put(answer: str) -> None:
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}END\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return put


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        (1, ["GPU-aaaa1111-0000,GPU-bbbb2222-0000"]),
        (2, ["GPU-aaaa1111-0000", "GPU-bbbb2222-0000"]),
        (3, ["GPU-aaaa1111-0000", "GPU-bbbb2222-0000", "GPU-aaaa1111-0000"]),
    ],
)
def test_places_share_the_gpus(smi: Callable[[str], None], tmp_path: Path, workers: int, expected: list[str]) -> None:
    smi(WHOLE)
    with ExitStack() as stack:
        assert [stack.enter_context(slot(tmp_path, workers)).gpus for _ in range(workers)] == expected


def test_trials_side_by_side_are_what_the_launcher_says() -> None:
    cores = len(usable_cores())
    assert side_by_side({"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}) == 1
    assert side_by_side({"n_jobs": 3}) == 3
    assert side_by_side({"n_jobs": -1}) == cores
    assert side_by_side({"n_jobs": -1000}) == 1
    assert side_by_side({"cpus_per_task": 1}) == cores
    assert side_by_side({"cpus_per_task": 10 * cores}) == 1
    assert side_by_side({"cpus_per_task": None}) == 1
    assert side_by_side({"ray": {"init": {}, "remote": {"num_cpus": 0.5}}}) == 2 * cores
    assert side_by_side({"ray": {"init": {}, "remote": {}}}) == 1


def test_even_parts_follow_each_other() -> None:
    parts = [share(range(10), 3, number) for number in range(3)]
    assert all(left[-1] + 1 == right[0] for left, right in pairwise(parts))
