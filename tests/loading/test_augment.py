"""Every knob of augmentation, and that boxes, masks and labels stay with what they name."""

import pickle
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import max_pool2d
from torchvision import tv_tensors

from reprolens.config import Augment
from reprolens.config.compose import compose
from reprolens.errors import ConfigError
from reprolens.loading.augment import build_augmentation
from reprolens.voc import Folder

Sample = tuple[Tensor, dict[str, Tensor]]

ROOT = Path(__file__).parents[2]
CHOICES = sorted(path.stem for path in (ROOT / "conf" / "augment").glob("*.yaml"))


@cache
def _choice(name: str) -> Augment:
    return compose(ROOT, [f"augment={name}"]).augment


NONE = _choice("none")
SIZE = (64, 96)
MIXING = {"mosaic": {"mosaic": 1.0}, "mixup": {"mixup": 1.0}, "copy_paste": {"copy_paste": 1.0}}
GEOMETRY: dict[str, dict[str, Any]] = {
    "nothing": {},
    "horizontal_flip": {"horizontal_flip": 1.0},
    "vertical_flip": {"vertical_flip": 1.0},
    "crop": {"crop": 1.0},
    "zoom_out": {"zoom_out": 1.0},
    "resize_crop": {"resize_crop": 1.0, "resize_scale": [0.5, 2.0]},
    "translation": {"affine": 1.0, "max_translation": 0.3},
    "scale": {"affine": 1.0, "scale": [0.6, 1.6]},
    "rotation": {"affine": 1.0, "max_rotation": 20.0},
    "all": {
        "horizontal_flip": 0.5,
        "vertical_flip": 0.5,
        "crop": 0.7,
        "zoom_out": 0.5,
        "resize_crop": 0.5,
        "resize_scale": [0.6, 1.6],
        "affine": 0.7,
        "max_rotation": 10.0,
        "max_translation": 0.2,
        "scale": [0.7, 1.4],
    },
}
COLOUR: dict[str, dict[str, Any]] = {"photometric": {"photometric": 1.0}, "grayscale": {"grayscale": 1.0}}
EVERYTHING = {**GEOMETRY["all"], "photometric": 0.5, "mosaic": 0.5, "mixup": 0.5, "copy_paste": 0.5}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def samples(rectangles: Folder) -> list[Sample]:
    """Return the ten train pictures at SIZE with boxes, labels (blue, green and red are 1, 2, 3) and masks."""
    made = []
    for record in rectangles.records("train"):
        picture = Image.open(rectangles.image(record)).resize((SIZE[1], SIZE[0]), Image.Resampling.BILINEAR)
        image = tv_tensors.Image(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
        objects = [item for item in record.objects if not item.crowd]
        factor = torch.tensor([SIZE[1] / record.width, SIZE[0] / record.height] * 2)
        boxes = torch.tensor([item.box for item in objects]) * factor
        labels = torch.tensor([rectangles.classes.index(item.name) + 1 for item in objects])
        target = _target(boxes, labels)
        target["masks"] = tv_tensors.Mask(torch.stack([_shows(image, int(label)) for label in labels]))
        made.append((image, target))
    return made


def _target(boxes: Tensor, labels: Tensor, size: tuple[int, int] = SIZE) -> dict[str, Tensor]:
    return {"boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size), "labels": labels}


def _shows(image: Tensor, label: int) -> Tensor:
    """Return where a picture `(3, H, W)` shows the colour of a label, also where it is blended with grey."""
    channel = 3 - label
    others = image[[place for place in range(3) if place != channel]].amax(0)
    return image[channel].int() - others.int() > 100


def _varied(
    samples: list[Sample], seed: int, index: int, size: tuple[int, int] = SIZE, mix: bool = True, **knobs: Any
) -> Sample:
    torch.manual_seed(seed * 1000 + index)
    augmentation = build_augmentation(replace(NONE, **knobs))
    return augmentation(samples.__getitem__, index, len(samples), size, mix)


def _draws(samples: list[Sample], count: int, **knobs: Any) -> list[Sample]:
    return [_varied(samples, seed, index, **knobs) for seed in range(count) for index in range(len(samples))]


@pytest.mark.parametrize("knobs", GEOMETRY.values(), ids=GEOMETRY)
def test_every_box_still_surrounds_its_colour(knobs: dict[str, Any], samples: list[Sample]) -> None:
    seen = 0
    for image, target in _draws(samples, 4, **knobs):
        for box, label in zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True):
            rows, columns = torch.nonzero(_shows(image, label), as_tuple=True)
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


@pytest.mark.parametrize("knobs", [*GEOMETRY.values(), *MIXING.values()], ids=[*GEOMETRY, *MIXING])
def test_no_colour_is_left_without_a_box(knobs: dict[str, Any], samples: list[Sample]) -> None:
    if "crop" in knobs:  # takes boxes away whose centre is outside, as SSD does
        knobs = {**knobs, "crop": 0.0}
    shown = 0
    for image, target in _draws(samples, 3, **knobs):
        for label in (1, 2, 3):
            bare = _shows(image, label)
            shown += int(bare.any())
            for x0, y0, x1, y1 in target["boxes"][target["labels"] == label].round().int().tolist():
                bare[max(0, y0 - 2) : y1 + 2, max(0, x0 - 2) : x1 + 2] = False
            # What is left may be slivers of boxes below the least side: nowhere 3 x 3 pixels.
            assert not (max_pool2d((~bare).float()[None], 3, 1)[0] == 0).any()
    assert shown > 40


@pytest.mark.parametrize("knobs", MIXING.values(), ids=MIXING)
def test_boxes_of_mixed_pictures_show_their_colour(knobs: dict[str, Any], samples: list[Sample]) -> None:
    shows, mixed = [], 0
    for image, target in _draws(samples, 4, **knobs):
        mixed += int(len(target["labels"]) > 3)
        for (x0, y0, x1, y1), label in zip(target["boxes"].int().tolist(), target["labels"].tolist(), strict=True):
            if min(x1 - x0, y1 - y0) >= 4:
                shows.append(bool(_shows(image, label)[y0:y1, x0:x1].any()))
    assert mixed > 10
    assert np.mean(shows) > 0.95  # one colour blended with another is neither


@pytest.mark.parametrize("size", [SIZE, (96, 128), (32, 64)])
@pytest.mark.parametrize(
    "knobs",
    [*GEOMETRY.values(), *MIXING.values(), *COLOUR.values(), EVERYTHING],
    ids=[*GEOMETRY, *MIXING, *COLOUR, "everything"],
)
def test_a_picture_has_the_size_asked_for_and_boxes_inside_it(
    knobs: dict[str, Any], size: tuple[int, int], samples: list[Sample]
) -> None:
    for index in range(len(samples)):
        image, target = _varied(samples, 7, index, size, **knobs)
        boxes = target["boxes"]
        assert isinstance(image, tv_tensors.Image) and isinstance(boxes, tv_tensors.BoundingBoxes)
        assert (image.shape, boxes.canvas_size) == ((3, *size), size)
        assert (image.dtype, boxes.dtype, target["labels"].dtype) == (torch.uint8, torch.float32, torch.int64)
        assert target["masks"].shape == (len(boxes), *size)
        assert set(target) == {"boxes", "labels", "masks"} and len(boxes) == len(target["labels"])
        assert ((boxes >= 0) & (boxes <= torch.tensor([size[1], size[0]] * 2))).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 2).all()


