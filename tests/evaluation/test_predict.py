"""What a detector finds in a split, from the pictures to the numbers."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reprolens.config import Digits, Evaluate, Model
from reprolens.convert import convert
from reprolens.errors import DataError
from reprolens.evaluation.predict import detect, evaluate_split, validation_metrics
from reprolens.loading import EvaluationPictures, evaluation_loader, open_index
from reprolens.models import TrainedModel, build
from reprolens.voc import Folder, Record, read_folder

ROOT = Path(__file__).parents[2]
OPTIONS = Model("fcos_mobilenet_v2", [64, 64], 0.01, 0.5, 20)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Return a VOC folder of a few small scenes."""
    source = Digits("digits", str(ROOT / "data" / "digits"), 64, 3, 4, 5, 1, 3, 16, 32, 50, 0.0)
    out = tmp_path_factory.mktemp("digits") / "voc"
    convert(source, 1, out)
    return read_folder(out)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep to one thread: small pictures gain little from more, and lose much beside another busy process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Oracle(nn.Module):
    """A detector that knows the truth: it tells pictures apart by their pixels and counts classes from 1."""

    def __init__(self, folder: Folder, split: str, shift: float = 0.0) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))
        pictures: Iterable[tuple[Tensor, Record]] = EvaluationPictures(open_index(folder), split)  # type: ignore[assignment]
        self.known = {float(image.double().sum()): record for image, record in pictures}
        self.classes = folder.classes

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        assert not self.training
        records = [self.known[float(image.double().sum())] for image in images]
        return [
            {
                "boxes": torch.tensor([item.box for item in record.objects]) + self.shift,
                "scores": torch.full((len(record.objects),), 0.9),
                "labels": torch.tensor([self.classes.index(item.name) + 1 for item in record.objects]),
            }
            for record in records
        ]


def _trained(module: nn.Module, folder: Folder) -> TrainedModel:
    return TrainedModel(module, OPTIONS, folder.classes)


def test_every_picture_is_shown_once_in_the_order_of_its_split_whatever_the_batch(digits: Folder) -> None:
    torch.manual_seed(0)
    model = build(OPTIONS, len(digits.classes))
    runs = [
        list(detect(model, evaluation_loader(EvaluationPictures(open_index(digits), "test"), size)))
        for size in (1, 2, 5)
    ]
    for run in runs:
        assert [record.id for record, _ in run] == list(digits.splits["test"])
    for first, second in zip(runs[0], runs[2], strict=True):
        assert len(first[1]) == len(second[1]) > 0
        assert np.allclose(first[1].scores, second[1].scores, atol=1e-4)


def test_labels_count_from_zero_and_boxes_are_in_pixels(digits: Folder) -> None:
    torch.manual_seed(0)
    model = build(OPTIONS, len(digits.classes)).train()
    for record, found in detect(model, evaluation_loader(EvaluationPictures(open_index(digits), "val"), 2)):
        assert found.labels.min() >= 0
        assert found.labels.max() < len(digits.classes)
        assert found.boxes.min() >= 0
        assert found.boxes.max() <= max(record.width, record.height)


def test_looking_for_nothing_finds_nothing() -> None:
    assert list(detect(nn.Linear(1, 1), [])) == []


def test_who_knows_the_truth_has_every_measure_at_one(digits: Folder) -> None:
    batches = evaluation_loader(EvaluationPictures(open_index(digits), "val"), 2)
    assert validation_metrics(Oracle(digits, "val").train(), batches, digits.classes) == {"map50": 1.0, "map": 1.0}
    results, pictures = evaluate_split(
        _trained(Oracle(digits, "test"), digits), digits, Evaluate("test", 2, 0.5, 0, 4, 2, 4, 4), 1
    )
    assert results.metrics["voc12/map50"] == results.metrics["coco/ap"] == results.metrics["f1"] == 1.0
    assert results.metrics["images"] == len(pictures) == 5
    assert [picture.record.id for picture in pictures] == list(digits.splits["test"])
    assert all(picture.path.is_file() for picture in pictures)
    assert all(len(picture.detections) == len(picture.record.objects) for picture in pictures)


def test_who_is_off_by_far_has_every_measure_at_zero(digits: Folder) -> None:
    batches = evaluation_loader(EvaluationPictures(open_index(digits), "val"), 2)
    assert validation_metrics(Oracle(digits, "val", 200.0), batches, digits.classes) == {"map50": 0.0, "map": 0.0}


def test_measures_that_are_undefined_count_as_zero(digits: Folder) -> None:
    batches = (([image], [replace(record, objects=())]) for image, record in _pictures(digits))
    assert validation_metrics(Oracle(digits, "val"), batches, digits.classes) == {"map50": 0.0, "map": 0.0}


def test_an_untrained_model_can_be_evaluated(digits: Folder) -> None:
    torch.manual_seed(0)
    trained = _trained(build(OPTIONS, len(digits.classes)), digits)
    results, _ = evaluate_split(trained, digits, Evaluate("test", 4, 0.5, 0, 4, 2, 4, 4), 1)
    assert results.metrics["voc12/map50"] is not None
    assert results.metrics["voc12/map50"] < 0.5


def test_a_model_of_other_classes_is_refused(digits: Folder) -> None:
    other = TrainedModel(Oracle(digits, "test"), OPTIONS, (*digits.classes[:-1], "ten"))
    with pytest.raises(DataError, match="its classes are not the model's; run dvc repro train"):
        evaluate_split(other, digits, Evaluate("test", 2, 0.5, 0, 4, 2, 4, 4), 1)


def _pictures(folder: Folder) -> Iterator[tuple[Tensor, object]]:
    pictures = EvaluationPictures(open_index(folder), "val")
    return (pictures[index] for index in range(len(pictures)))
