"""The cache gives the pixels that would be made without it, from whichever worker or run made them first."""

import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from reprolens.loading.cache import PictureCache

SIZE = (40, 30)
BYTES = 40 * 30 * 3
COUNT = 12


def _picture(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (*size, 3), np.uint8)


def _never() -> np.ndarray:
    raise AssertionError("a picture that is in the cache was made again")


def _cache(path: Path, kind: str = "disk", **changes: Any) -> PictureCache:
    options = {"key": "data", "count": COUNT, "size": SIZE, "limit_mb": 1}
    return PictureCache(kind, path / "side" / "train.pixels", **(options | changes))


def _fill(cache: PictureCache, count: int = COUNT) -> None:
    for index in range(count):
        assert np.array_equal(cache.get(index, lambda index=index: _picture(index)), _picture(index))


def _assert_full(cache: PictureCache) -> None:
    for index in range(COUNT):
        assert np.array_equal(cache.get(index, _never), _picture(index))


class Pictures(Dataset[tuple[int, list[torch.Tensor]]]):
    """The number of the worker, and the picture out of each cache. Each one that is made gets a line in `log`."""

    def __init__(self, caches: list[PictureCache], log: Path) -> None:
        self._caches, self._log = caches, log

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[int, list[torch.Tensor]]:
        def make() -> np.ndarray:
            with self._log.open("a") as file:
                file.write(f"{index}\n")
            return _picture(index)

        worker = get_worker_info()
        pictures = [torch.from_numpy(cache.get(index, make)) for cache in self._caches]
        return (worker.id if worker else -1), pictures


def _assert_workers_share(method: str, path: Path) -> None:
    """Load all pictures twice with two workers, the second time each by the other worker."""
    log = path / "made.log"
    pictures = Pictures([_cache(path, "memory"), _cache(path, "disk")], log)
    order = list(range(COUNT))  # items go to the workers in turn
    loader = DataLoader(
        pictures,
        batch_size=None,
        sampler=order,
        num_workers=2,
        persistent_workers=True,
        multiprocessing_context=method,
    )
    workers: list[dict[int, int]] = []
    for first in (0, 1):
        order[:] = [*range(first, COUNT), *range(first)]
        items = list(zip(order, loader, strict=True))
        expected = {index: torch.from_numpy(_picture(index)) for index in order}
        assert all(torch.equal(picture, expected[index]) for index, (_, found) in items for picture in found)
        workers.append({index: int(worker) for index, (worker, _) in items})
    assert all(workers[0][index] != workers[1][index] for index in range(COUNT))
    assert pictures[0][0] == -1  # this process sees what its workers kept, too
    made = sorted(map(int, log.read_text().split()))
    assert made == sorted([*range(COUNT)] * 2), "a picture was made more than once a cache"


def test_forked_workers_read_what_other_workers_made(tmp_path: Path) -> None:
    _assert_workers_share("fork", tmp_path)


def test_spawned_workers_read_what_other_workers_made(tmp_path: Path) -> None:
    # As a script, because a spawned process must be able to import what it is to run.
    subprocess.run([sys.executable, __file__, str(tmp_path)], check=True)
    assert (tmp_path / "made.log").is_file()


@pytest.mark.parametrize("kind", ["none", "memory", "disk"])
def test_pixels_are_the_same_with_and_without_a_cache_and_the_callers_own(kind: str, tmp_path: Path) -> None:
    cache = _cache(tmp_path, kind)
    for _ in range(3):
        for index in range(COUNT):
            pixels = cache.get(index, lambda index=index: _picture(index))
            assert (pixels.shape, pixels.dtype) == ((*SIZE, 3), np.uint8)
            assert np.array_equal(pixels, _picture(index))
            pixels[:] = 7  # must not reach the cache


def test_a_later_run_reads_the_disk_without_making_a_picture(tmp_path: Path) -> None:
    def earlier_run() -> None:
        _fill(_cache(tmp_path))
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=earlier_run)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    _assert_full(_cache(tmp_path))


@pytest.mark.parametrize(
    "changes", [{"key": "other"}, {"count": COUNT - 1}, {"size": SIZE[::-1]}, {"size": (20, 60)}, {"limit_mb": 0.03}]
)
def test_a_disk_cache_for_something_else_is_not_used_and_is_replaced(changes: dict[str, Any], tmp_path: Path) -> None:
    _fill(_cache(tmp_path))
    size = changes.get("size", SIZE)
    for made in (1, 0):  # the first time it is made, the second time it is there
        calls: list[int] = []
        pixels = _cache(tmp_path, **changes).get(3, lambda calls=calls: (calls.append(3), _picture(3, size))[1])
        assert np.array_equal(pixels, _picture(3, size))
        assert len(calls) == made
    assert [path.name for path in (tmp_path / "side").iterdir()] == ["train.pixels"]


