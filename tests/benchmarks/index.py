"""What opening a large data set and decoding large pictures cost: `python tests/benchmarks/index.py`.

Annotations are made up in a temporary folder; their files are in the memory of the system when they are read, as they
are after the convert stage. Photographs are those of ../shared/data, where they are there, and enlarged ones.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from reprolens.loading.cache import PictureCache
from reprolens.loading.decode import open_rgb, resized_rgb
from reprolens.loading.index import beside, open_index
from reprolens.voc import Folder, Object, Record, read_folder, write_folder

PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data" / "car_damage_via" / "dataset" / "test"
CLASSES = ("cat", "dog", "emu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=100_000)
    count = parser.parse_args().pictures
    console = Console(width=100)
    with tempfile.TemporaryDirectory() as folder:
        console.print(opening(Path(folder) / "voc", count))
    with tempfile.TemporaryDirectory() as folder:
        console.print(decoding(Path(folder)))


def opening(root: Path, count: int) -> Table:
    """Return what it costs to open `count` annotations, each time in a new process: parsed, and from the index."""
    table = Table(title=f"{count:,} annotations of 0 to 6 objects", title_justify="left")
    for name in ("", "seconds", "of them CPU", "memory (MB)"):
        table.add_column(name, justify="right" if name else "left")

    def image_sets() -> None:
        read_folder(root)

    def index() -> None:
        open_index(read_folder(root))

    def all_records() -> None:
        for _ in open_index(read_folder(root)).records("train"):
            pass

    measured(lambda: write_folder(root, CLASSES, {"train": made_up(count), "val": [], "test": []}))
    for name, call in (
        ("image sets alone", image_sets),
        ("first opening: parses all", index),
        ("second opening", index),
        ("opening, and every record built", all_records),
    ):
        seconds, processor, memory = measured(call)
        table.add_row(name, f"{seconds:.2f}", f"{processor:.2f}", f"{memory:.0f}")
    size = (beside(root) / "annotations.npz").stat().st_size
    table.add_row("the index on disk", "", "", f"{size / 2**20:.0f}")
    return table


def measured(call: Callable[[], None]) -> tuple[float, float, float]:
    """Return seconds, CPU seconds, and the most memory in MB that `call` adds to a new process."""
    here, there = multiprocessing.get_context("fork").Pipe(duplex=False)

    def run() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in KiB, as Linux counts
        start, processor = time.perf_counter(), time.process_time()
        call()
        times = time.perf_counter() - start, time.process_time() - processor
        there.send((*times, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    there.close()
    result: tuple[float, float, float] = here.recv()
    process.join()
    return result


def decoding(root: Path) -> Table:
    """Return the times to decode and resize photographs: in full, at a reduced scale, and out of the caches."""
    table = Table(title="JPEG to (side, side), ms a picture", title_justify="left")
    for name in ("picture", "side", "full", "reduced", "times", "mean difference", "from memory", "from disk"):
        table.add_column(name, justify="right" if name != "picture" else "left")
    (root / "JPEGImages").mkdir()
    folder = Folder(root, (), {})
    for width, height in ((1024, 1024), (4000, 3000)):
        records = photographs(root, width, height)
        for side in (160, 320, 640):
            table.add_row(f"{width} x {height}", str(side), *decoded(folder, records, (side, side)))
    return table


def decoded(folder: Folder, records: list[Record], size: tuple[int, int]) -> Iterator[str]:
    """Yield the cells of one row: what decoding the records' pictures to one size takes."""

    def full(index: int) -> np.ndarray:
        return np.array(open_rgb(folder, records[index]).resize(size[::-1], Image.Resampling.BILINEAR))

    def reduced(index: int) -> np.ndarray:
        return np.array(resized_rgb(folder, records[index], size))

    slow, fast = milliseconds(full, len(records)), milliseconds(reduced, len(records))
    differences = [np.abs(full(index) - reduced(index).astype(float)).mean() for index in range(len(records))]
    yield from (f"{slow:.2f}", f"{fast:.2f}", f"{slow / fast:.1f}", f"{np.mean(differences):.2f}")
    for kind in ("memory", "disk"):
        cache = PictureCache(kind, folder.root / "pixels", records[0].file, len(records), size, 256)

        def cached(index: int, cache: PictureCache = cache) -> np.ndarray:
            return cache.get(index, lambda: reduced(index))

        yield f"{milliseconds(cached, len(records)):.2f}"


def made_up(count: int) -> list[Record]:
    """Return records of 0 to 6 objects each."""
    random = np.random.default_rng(0)
    corners = random.integers(0, 240, (count, 6, 4)).tolist()
    numbers = random.integers(0, 7, count).tolist()
    return [
        Record(
            f"picture_{index:06d}",
            f"picture_{index:06d}.jpg",
            640,
            480,
            3,
            tuple(
                Object(CLASSES[(index + place) % 3], (x0, y0, x0 + x1 + 1, y0 + y1 + 1.5))
                for place, (x0, y0, x1, y1) in enumerate(corners[index][: numbers[index]])
            ),
        )
        for index in range(count)
    ]


def photographs(root: Path, width: int, height: int) -> list[Record]:
    """Place four photographs of a size in the folder: real ones, or noise where they are absent."""
    records = []
    for number in range(4):
        paths = sorted(PHOTOGRAPHS.glob("*.jpg"))
        if paths:
            picture = Image.open(paths[number]).convert("RGB")
        else:
            noise = np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)
            picture = Image.fromarray(noise)
        name = f"{width}_{number}.jpg"
        if paths and picture.size == (width, height):
            (root / "JPEGImages" / name).write_bytes(paths[number].read_bytes())
        else:
            picture.resize((width, height), Image.Resampling.BICUBIC).save(root / "JPEGImages" / name, quality=92)
        records.append(Record(name, name, width, height))
    return records


def milliseconds(call: Callable[[int], np.ndarray], count: int) -> float:
    """Return the least time of a call a picture, over five rounds."""
    rounds = []
    for _ in range(5):
        start = time.perf_counter()
        for index in range(count):
            call(index)
        rounds.append((time.perf_counter() - start) / count * 1e3)
    return min(rounds)


if __name__ == "__main__":
    main()
