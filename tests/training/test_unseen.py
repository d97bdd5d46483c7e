"""Training and the choice of the best epoch know nothing of the test split."""

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from reprolens.config import Config
from reprolens.evaluation.predict import validation_metrics
from reprolens.training.detection import train_detector
from reprolens.training.loop import CLOCKED
from reprolens.voc import Folder, format_annotation, read_folder


def _with_another(split: str, folder: Folder, root: Path) -> Folder:
    """Return a copy of a VOC folder in which a split's objects are others; of test, the pictures are gone too."""
    shutil.copytree(folder.root, root)
    for record in folder.records(split):
        objects = tuple(replace(item, name=folder.classes[0], box=(1.0, 1.0, 9.0, 9.0)) for item in record.objects)
        (root / "Annotations" / f"{record.id}.xml").write_bytes(format_annotation(replace(record, objects=objects)))
        if split == "test":
            (root / "JPEGImages" / record.file).unlink()
    return read_folder(root)


def test_another_test_split_leaves_every_bit_of_training_and_of_its_choice_as_it_was(
    configure: Callable[..., Config], digits: Folder, initial: Path, tmp_path: Path
) -> None:
    config = configure("trainer.max_epochs=2", "trainer.keep=best", "trainer.cache=none")

    def train(folder: Folder) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, str]]]:
        history = tmp_path / "history.csv"
        trained = train_detector(config, folder, initial, history, validation_metrics)
        with history.open(newline="", encoding="utf-8") as file:
            rows = [{key: value for key, value in row.items() if key not in CLOCKED} for row in csv.DictReader(file)]
        chosen = {key: value for key, value in trained.report.items() if key.startswith(("val/", "best/", "kept/"))}
        return trained.state, chosen, rows

    state, chosen, rows = train(digits)
    assert {"val/map", "best/epoch", "kept/epoch"} <= chosen.keys()
    again, same, rows_again = train(_with_another("test", digits, tmp_path / "test"))
    assert (same, rows_again) == (chosen, rows)
    assert all(torch.equal(again[name], state[name]) for name in state)
    # The same change of train does make a difference, so that the test above would see one.
    other, _, _ = train(_with_another("train", digits, tmp_path / "train"))
    assert not all(torch.equal(other[name], state[name]) for name in state)
