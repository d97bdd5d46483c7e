"""Every knob of augmentation, and that boxes and labels stay with what they name."""

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from reprolens.config import Augment
from reprolens.loading import TrainingPictures, build_augmentation
from reprolens.voc import Folder

NONE = Augment(0, 0, 0, 0, 0, 0, 0, 0, 0, [1.0, 1.0])
SIZE = (64, 96)
GEOMETRY = {
    "nothing": {},
    "horizontal_flip": {"horizontal_flip": 1.0},
    "vertical_flip": {"vertical_flip": 1.0},
    "crop": {"crop": 1.0},
    "zoom_out": {"zoom_out": 1.0},
    "translation": {"affine": 1.0, "max_translation": 0.3},
    "scale": {"affine": 1.0, "scale": [0.6, 1.6]},
    "rotation": {"affine": 1.0, "max_rotation": 20.0},
    "all": {
        "horizontal_flip": 0.5,
        "vertical_flip": 0.5,
        "crop": 0.7,
        "zoom_out": 0.5,
        "affine": 0.7,
        "max_rotation": 10.0,
        "max_translation": 0.2,
        "scale": [0.7, 1.4],
    },
}


def _pictures(folder: Folder, **knobs: Any) -> TrainingPictures:
    return TrainingPictures(folder, "train", SIZE, build_augmentation(replace(NONE, **knobs), SIZE), 5, 8)


def _colour(image: Tensor, label: int) -> Tensor:
    """Return where a picture `(3, H, W)` shows the colour of a label: blue, green and red are 1, 2 and 3."""
    channel = 3 - label
    others = [place for place in range(3) if place != channel]
    return (image[channel] > 0.75) & (image[others] < 0.25).all(dim=0)


@pytest.mark.parametrize("knobs", GEOMETRY.values(), ids=GEOMETRY)
def test_every_box_still_surrounds_its_colour(knobs: dict[str, Any], rectangles: Folder) -> None:
    pictures = _pictures(rectangles, **knobs)
    seen = 0
    for epoch in range(4):
        for index in range(len(pictures)):
            image, target, _ = pictures[epoch, index]
            for box, label in zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True):
                rows, columns = torch.nonzero(_colour(image, label), as_tuple=True)
                if len(rows) == 0:  # so little of it is left that its edge mixes it with the ground
                    assert min(box[2] - box[0], box[3] - box[1]) < 4
                    continue
                shown = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                slack = [value - edge for value, edge in zip(shown, box, strict=True)]
                assert min(slack[:2]) > -1.5, (box, shown)
                assert max(slack[2:]) < 1.5, (box, shown)
                if "max_rotation" not in knobs:  # a rotated rectangle fills its box no more
                    assert max(abs(gap) for gap in slack) < 2.5, (box, shown)
                seen += 1
    assert seen > 60


@pytest.mark.parametrize("knobs", GEOMETRY.values(), ids=GEOMETRY)
def test_boxes_stay_inside_the_picture_with_an_area_and_a_label(knobs: dict[str, Any], rectangles: Folder) -> None:
    pictures = _pictures(rectangles, **knobs)
    for index in range(len(pictures)):
        image, target, _ = pictures[7, index]
        boxes = target["boxes"]
        assert image.shape == (3, *SIZE)
        assert (image.dtype, boxes.dtype, target["labels"].dtype) == (torch.float32, torch.float32, torch.int64)
        assert image.min() >= 0
        assert image.max() <= 1
        assert len(boxes) == len(target["labels"])
        assert ((boxes >= 0) & (boxes <= torch.tensor([SIZE[1], SIZE[0]] * 2))).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 2).all()


def test_without_augmentation_every_object_is_there_once(rectangles: Folder) -> None:
    pictures = _pictures(rectangles)
    assert all(sorted(pictures[1, index][1]["labels"].tolist()) == [1, 2, 3] for index in range(len(pictures)))


KNOBS: dict[str, dict[str, Any]] = {
    "horizontal_flip": {"horizontal_flip": 1.0},
    "vertical_flip": {"vertical_flip": 1.0},
    "photometric": {"photometric": 1.0},
    "grayscale": {"grayscale": 1.0},
    "crop": {"crop": 1.0},
    "zoom_out": {"zoom_out": 1.0},
    "affine": {"affine": 1.0, "max_rotation": 9.0},
    "max_rotation": {"affine": 1.0, "max_rotation": 9.0},
    "max_translation": {"affine": 1.0, "max_translation": 0.3},
    "scale": {"affine": 1.0, "scale": [0.5, 0.6]},
}


@pytest.mark.parametrize("knob", [field.name for field in fields(Augment)])
def test_every_knob_changes_pictures(knob: str, rectangles: Folder) -> None:
    plain, varied = _pictures(rectangles), _pictures(rectangles, **KNOBS[knob])
    changed = [index for index in range(len(plain)) if not torch.equal(plain[1, index][0], varied[1, index][0])]
    assert len(changed) >= 5  # photometric and crop leave some alone


@pytest.mark.parametrize("knob", ["photometric", "grayscale"])
def test_colour_changes_leave_boxes_alone(knob: str, rectangles: Folder) -> None:
    plain, varied = _pictures(rectangles), _pictures(rectangles, **KNOBS[knob])
    for index in range(len(plain)):
        assert torch.equal(plain[1, index][1]["boxes"], varied[1, index][1]["boxes"])


def test_mirroring_twice_is_nothing(rectangles: Folder) -> None:
    plain, varied = _pictures(rectangles), _pictures(rectangles, horizontal_flip=1.0)
    image, target, _ = varied[1, 0]
    assert torch.equal(image.flip(2), plain[1, 0][0])
    mirrored = target["boxes"][:, [2, 1, 0, 3]]
    mirrored[:, [0, 2]] = SIZE[1] - mirrored[:, [0, 2]]
    assert torch.allclose(mirrored, plain[1, 0][1]["boxes"], atol=1e-4)


def test_grayscale_takes_the_colour_away(rectangles: Folder) -> None:
    image, _, _ = _pictures(rectangles, grayscale=1.0)[1, 0]
    assert torch.equal(image[0], image[1])
    assert torch.equal(image[1], image[2])


def test_a_probability_is_the_share_of_pictures_that_change(rectangles: Folder) -> None:
    plain, varied = _pictures(rectangles), _pictures(rectangles, vertical_flip=0.3)
    keys = [(epoch, index) for epoch in range(20) for index in range(len(plain))]
    changed = sum(not torch.equal(plain[key][0], varied[key][0]) for key in keys)
    assert 0.18 < changed / len(keys) < 0.42