@pytest.mark.parametrize("knobs", [*GEOMETRY.values(), *MIXING.values()], ids=[*GEOMETRY, *MIXING])
def test_masks_stay_with_boxes_and_pixels(knobs: dict[str, Any], samples: list[Sample]) -> None:
    for image, target in _draws(samples, 3, **knobs):
        for box, label, mask in zip(target["boxes"].tolist(), target["labels"], target["masks"].bool(), strict=True):
            if not mask.any():  # so thin that no pixel's middle lies in it
                assert min(box[2] - box[0], box[3] - box[1]) < 4
                continue
            rows, columns = torch.nonzero(mask, as_tuple=True)
            edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            gaps = [abs(float(edge) - side) for edge, side in zip(edges, box, strict=True)]
            if "max_rotation" not in knobs:
                assert max(gaps) < 2.5, (box, edges)
            inner = max_pool2d((~mask).float()[None], 5, 1, 2)[0] == 0
            if "mixup" not in knobs and inner.any():
                assert _shows(image, int(label))[inner].float().mean() > 0.9


@pytest.mark.parametrize("choice", CHOICES)
def test_the_same_seed_gives_the_same_bytes_with_any_number_of_threads(choice: str, samples: list[Sample]) -> None:
    augmentation = build_augmentation(_choice(choice))
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        torch.manual_seed(11)
        copy = pickle.loads(pickle.dumps(augmentation))  # as a loader's process gets it
        results.append([copy(samples.__getitem__, index, len(samples), (96, 128), True) for index in range(6)])
    torch.set_num_threads(1)
    for (image, target), (image2, target2) in zip(*results, strict=True):
        assert torch.equal(image, image2)
        assert all(torch.equal(target[name], target2[name]) for name in target)


