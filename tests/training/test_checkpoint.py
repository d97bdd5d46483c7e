"""Checkpoints on the disk: whole, the last two, the newest first; damage, a full disk and other writers do no harm."""

import multiprocessing
import os
import pickle
import random
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reprolens.errors import TrainingError
from reprolens.files import sha256
from reprolens.training.checkpoint import discard_checkpoints, discard_oldest, load_checkpoint, locked, save_checkpoint

FORK = multiprocessing.get_context("fork")  # real processes, without the seconds that importing torch takes


def _content(seed: int = 1) -> dict[str, Any]:
    tensors = torch.Generator().manual_seed(seed)
    picture = torch.randn(2, 3, 5, 4, generator=tensors)
    return {
        "model": {"plain": picture, "strided": picture.clone().to(memory_format=torch.channels_last)},
        "kinds": [torch.tensor(3), torch.ones(2, dtype=torch.bfloat16), torch.empty(0, 4)],
        "random": random.Random(seed).getstate(),
        "progress": {"best_metric": -float("inf"), "rows": [{"epoch": 1, "loss": 0.1}], "note": None, "done": False},
    }


def _save(folder: Path, *steps: int) -> list[Path]:
    """Save a checkpoint a step, whose content says its place in the series, and return the files still there."""
    for place, step in enumerate(steps):
        assert save_checkpoint(folder, step, {"place": place, "tensor": torch.full((3000,), float(place))})
    return sorted(folder.glob("step-*.pt"), key=lambda path: path.stat().st_mtime_ns)


def _place(folder: Path) -> int | None:
    content = load_checkpoint(folder)
    return None if content is None else content["place"]


@contextmanager
def _files_at_most(size: int) -> Iterator[None]:
    """Let the system refuse every write beyond so many bytes, as a full disk does, but for this process alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))  # Python ignores the signal, so write() fails
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_is_saved_comes_back_bit_by_bit(tmp_path: Path) -> None:
    content = _content()
    assert save_checkpoint(tmp_path, 7, content)
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert (loaded["random"], loaded["progress"]) == (content["random"], content["progress"])
    pairs = [*zip(loaded["kinds"], content["kinds"], strict=True)]
    pairs += [(loaded["model"][name], value) for name, value in content["model"].items()]
    for value, expected in pairs:
        assert (value.dtype, value.shape, value.stride()) == (expected.dtype, expected.shape, expected.stride())
        assert torch.equal(value, expected)
    generator = random.Random()
    generator.setstate(loaded["random"])
    assert generator.random() == random.Random(1).random()


def test_the_name_holds_the_step_and_the_digest_of_the_bytes(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 42, _content())
    [path] = tmp_path.glob("step-*.pt")
    assert path.name == f"step-00000042-{sha256(path)[:16]}.pt"


def test_the_last_two_are_kept_and_the_newest_is_taken(tmp_path: Path) -> None:
    kept = _save(tmp_path, 2, 4, 6, 8)
    assert [path.name.split("-")[1] for path in kept] == ["00000006", "00000008"]
    assert _place(tmp_path) == 3


def test_of_two_with_the_same_step_the_later_one_is_taken(tmp_path: Path) -> None:
    for folder in (tmp_path / str(number) for number in range(8)):  # their names are in any order
        folder.mkdir()
        _save(folder, 4, 4)
        assert _place(folder) == 1


def test_age_decides_not_the_number_of_the_step(tmp_path: Path) -> None:
    _save(tmp_path, 100_000_000, 99)
    assert _place(tmp_path) == 1


def test_a_clock_that_is_set_back_does_not_make_the_newest_the_oldest(tmp_path: Path) -> None:
    tomorrow = time.time_ns() + 86_400 * 10**9
    for path in _save(tmp_path, 1, 2):
        os.utime(path, ns=(tomorrow, tomorrow))
    _save(tmp_path, 3, 4)
    assert _place(tmp_path) == 1
    assert len(list(tmp_path.glob("step-0000000[34]-*.pt"))) == 2


def test_the_same_content_saved_again_leaves_the_one_before_it(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, {"place": 0})
    for _ in range(3):
        save_checkpoint(tmp_path, 2, {"place": 1})
    assert len(list(tmp_path.glob("step-*.pt"))) == 2
    assert _place(tmp_path) == 1


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("damage", [_flip, _truncate, _empty])
def test_a_damaged_one_is_named_and_the_one_before_it_taken(
    damage: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, newest = _save(tmp_path, 1, 2)
    stamp = newest.stat()
    damage(newest)
    os.utime(newest, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert _place(tmp_path) == 0
    [line] = capsys.readouterr().err.splitlines()
    assert str(newest) in line
    assert "damaged" in line
    damage(before)
    assert load_checkpoint(tmp_path) is None


def test_any_flipped_bit_is_seen(tmp_path: Path) -> None:
    [path] = _save(tmp_path, 1)
    whole = path.read_bytes()
    for bit in random.Random(1).sample(range(8 * len(whole)), 50):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        assert load_checkpoint(tmp_path) is None, bit
    path.write_bytes(whole)
    assert _place(tmp_path) == 0


def test_a_folder_without_any_gives_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    assert load_checkpoint(tmp_path / "absent") is None


def test_leftovers_of_killed_writers_are_never_taken_and_removed_by_the_next_owner(tmp_path: Path) -> None:
    _save(tmp_path, 1, 2)
    (tmp_path / ".step-abc.tmp").write_bytes(b"half")
    assert _place(tmp_path) == 1
    with locked(tmp_path):
        assert list(tmp_path.glob(".*")) == []


def test_a_full_disk_leaves_the_ones_before_usable_and_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _save(tmp_path, 1, 2)
    with _files_at_most(5000):  # in the middle of the file
        assert not save_checkpoint(tmp_path, 3, {"place": 2, "tensor": torch.zeros(3000)})
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {tmp_path}: no checkpoint at step 3 (")
    assert line.endswith("training goes on")
    assert sorted(tmp_path.iterdir()) == sorted(before)
    assert _place(tmp_path) == 1
    assert save_checkpoint(tmp_path, 4, {"place": 3})
    assert _place(tmp_path) == 3


def test_a_folder_that_vanished_is_said_and_does_not_stop_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not save_checkpoint(tmp_path / "absent", 1, {"place": 0})
    assert "training goes on" in capsys.readouterr().err


class _Opener:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)

    def __init__(self, path: Path) -> None:
        self.path = path


def test_nothing_but_tensors_and_plain_values_is_unpickled(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, {"place": _Opener(tmp_path / "made")})
    with pytest.raises(pickle.UnpicklingError):
        load_checkpoint(tmp_path)
    assert not (tmp_path / "made").exists()
    save_checkpoint(tmp_path, 2, {"place": np.float64(1)})
    with pytest.raises(pickle.UnpicklingError):  # so a numpy number in a history's row would be lost: none may be there
        load_checkpoint(tmp_path)


def test_discarding_removes_the_folder_and_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    _save(folder, 1, 2)
    for _ in range(2):
        discard_checkpoints(folder)
    assert list(tmp_path.iterdir()) == []


def _hold(folder: Path, answer: Any, with_child: bool) -> None:
    """Hold the lock of a folder until killed, with or without a child, as a loader process is one; answer its id."""
    os.setsid()
    with locked(folder):
        child = os.fork() if with_child else None
        if child != 0:
            answer.send(child)
        time.sleep(60)


@contextmanager
def _owner(folder: Path, with_child: bool = False) -> Iterator[tuple[Any, int | None]]:
    """Run another process that holds the lock of a folder; give it and its child's id. Both are killed in the end."""
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=_hold, args=(folder, theirs, with_child))
    process.start()
    try:
        yield process, ours.recv()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    with _owner(tmp_path / "run") as (process, _):
        refusal = f"process {process.pid} is training just this"
        with pytest.raises(TrainingError, match=refusal), locked(tmp_path / "run"):
            pass
        process.kill()
        process.join()
        with locked(tmp_path / "run"):
            assert (tmp_path / "run" / "lock").read_text() == f"{os.getpid()}\n"