@pytest.mark.parametrize("kind", ["memory", "disk"])
@pytest.mark.parametrize(("limit_mb", "capacity"), [(0, 0), (0.003, 0), (0.0045, 1), (0.02, 5), (1, COUNT)])
def test_only_the_first_pictures_that_fit_are_kept(kind: str, limit_mb: float, capacity: int, tmp_path: Path) -> None:
    cache = _cache(tmp_path, kind, limit_mb=limit_mb)
    assert cache.capacity == capacity
    _fill(cache)
    for index in range(COUNT):
        made: list[int] = []
        cache.get(index, lambda index=index, made=made: (made.append(index), _picture(index))[1])
        assert bool(made) == (index >= capacity)
    if kind == "disk" and capacity:
        assert (tmp_path / "side" / "train.pixels").stat().st_size <= limit_mb * 2**20


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - BYTES)


def _lengthen(path: Path) -> None:
    os.truncate(path, path.stat().st_size + 1)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _lose_pictures(path: Path) -> None:
    """Leave all marks but no pixels, as a crash may where the disk got the file's pages in another order."""
    size = path.stat().st_size
    os.truncate(path, 32 + 8 * COUNT)
    os.truncate(path, size)


def _lose_last_bytes(path: Path) -> None:
    _poke(path, path.stat().st_size - 1)


def _spoil_mark(path: Path) -> None:
    _poke(path, 32 + 8 * 4)


def _spoil_header(path: Path) -> None:
    _poke(path, 5)


def _poke(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [_cut, _lengthen, _empty, _lose_pictures, _lose_last_bytes, _spoil_mark, _spoil_header]
)
def test_a_damaged_file_gives_no_wrong_pixel_and_is_made_whole(damage: Callable[[Path], None], tmp_path: Path) -> None:
    _fill(_cache(tmp_path))
    damage(tmp_path / "side" / "train.pixels")
    _fill(_cache(tmp_path))
    _assert_full(_cache(tmp_path))


def test_no_reader_sees_half_a_picture(tmp_path: Path) -> None:
    size, count = (600, 500), 40

    def write() -> None:
        writer = _cache(tmp_path, size=size, count=count, limit_mb=60)
        for index in range(count):
            writer.get(index, lambda index=index: np.full((*size, 3), index + 1, np.uint8))

    reader = _cache(tmp_path, size=size, count=count, limit_mb=60)
    process = multiprocessing.get_context("fork").Process(target=write)
    process.start()
    seen = 0
    while seen < count:
        pixels = reader._read(seen)  # get() would keep what it makes, and so write itself
        if pixels is None:
            assert process.is_alive() or reader._read(seen) is not None
            continue
        assert (pixels == seen + 1).all()
        seen += 1
    process.join()


def test_a_place_that_cannot_be_written_is_gone_without(tmp_path: Path) -> None:
    (tmp_path / "side").write_text("a file where a folder should be")
    cache = _cache(tmp_path)
    assert cache.capacity == 0
    _fill(cache)


def test_a_full_disk_is_gone_without(tmp_path: Path) -> None:
    def run() -> None:
        # A limit on a file's size fails as a full disk does: some bytes are written, then an error comes.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        cache = _cache(tmp_path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (32 + 8 * COUNT + 5 * BYTES + 17, resource.RLIM_INFINITY))
        _fill(cache)
        _fill(cache)
        for index in range(5):
            assert np.array_equal(cache.get(index, _never), _picture(index))
        assert PictureCache("disk", tmp_path / "new.pixels", "data", COUNT, SIZE, 1).capacity == 0

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["side"]
    _fill(_cache(tmp_path))
    _assert_full(_cache(tmp_path))


@pytest.mark.parametrize("kind", ["none", "memory", "disk"])
def test_a_pickled_cache_is_the_same_cache(kind: str, tmp_path: Path) -> None:
    cache = _cache(tmp_path, kind)
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.capacity == cache.capacity
    _fill(copy)
    if kind != "none":
        _assert_full(cache)


def test_a_cache_leaves_no_open_file_behind(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else None
    if before is None:
        pytest.skip("open files are only listed in /proc")
    for kind in ("memory", "disk"):
        for _ in range(5):
            _fill(_cache(tmp_path, kind))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_picture_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="uint8"):
        _cache(tmp_path).get(0, lambda: np.zeros((*SIZE, 1), np.uint8))


if __name__ == "__main__":
    _assert_workers_share("spawn", Path(sys.argv[1]))
