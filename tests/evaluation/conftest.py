"""Data that several tests of the evaluation measure."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reprolens.evaluation import Detections, Truth, truth_of
from reprolens.voc import Record, parse_annotation

DATA = Path(__file__).parents[2].parent / "shared" / "data"
VOC100 = DATA / "voc100_multiformat"

Split = tuple[list[Detections], list[Truth]]


@pytest.fixture(scope="session")
def random_split() -> Callable[..., Split]:
    """Return a maker of pictures of 100 x 100 with about half of their objects found, crowds and difficult ones too."""

    def make(images: int, classes: int, seed: int = 0, crowd: float = 0.1, difficult: float = 0.1) -> Split:
        random = np.random.default_rng(seed)
        detections, truths = [], []
        for _ in range(images):
            truth_boxes = _boxes(random, random.integers(0, 7))
            count = len(truth_boxes)
            labels = random.integers(0, classes, count)
            truths.append(Truth(truth_boxes, labels, random.random(count) < difficult, random.random(count) < crowd))
            found = np.repeat(truth_boxes, 2, axis=0) + random.normal(0, 3, (2 * count, 4))
            boxes = np.concatenate([found, _boxes(random, 3)])
            labels = np.concatenate([np.repeat(labels, 2), random.integers(0, classes, 3)])
            detections.append(Detections(boxes, random.random(len(boxes)).round(2), labels))
        return detections, truths

    return make


def _boxes(random: np.random.Generator, count: int) -> np.ndarray:
    corners = random.uniform(0, 60, (count, 2))
    return np.concatenate([corners, corners + random.uniform(5, 40, (count, 2))], axis=1)


@pytest.fixture(scope="session")
def voc100() -> tuple[Split, list[Record], list[str]]:
    """The 100 VOC photographs with their 452 detections, all corners taken as they are written, and the class names."""
    base = VOC100 / "data" / "database"
    return _read(base / "gts" / "pascalvoc_format", base / "dets" / "abs_xyx2y2", base / "voc.names")


@pytest.fixture(scope="session")
def toy() -> tuple[Split, list[Record], list[str]]:
    """The toy example: 12 objects, 12 detections."""
    base = VOC100 / "toyexample"
    return _read(base / "gts_vocpascal_format", base / "dets_classid_abs_xyx2y2", base / "voc.names")


def _read(annotations: Path, found: Path, names: Path) -> tuple[Split, list[Record], list[str]]:
    if not annotations.is_dir():
        pytest.skip(f"needs {annotations}")
    classes = names.read_text().split()
    records, detections, truths = [], [], []
    for path in sorted(annotations.glob("*.xml")):
        record = replace(parse_annotation(path.read_bytes(), path.name), id=path.stem)
        records.append(record)
        truth = truth_of(record, classes)
        # The published numbers take xmin as a continuous coordinate; reading VOC moved it by 1.
        truths.append(replace(truth, boxes=truth.boxes + np.array([1, 1, 0, 0])))
        file = found / f"{path.stem}.txt"
        text = file.read_text() if file.is_file() else ""  # no file where nothing was found
        table = np.array([line.split() for line in text.splitlines() if line.strip()], dtype=float).reshape(-1, 6)
        detections.append(Detections(table[:, 2:], table[:, 1], table[:, 0].astype(int)))
    return (detections, truths), records, classes
