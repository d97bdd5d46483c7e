"""What a detector finds in a split, from the pictures to the numbers."""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hotcoco import mask as run_lengths
from torch import Tensor, nn

from reprolens.config import Digits, Evaluate, Model
from reprolens.convert import convert
from reprolens.convert.mask_files import write_masks
from reprolens.convert.segmentation import draw
from reprolens.errors import DataError
from reprolens.evaluation import truth_of
from reprolens.evaluation.predict import detect, evaluate_split, validation_metrics
from reprolens.loading import EvaluationPictures, evaluation_loader, open_index
from reprolens.models import TrainedModel, build
from reprolens.voc import Box, Folder, Object, Record, read_folder, write_folder
from reprolens.voc.folder import SPLITS

ROOT = Path(__file__).parents[2]
OPTIONS = Model("fcos_mobilenet_v2", None, [64, 64], 0.01, 0.5, 20)
DRAWS = Model("maskrcnn_resnet50_fpn", None, [64, 64], 0.01, 0.5, 20)
EVALUATE = Evaluate("test", 2, 0.5, 0, 4, 2, 4, 4)


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


class Drawing(Oracle):
    """An oracle that draws what it finds, too: the outlines of each picture, as probabilities."""

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        found = super().forward(images)
        for image, one in zip(images, found, strict=True):
            record = self.known[float(image.double().sum())]
            drawn = [draw(item.segmentation, record.height, record.width) for item in record.objects]
            one["masks"] = 0.8 * torch.from_numpy(np.array(drawn)).float()[:, None]
        return found


@pytest.fixture
def outlined(digits: Folder, tmp_path: Path) -> Folder:
    """Return the scenes with each digit's inner box as its outline, in the annotations and in SegmentationObject."""
    root = tmp_path / "voc"
    shutil.copytree(digits.root, root)
    splits = {
        split: [
            replace(record, objects=tuple(replace(item, segmentation=_inner(item.box)) for item in record.objects))
            for record in digits.records(split)
        ]
        for split in digits.splits
    }
    write_folder(root, digits.classes, splits, [record.id for records in splits.values() for record in records])
    write_masks(root, splits, {}, {}, digits.classes, [], [])
    return read_folder(root)


def _inner(box: Box) -> str:
    x0, y0, x1, y1 = box[0] + 2, box[1] + 2, box[2] - 2, box[3] - 2
    return json.dumps([[x0, y0, x1, y0, x1, y1, x0, y1]])


def _whole(folder: Folder, drawing: Drawing) -> Drawing:
    """Return the oracle with records that have outlines, which an index leaves out."""
    drawing.known = {key: folder.record(record.id) for key, record in drawing.known.items()}
    return drawing


def test_outlines_that_are_the_true_ones_have_every_measure_of_masks_at_one(outlined: Folder) -> None:
    trained = TrainedModel(_whole(outlined, Drawing(outlined, "test")), DRAWS, outlined.classes)
    results, pictures = evaluate_split(trained, outlined, EVALUATE, 1)
    assert results.metrics["coco_segm/ap"] == results.metrics["coco_segm/ap50"] == 1.0
    for picture in pictures:
        assert picture.detections.masks is not None
        truth = truth_of(outlined.record(picture.record.id), outlined.classes, masks=True)
        assert picture.detections.masks == truth.masks


def test_outlines_that_only_the_mask_files_have_count_too(outlined: Folder) -> None:
    trained = TrainedModel(_whole(outlined, Drawing(outlined, "test")), DRAWS, outlined.classes)
    splits = {split: [replace(record, objects=_bare(record)) for record in outlined.records(split)] for split in SPLITS}
    write_folder(outlined.root, outlined.classes, splits)
    results, _ = evaluate_split(trained, outlined, EVALUATE, 1)
    assert results.metrics["coco_segm/ap"] == 1.0


def test_without_true_outlines_or_drawn_ones_there_are_no_measures_of_masks(digits: Folder, outlined: Folder) -> None:
    blind = TrainedModel(Oracle(outlined, "test"), DRAWS, outlined.classes)
    assert not any(key.startswith("coco_segm") for key in evaluate_split(blind, outlined, EVALUATE, 1)[0].metrics)
    drawing = _whole(outlined, Drawing(outlined, "test"))
    without = evaluate_split(TrainedModel(drawing, DRAWS, digits.classes), digits, EVALUATE, 1)[0].metrics
    assert not any(key.startswith("coco_segm") for key in without)
    assert without["coco/ap"] == 1.0


def test_validation_looks_at_boxes_alone(outlined: Folder) -> None:
    batches = evaluation_loader(EvaluationPictures(open_index(outlined), "test"), 2)
    drawing = _whole(outlined, Drawing(outlined, "test"))
    assert validation_metrics(drawing, batches, outlined.classes) == {"map50": 1.0, "map": 1.0}
    assert all(found.masks is None for _, found in detect(drawing, batches, masks=False))


def test_what_mask_r_cnn_draws_is_what_torchvision_pastes(digits: Folder) -> None:
    torch.manual_seed(0)
    model = build(replace(DRAWS, backbone="mobilenet_v3_small", detections_per_image=5), len(digits.classes)).eval()
    model.rpn._post_nms_top_n = {"training": 30, "testing": 30}
    pictures = EvaluationPictures(open_index(digits), "val")
    count = 0
    for (image, _), (record, found) in zip(pictures, detect(model, evaluation_loader(pictures, 1)), strict=False):
        with torch.inference_mode():
            [pasted] = model([image])
        assert found.masks is not None
        for code, mask in zip(found.masks, pasted["masks"], strict=True):
            drawn = run_lengths.decode({"size": [record.height, record.width], "counts": code})
            assert np.array_equal(drawn.astype(bool), mask[0].numpy() > 0.5)
            count += 1
    assert count > 0


def _bare(record: Record) -> tuple[Object, ...]:
    return tuple(replace(item, segmentation="") for item in record.objects)


def _pictures(folder: Folder) -> Iterator[tuple[Tensor, object]]:
    pictures = EvaluationPictures(open_index(folder), "val")
    return (pictures[index] for index in range(len(pictures)))