def test_without_augmentation_a_picture_is_what_it_was(samples: list[Sample]) -> None:
    for index, (image, target) in enumerate(samples):
        same, kept = _varied(samples, 1, index)
        assert torch.equal(same, image)
        assert all(torch.equal(kept[name], target[name]) for name in target)


def test_nothing_is_mixed_in_when_told_not_to(samples: list[Sample]) -> None:
    asked: list[int] = []

    def picture(index: int) -> Sample:
        asked.append(index)
        return samples[index]

    augmentation = build_augmentation(replace(NONE, mosaic=1.0, mixup=1.0, copy_paste=1.0))
    image, _ = augmentation(picture, 3, len(samples), SIZE, False)
    assert torch.equal(image, samples[3][0])
    assert asked == [3]
    augmentation(picture, 3, len(samples), SIZE, True)
    assert asked[1] == 3 and len(asked) == 7 and 3 not in asked[2:]


@pytest.mark.parametrize("choice", CHOICES)
def test_pictures_are_never_written_into(choice: str, samples: list[Sample]) -> None:
    before = [(image.clone(), {name: value.clone() for name, value in target.items()}) for image, target in samples]
    augmentation = build_augmentation(_choice(choice))
    for index in range(len(samples)):
        augmentation(samples.__getitem__, index, len(samples), SIZE, True)
    for (image, target), (old, old_target) in zip(samples, before, strict=True):
        assert torch.equal(image, old)
        assert all(torch.equal(target[name], old_target[name]) for name in target)


@pytest.mark.parametrize("choice", [*CHOICES, "everything"])
def test_pictures_without_objects_pass_alone_and_among_others(choice: str, samples: list[Sample]) -> None:
    config = replace(NONE, **EVERYTHING) if choice == "everything" else _choice(choice)
    augmentation = build_augmentation(config)
    empty = {
        **_target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)),
        "masks": tv_tensors.Mask(torch.zeros(0, *SIZE)),
    }
    bare = (samples[0][0], empty)
    for seed in range(8):
        torch.manual_seed(seed)
        image, target = augmentation(lambda _: bare, 0, 1, SIZE, True)
        assert image.shape == (3, *SIZE)
        assert (target["boxes"].shape, target["labels"].shape) == ((0, 4), (0,))
        image, target = augmentation([bare, samples[1]].__getitem__, seed % 2, 2, SIZE, True)
        assert target["boxes"].shape == (len(target["labels"]), 4)


@pytest.mark.parametrize("knobs", [{}, *MIXING.values(), EVERYTHING], ids=["nothing", *MIXING, "everything"])
def test_boxes_without_an_area_are_left_out(knobs: dict[str, Any], samples: list[Sample]) -> None:
    broken = torch.tensor([[5, 5, 5, 20], [30, 9, 20, 19], [-9, -9, -1, -1], [40, 10, 41, 30], [200, 9, 220, 30.0]])
    sample = (samples[0][0], _target(broken, torch.arange(5)))
    for seed in range(10):
        torch.manual_seed(seed)
        augmentation = build_augmentation(replace(NONE, **knobs))
        _, target = augmentation(lambda _: sample, 0, 3, SIZE, True)
        assert set(target["labels"].tolist()) <= {3}  # one pixel wide: enlarged, it may count
        assert (target["boxes"][:, 2:] - target["boxes"][:, :2] >= 2).all()


