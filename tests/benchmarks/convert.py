"""What conversion costs: `python tests/benchmarks/convert.py [speed|growth|whole]`; needs no network.

- speed: 5,000 COCO-like pictures with 36,000 boxes, annotations alone, parsed and written as VOC, beside globox in the
  same run, by turns.
- growth: the whole of `convert` with 1,000, 10,000 and 100,000 small JPEGs, each in a process of its own: every picture
  decoded, hashed and placed; seconds and the most memory.
- whole: the same with 5,000 JPEGs of 640 x 480.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
from PIL import Image

from reprolens.config import Labelled, Policy
from reprolens.config.data import Action
from reprolens.convert.convert import convert
from reprolens.convert.formats.coco import read
from reprolens.convert.source import SourceImage
from reprolens.convert.tree import open_tree
from reprolens.voc import Record, write_folder

CLASSES = 80
BOXES = 7.2


def generate(path: Path, pictures: int, size: tuple[int, int] = (640, 480)) -> None:
    """Write an instances file like COCO's: 80 classes, 7.2 boxes a picture, two decimals, no outlines."""
    width, height = size
    random = np.random.default_rng(1)
    images = [
        {"id": n, "file_name": f"{n:012d}.jpg", "width": width, "height": height, "license": 1} for n in range(pictures)
    ]
    annotations = []
    for number, owner in enumerate(np.sort(random.integers(0, pictures, int(pictures * BOXES)))):
        x, y = random.uniform(0, width * 0.8), random.uniform(0, height * 0.8)
        w, h = random.uniform(4, width - x), random.uniform(4, height - y)
        box = [round(value, 2) for value in (x, y, w, h)]
        annotations.append(
            {
                "id": number + 1,
                "image_id": int(owner),
                "category_id": int(random.integers(1, CLASSES + 1)),
                "bbox": box,
                "area": round(box[2] * box[3], 4),
                "iscrowd": 0,
                "segmentation": [],
            }
        )
    categories = [{"id": n + 1, "name": f"class {n + 1}", "supercategory": ""} for n in range(CLASSES)]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def options(path: Path) -> Labelled:
    policy = Policy(**dict.fromkeys((field.name for field in fields(Policy)), Action.fail))
    return Labelled("coco", str(path), None, None, [0.7, 0.1, 0.2], None, policy)


def ours(source: Path, out: Path) -> int:
    """Parse the annotations and write them as VOC, without the pictures; return the number of boxes."""
    opened = read(open_tree(source), options(source))
    records = []
    for image in opened.images:
        assert isinstance(image, SourceImage)
        record = image.record
        records.append(
            Record(record.file.rpartition(".")[0], record.file, record.width, record.height, 3, record.objects)
        )
    write_folder(out, opened.classes or (), {"train": records})
    return sum(len(record.objects) for record in records)


def globox(source: Path, out: Path) -> int:
    from globox import AnnotationSet

    out.mkdir(parents=True)
    annotations = AnnotationSet.from_coco(source)
    annotations.save_pascal_voc(out)
    return sum(len(annotation.boxes) for annotation in annotations)


def speed(repeats: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "instances.json"
        generate(source, 5000)
        seconds: dict[str, list[float]] = {"globox": [], "reprolens": []}
        runs: dict[str, Callable[[Path, Path], int]] = {"globox": globox, "reprolens": ours}
        for turn in range(repeats + 1):  # the first one warms up
            for name, run in runs.items():
                out = Path(folder) / f"{name}{turn}"
                start = time.perf_counter()
                boxes = run(source, out)
                if turn:
                    seconds[name].append(time.perf_counter() - start)
                shutil.rmtree(out)
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        print(f"5,000 pictures, {boxes:,} boxes, COCO -> VOC, annotations alone; medians of {repeats}")
        print(f"{'':12}{'seconds':>10}{'of globox':>12}")
        for name, value in medians.items():
            print(f"{name:12}{value:10.2f}{value / medians['globox']:12.2f}")


def growth() -> None:
    print(f"{'pictures':>10}{'seconds':>10}{'ms/picture':>12}{'most memory, MiB':>20}", flush=True)
    for pictures in (1000, 10_000, 100_000):
        with tempfile.TemporaryDirectory() as folder:
            paint(Path(folder), pictures, (64, 48))
            command = [sys.executable, __file__, "one", folder, str(pictures)]
            print(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout, end="", flush=True)


def paint(root: Path, pictures: int, size: tuple[int, int]) -> None:
    """Write a COCO data set with its pictures, all of them different."""
    (root / "source" / "images").mkdir(parents=True)
    generate(root / "source" / "instances.json", pictures, size)
    random = np.random.default_rng(2)
    for number in range(pictures):
        small = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        name = root / "source" / "images" / f"{number:012d}.jpg"
        small.resize(size, Image.Resampling.BICUBIC).save(name, quality=90)


def one(root: Path, pictures: int) -> None:
    """Convert in this process, and print a row."""
    start = time.perf_counter()
    values = convert(options(root / "source"), 1, root / "voc")
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{pictures:10,}{seconds:10.2f}{seconds / pictures * 1e3:12.2f}{memory:20.0f}   {values['boxes']:,} boxes")


def whole() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paint(Path(folder), 5000, (640, 480))
        one(Path(folder), 5000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["speed", "growth", "whole", "one"], default="speed")
    parser.add_argument("path", nargs="?", type=Path)
    parser.add_argument("pictures", nargs="?", type=int)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.what == "one":
        one(arguments.path, arguments.pictures)
    else:
        {"speed": lambda: speed(arguments.repeats), "growth": growth, "whole": whole}[arguments.what]()


if __name__ == "__main__":
    main()
