"""Mosaic, mixup, copy-paste and resize-crop on pictures of which every pixel is known."""

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors

from reprolens.loading.mixing import PADDING, Sample, copy_paste, cut, mixup, mosaic, resize_crop, unbounded

SIZE = (60, 80)
Box = tuple[int, int, int, int]


def _sample(ground: int, objects: dict[int, Box], masks: bool = False, size: tuple[int, int] = SIZE) -> Sample:
    """Return a picture of grey `ground` with a rectangle for each object, in the colour that `_shown` knows it by."""
    image = torch.full((3, *size), ground, dtype=torch.uint8)
    shapes = torch.zeros(len(objects), *size, dtype=torch.bool)
    for place, (label, (x0, y0, x1, y1)) in enumerate(objects.items()):
        image[:, y0:y1, x0:x1] = 0
        image[label % 3, y0:y1, x0:x1] = label
        shapes[place, y0:y1, x0:x1] = True
    target = {
        "boxes": unbounded(torch.tensor(list(objects.values()), dtype=torch.float32), size),
        "labels": torch.tensor(list(objects), dtype=torch.int64),
        "visible": torch.ones(len(objects)),
    }
    return tv_tensors.Image(image), {**target, "masks": tv_tensors.Mask(shapes)} if masks else target


def _shown(image: Tensor, label: int, tolerance: int = 0) -> Tensor:
    """Return where a picture shows an object; its smoothed edge lies within a tolerance."""
    colour = torch.zeros(3, dtype=torch.int32)
    colour[label % 3] = label
    return ((image.int() - colour[:, None, None]).abs() <= tolerance).all(0)


def _gap(image: Tensor, label: int, box: list[float]) -> float:
    """Return by how much the object that a picture shows in and around a box misses its edges."""
    x0, y0, x1, y1 = (round(side) for side in box)
    near = torch.zeros(SIZE, dtype=torch.bool)
    near[max(0, y0 - 3) : y1 + 3, max(0, x0 - 3) : x1 + 3] = True
    extent = _extent(_shown(image, label, 50) & near)
    return max(abs(a - b) for a, b in zip(extent, box, strict=True))


def _extent(shape: Tensor) -> list[int]:
    rows, columns = torch.nonzero(shape, as_tuple=True)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


@pytest.mark.parametrize("seed", range(12))
def test_a_mosaic_shows_four_pictures_around_a_centre_each_with_its_own_objects(seed: int) -> None:
    torch.manual_seed(seed)
    tiles = [_sample(20 * place, {200 + place: (20, 15, 60, 45)}, masks=True) for place in range(4)]
    image, target = mosaic(tiles, SIZE)
    assert image.shape == (3, *SIZE)
    for place in range(4):
        ground = (image == 20 * place).all(0)
        if ground.any():
            x0, y0, x1, y1 = _extent(ground)
            others = [other for other in range(4) if other != place]
            shown = [_shown(image, 200 + other) | (image == 20 * other).all(0) for other in others]
            assert not any(other[y0:y1, x0:x1].any() for other in shown)
    for box, label, mask in zip(target["boxes"].tolist(), target["labels"].tolist(), target["masks"], strict=True):
        if min(box[2] - box[0], box[3] - box[1]) > 4:
            assert _gap(image, label, box) <= 2
            assert max(abs(a - b) for a, b in zip(_extent(mask), box, strict=True)) <= 1.5


def test_the_centre_and_scale_of_a_mosaic_vary() -> None:
    tiles = [_sample(60 * place, {}) for place in range(4)]
    shares = []
    for seed in range(60):
        torch.manual_seed(seed)
        image, _ = mosaic(tiles, SIZE)
        shares.append([(image[0] == 60 * place).float().mean() for place in range(4)])
    mean = torch.tensor(shares).mean(0)
    assert ((mean > 0.15) & (mean < 0.35)).all()
    assert (torch.tensor(shares).std(0) > 0.1).all()


def test_a_mosaic_keeps_the_share_of_each_object_that_it_shows() -> None:
    tiles = [_sample(0, {place + 1: (0, 0, SIZE[1], SIZE[0])}) for place in range(4)]
    for seed in range(10):
        torch.manual_seed(seed)
        image, target = mosaic(tiles, SIZE)
        boxes = target["boxes"].as_subclass(Tensor)
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        pixels = torch.tensor([float(_shown(image, label).sum()) for label in target["labels"].tolist()])
        assert torch.equal(areas, pixels)
        whole = areas / target["visible"]  # every tile has the same scale
        assert torch.allclose(whole, whole[:1].expand_as(whole))