def test_an_object_needs_its_share_in_view(samples: list[Sample]) -> None:
    beyond = _target(torch.tensor([[-10, 0, 10, 20], [86, 30, 106, 50], [40, 10, 60, 30.0]]), torch.arange(3))
    wide = (samples[0][0], {**beyond, "boxes": beyond["boxes"]})
    kept = build_augmentation(replace(NONE, min_visible=1.0))(lambda _: wide, 0, 1, SIZE, False)[1]
    assert kept["labels"].tolist() == [0, 1, 2]  # what lay outside from the start is no object's part
    knobs = {"affine": 1.0, "max_translation": 0.9}
    loose = sum(len(target["labels"]) for _, target in _draws(samples, 6, **knobs))
    strict = sum(len(target["labels"]) for _, target in _draws(samples, 6, **knobs, min_visible=0.9))
    assert 0 < strict < loose
    for (_, all_of), (_, some) in zip(
        _draws(samples, 3, **knobs), _draws(samples, 3, **knobs, min_visible=0.5), strict=True
    ):
        kept_boxes = {tuple(box) for box in some["boxes"].tolist()}
        assert kept_boxes <= {tuple(box) for box in all_of["boxes"].tolist()}


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
    "resize_crop": {"resize_crop": 1.0, "resize_scale": [0.5, 0.6]},
    "resize_scale": {"resize_crop": 1.0, "resize_scale": [1.5, 1.6]},
    **MIXING,
}
SAMPLER = {"multi_scale", "mix_off"}  # decide what is asked for
BOXES = {"min_visible"}


@pytest.mark.parametrize("knob", sorted({field.name for field in fields(Augment)} - SAMPLER - BOXES))
def test_every_knob_changes_pictures(knob: str, samples: list[Sample]) -> None:
    varied = [_varied(samples, 1, index, **KNOBS[knob])[0] for index in range(len(samples))]
    changed = [index for index, image in enumerate(varied) if not torch.equal(image, samples[index][0])]
    assert len(changed) >= 5  # photometric and crop leave some alone


@pytest.mark.parametrize("knobs", COLOUR.values(), ids=COLOUR)
def test_colour_changes_leave_boxes_alone(knobs: dict[str, Any], samples: list[Sample]) -> None:
    for index, (_, target) in enumerate(samples):
        assert torch.equal(_varied(samples, 1, index, **knobs)[1]["boxes"], target["boxes"])


def test_mirroring_twice_is_nothing(samples: list[Sample]) -> None:
    image, target = _varied(samples, 1, 0, horizontal_flip=1.0)
    assert torch.equal(image.flip(2), samples[0][0])
    mirrored = target["boxes"].as_subclass(Tensor)[:, [2, 1, 0, 3]]
    mirrored[:, [0, 2]] = SIZE[1] - mirrored[:, [0, 2]]
    assert torch.allclose(mirrored, samples[0][1]["boxes"].as_subclass(Tensor), atol=1e-4)


def test_grayscale_takes_the_colour_away(samples: list[Sample]) -> None:
    image, _ = _varied(samples, 1, 0, grayscale=1.0)
    assert torch.equal(image[0], image[1])
    assert torch.equal(image[1], image[2])


@pytest.mark.parametrize("knob", ["vertical_flip", "mosaic", "mixup", "copy_paste", "resize_crop"])
def test_a_probability_is_the_share_of_pictures_that_change(knob: str, samples: list[Sample]) -> None:
    knobs = {**KNOBS[knob], knob: 0.3}
    changed = [
        not torch.equal(image, samples[place % 10][0]) for place, (image, _) in enumerate(_draws(samples, 20, **knobs))
    ]
    assert 0.18 < np.mean(changed) < 0.42


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"mosaic": 1.2}, "augment.mosaic: is a probability"),
        ({"mixup": -0.1}, "augment.mixup: is a probability"),
        ({"copy_paste": 2.0}, "augment.copy_paste: is a probability"),
        ({"resize_crop": 2.0}, "augment.resize_crop: is a probability"),
        ({"grayscale": 2.0}, "augment.grayscale: is a probability"),
        ({"resize_scale": [1.2, 0.8]}, "augment.resize_scale: must be"),
        ({"multi_scale": [0.0, 1.0]}, "augment.multi_scale: must be"),
        ({"scale": [1.0]}, "augment.scale: must be"),
        ({"min_visible": 1.5}, "augment.min_visible: is a share"),
        ({"mix_off": 1.5}, "augment.mix_off: is a probability"),
    ],
)
def test_impossible_knobs_are_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(NONE, **knobs)


def test_picture_and_target_of_a_data_set_pass_as_a_callable(samples: list[Sample]) -> None:
    picture: Callable[[int], Sample] = samples.__getitem__
    image, target = build_augmentation(replace(NONE, mosaic=1.0))(picture, 0, len(samples), (320, 480), True)
    assert image.shape == (3, 320, 480)
    assert len(target["labels"]) >= 1