def test_children_that_outlive_a_killed_owner_do_not_hold_the_lock(tmp_path: Path) -> None:
    with _owner(tmp_path / "run", with_child=True) as (process, child):
        process.kill()
        process.join()
        os.kill(child or 0, 0)  # it lives
        with locked(tmp_path / "run"):
            pass


def _try(folder: Path, answer: Any) -> None:
    try:
        with locked(folder):
            answer.send("locked")
    except TrainingError as error:
        answer.send(str(error))


def test_the_lock_is_free_again_after_a_training_ends_or_fails(tmp_path: Path) -> None:
    def asked() -> str:
        ours, theirs = FORK.Pipe()
        other = FORK.Process(target=_try, args=(tmp_path, theirs))
        other.start()
        other.join()
        return ours.recv()

    refusal = f"process {os.getpid()} is training just this"
    with locked(tmp_path):
        assert refusal in asked()
        with pytest.raises(TrainingError, match=refusal), locked(tmp_path):
            pass
        assert refusal in asked()  # even that has not given the lock up
    assert asked() == "locked"
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    assert asked() == "locked"


def test_of_unfinished_runs_the_latest_are_kept_and_those_that_are_trained(tmp_path: Path) -> None:
    runs = [tmp_path / name for name in "abcde"]
    for age, run in enumerate(runs):
        with locked(run):
            _save(run, 1)
        os.utime(run, (age, age))
    with locked(runs[0]), _owner(runs[1]):  # in this process, and in another one
        for age, run in enumerate(runs):
            os.utime(run, (age, age))
        discard_oldest(tmp_path, 2)
        assert sorted(tmp_path.iterdir()) == [runs[0], runs[1], runs[3], runs[4]]
    assert _place(runs[0]) == 0
