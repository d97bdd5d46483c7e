"""The bench on which files are judged."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from export.gate.bench import MODEL, Bench, taught
from reprolens.export.source import Source
from reprolens.voc import Folder


@pytest.fixture(scope="session")
def bench(source_of: Callable[..., Source], digits: Folder, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    source = source_of(MODEL, detections_per_image=20)
    splits = {split: list(digits.records(split)) for split in ("train", "val", "test")}
    folder = taught(source, splits, tmp_path_factory.mktemp("taught") / "voc")
    return Bench(replace(source, folder=folder), tmp_path_factory.mktemp("files"))
