"""Training and evaluation pictures: what is in them, and that a draw depends on nothing but seed, epoch and picture."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from reprolens.config import Augment
from reprolens.errors import DataError
from reprolens.loading import (
    EvaluationPictures,
    TrainingPictures,
    build_augmentation,
    evaluation_loader,
    training_loader,
)
from reprolens.loading.detection import EpochSampler
from reprolens.models.transform import FixedSizeTransform
from reprolens.voc import Folder

NONE = Augment(0, 0, 0, 0, 0, 0, 0, 0, 0, [1.0, 1.0])
STRONG = Augment(0.5, 0.5, 0.8, 0.2, 0.5, 0.5, 0.8, 10.0, 0.2, [0.8, 1.2])
SIZE = (64, 96)

Seen = dict[str, tuple[Tensor, Tensor, Tensor]]


def _pictures(folder: Folder, augment: Augment = STRONG, seed: int = 5, cache_mb: int = 8) -> TrainingPictures:
    return TrainingPictures(folder, "train", SIZE, build_augmentation(augment, SIZE), seed, cache_mb)


def _epoch(loader: DataLoader[Any], sampler: EpochSampler, epoch: int) -> Seen:
    sampler.epoch = epoch
    seen: Seen = {}
    for images, targets, ids in loader:
        for image, target, id in zip(images, targets, ids, strict=True):
            assert id not in seen
            seen[id] = (image, target["boxes"], target["labels"])
    return seen


def _same(first: Seen, second: Seen) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(*pair) for id in first for pair in zip(first[id], second[id], strict=True)
    )


def test_an_epoch_gives_the_same_pictures_with_any_number_of_workers_and_with_or_without_memory(
    rectangles: Folder,
) -> None:
    epochs: list[list[Seen]] = []
    for workers, cache_mb in ((0, 8), (2, 8), (0, 0)):
        pictures, sampler = _pictures(rectangles, cache_mb=cache_mb), EpochSampler(10, 5)
        loader = training_loader(pictures, sampler, 4, workers)
        torch.manual_seed(workers)  # what else was drawn does not matter
        epochs.append([_epoch(loader, sampler, epoch) for epoch in (1, 2)])
    assert all(_same(epochs[0][place], other[place]) for other in epochs[1:] for place in (0, 1))
    assert not _same(*epochs[0])


def test_a_picture_does_not_depend_on_what_was_loaded_before_it(rectangles: Folder) -> None:
    forward, backward = _pictures(rectangles), _pictures(rectangles)
    first = [forward[3, index] for index in range(10)]
    second = [backward[3, index] for index in reversed(range(10))][::-1]
    again = [forward[3, index] for index in range(10)]
    for one, two, three in zip(first, second, again, strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[0], three[0])
        assert torch.equal(one[1]["boxes"], two[1]["boxes"])


def test_loading_leaves_the_global_random_state_alone(rectangles: Folder) -> None:
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    _pictures(rectangles)[1, 0]
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("other", [{"seed": 6}, {"epoch": 2}, {"index": 1}])
def test_another_seed_epoch_or_picture_is_another_draw(other: dict[str, int], rectangles: Folder) -> None:
    here = {"seed": 5, "epoch": 1, "index": 0} | other
    twins = replace(rectangles, splits={"train": ("train_0", "train_0")})  # so that only the draw differs
    moved = replace(NONE, affine=1.0, max_translation=0.3)
    first = _pictures(twins, moved)[1, 0][0]
    second = _pictures(twins, moved, seed=here["seed"])[here["epoch"], here["index"]][0]
    assert not torch.equal(first, second)


def test_every_epoch_shows_every_picture_once_in_an_order_of_its_own(rectangles: Folder) -> None:
    sampler = EpochSampler(10, 5)
    orders = []
    for epoch in (1, 2, 1):
        sampler.epoch = epoch
        orders.append([index for _, index in sampler])
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert orders[0] == orders[2]
    assert orders[0] != orders[1]
    assert orders[0] != [index for _, index in EpochSampler(10, 6)]


@pytest.mark.parametrize(
    ("size", "batch", "sizes"), [(10, 4, [4, 4, 2]), (10, 3, [3, 3, 3]), (10, 16, [10]), (10, 1, [1] * 10)]
)
def test_a_last_batch_of_one_is_left_out(size: int, batch: int, sizes: list[int], rectangles: Folder) -> None:
    pictures, sampler = _pictures(rectangles), EpochSampler(size, 5)
    loader = training_loader(pictures, sampler, batch, 0)
    assert [len(ids) for _, _, ids in loader] == sizes
    assert len(loader) == len(sizes)


def test_boxes_are_scaled_with_the_picture_and_crowds_are_left_out(rectangles: Folder) -> None:
    pictures = _pictures(rectangles, NONE)
    for index, record in enumerate(rectangles.records("train")):
        _, target, id = pictures[1, index]
        single = [item for item in record.objects if not item.crowd]
        expected = torch.tensor([item.box for item in single]) * torch.tensor([96 / 120, 64 / 80] * 2)
        assert id == record.id
        assert torch.allclose(target["boxes"], expected)
        assert target["labels"].tolist() == [rectangles.classes.index(item.name) + 1 for item in single]
        assert len(single) == len(record.objects) - 1


def test_difficult_objects_are_learnt_and_empty_pictures_are_pictures(rectangles: Folder) -> None:
    augmentation = build_augmentation(STRONG, SIZE)
    plain = TrainingPictures(rectangles, "test", SIZE, build_augmentation(NONE, SIZE), 5, 8)
    assert plain[1, 0][1]["labels"].tolist() == [2]
    empty = TrainingPictures(rectangles, "val", SIZE, augmentation, 5, 8)
    for epoch in range(10):
        image, target, _ = empty[epoch, 0]
        assert image.shape == (3, *SIZE)
        assert (target["boxes"].shape, target["labels"].shape) == ((0, 4), (0,))


def test_the_loader_resizes_as_the_network_does(tmp_path: Path, rectangles: Folder) -> None:
    # Pillow rounds to whole grey levels between its two passes; nothing else may differ.
    as_is = GeneralizedRCNNTransform(1, 1, [0.0] * 3, [1.0] * 3, size_divisible=1)
    network = FixedSizeTransform(SIZE, as_is)
    training, evaluation = _pictures(rectangles, NONE), EvaluationPictures(rectangles, "train")
    for index in range(len(training)):
        seen, _ = network([evaluation[index][0]])
        assert (training[1, index][0] - seen.tensors[0]).abs().max() <= 1.5 / 255


def test_evaluation_gives_the_pictures_as_they_are_in_their_order(rectangles: Folder) -> None:
    loader = evaluation_loader(EvaluationPictures(rectangles, "train"), 4)
    seen = [(image, record) for images, records in loader for image, record in zip(images, records, strict=True)]
    assert [record.id for _, record in seen] == list(rectangles.splits["train"])
    for image, record in seen:
        pixels = np.asarray(Image.open(rectangles.image(record)))
        assert torch.equal(image, torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255)


def test_a_picture_that_does_not_decode_is_named(rectangles: Folder, tmp_path: Path) -> None:
    root = tmp_path / "voc"
    (root / "JPEGImages").mkdir(parents=True)
    (root / "JPEGImages" / "val_0.png").write_bytes(b"\x89PNG but no more")
    (root / "Annotations").symlink_to(rectangles.root / "Annotations")
    broken = replace(rectangles, root=root)
    with pytest.raises(DataError, match=r"val_0\.png: does not decode") as caught:
        EvaluationPictures(broken, "val")[0]
    assert "\n" not in str(caught.value)