def test_mixup_blends_half_and_half_and_keeps_the_objects_of_both() -> None:
    first = _sample(10, {200: (0, 0, 20, 20)}, masks=True)
    second = _sample(31, {100: (10, 10, 30, 30)}, masks=True)
    image, target = mixup(first, second)
    assert image[:, 15, 15].tolist() == [0, 50, 100]
    assert image[:, 50, 50].tolist() == [20] * 3
    assert target["labels"].tolist() == [200, 100]
    assert target["boxes"].tolist() == [[0, 0, 20, 20], [10, 10, 30, 30]]
    assert _extent(target["masks"][1]) == [10, 10, 30, 30]


@pytest.mark.parametrize("masks", [False, True])
def test_pasted_objects_lie_on_top_and_what_they_cover_shrinks_or_goes(masks: bool) -> None:
    """The base is a grid of objects, so that some are covered wholly, some in part and some not at all."""
    boxes = [(x, y, x + 14, y + 12) for x in range(1, 78, 16) for y in range(1, 56, 15)]
    base = _sample(0, dict(enumerate(boxes, start=1)), masks)
    whole = dict(enumerate(boxes, start=1))
    gone = shrunk = 0
    for seed in range(25):
        torch.manual_seed(seed)
        image, target = copy_paste(base, _sample(90, {201: (10, 10, 50, 45), 241: (60, 20, 76, 50)}, masks))
        labels = target["labels"].tolist()
        assert {201, 241} & set(labels)
        assert not (masks and (image == 90).all(0).any())  # by masks, nothing of the ground comes along
        for place, label in enumerate(labels):
            box = target["boxes"][place].tolist()
            if label > 200:
                assert min(box[2] - box[0], box[3] - box[1]) < 3 or _gap(image, label, box) <= 2
            else:
                shown = _shown(image, label)
                assert _extent(shown) == box
                assert target["visible"][place] == pytest.approx(float(shown.sum()) / (14 * 12))
                shrunk += tuple(box) != whole[label]
        for label in set(whole) - set(labels):
            gone += 1
            assert not _shown(image, label).any()
    assert gone > 10 and shrunk > 10


def test_masks_lose_what_is_pasted_over_them() -> None:
    torch.manual_seed(2)
    base = _sample(0, {1: (0, 0, SIZE[1], SIZE[0])}, masks=True)
    image, target = copy_paste(base, _sample(90, {201: (20, 20, 60, 40)}, masks=True))
    assert torch.equal(target["masks"][0].bool(), _shown(image, 1))
    assert not (target["masks"][0].bool() & target["masks"][1].bool()).any()


def test_without_objects_nothing_is_pasted() -> None:
    base = _sample(0, {1: (0, 0, 10, 10)})
    image, target = copy_paste(base, _sample(90, {}))
    assert image is base[0] and target is base[1]


@pytest.mark.parametrize("scale", [0.3, 0.7, 1.0, 1.6, 3.0])
def test_resize_crop_cuts_or_pads_and_boxes_follow(scale: float) -> None:
    places = set()
    for seed in range(12):
        torch.manual_seed(seed)
        image, target = resize_crop(_sample(0, {200: (30, 20, 50, 40)}), SIZE, scale)
        assert image.shape == (3, *SIZE)
        padded = float((image[0] == PADDING).float().mean())
        assert padded == pytest.approx(max(0.0, 1 - scale**2), abs=0.03)
        for box in target["boxes"].tolist():
            if min(box[2] - box[0], box[3] - box[1]) > 3:
                assert _gap(image, 200, box) <= 2
            places.add(tuple(box[:2]))
    assert len(places) > 4 or scale == 1


def test_a_cut_lowers_the_visible_share_by_what_it_takes() -> None:
    target = _sample(0, {1: (0, 0, 40, 10), 2: (60, 0, 80, 10), 3: (10, 10, 20, 20)})[1]
    once = cut(target, (20, 0, 80, 15))
    assert once["visible"].tolist() == [0.5, 1.0, 0.0]
    assert cut(once, (30, 0, 80, 15))["visible"].tolist() == [0.25, 1.0, 0.0]
    assert once["boxes"][0].tolist() == [20, 0, 40, 10]
