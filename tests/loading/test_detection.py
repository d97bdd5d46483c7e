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

from reprolens.config import Augment
from reprolens.config.compose import compose
from reprolens.errors import DataError
from reprolens.loading import (
    EpochBatches,
    EvaluationPictures,
    Key,
    TrainingPictures,
    build_augmentation,
    evaluation_loader,
    open_index,
    picture_cache,
    training_loader,
)
from reprolens.models.preprocessing import UNCHANGED
from reprolens.models.transform import FixedSizeTransform
from reprolens.voc import Folder

SIZE = (64, 96)
NONE = compose(Path(__file__).parents[2], ["augment=none"]).augment
GEOMETRY = {
    "crop": 0.5,
    "zoom_out": 0.5,
    "affine": 0.8,
    "max_rotation": 10.0,
    "max_translation": 0.2,
    "scale": [0.8, 1.2],
}
MIXED = {"mosaic": 0.5, "mixup": 0.3, "copy_paste": 0.3}
STRONG = replace(NONE, horizontal_flip=0.5, vertical_flip=0.5, photometric=0.8, grayscale=0.2, **GEOMETRY, **MIXED)

Seen = dict[str, tuple[Tensor, Tensor, Tensor]]


def _pictures(
    folder: Folder, augment: Augment = STRONG, seed: int = 5, cache: str = "memory", split: str = "train"
) -> TrainingPictures:
    index = open_index(folder)
    kept = picture_cache(index, split, SIZE, cache, 8)
    return TrainingPictures(index, split, SIZE, build_augmentation(augment), seed, kept)


def _key(epoch: int, index: int) -> Key:
    return Key(epoch, index, *SIZE, mix=True)


def _epoch(loader: DataLoader[Any], batches: EpochBatches, epoch: int) -> Seen:
    batches.epoch = epoch
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
    for workers, cache in ((0, "memory"), (2, "memory"), (0, "none"), (0, "disk")):
        pictures, batches = _pictures(rectangles, cache=cache), EpochBatches(10, 4, 5, SIZE, (0.5, 2.0))
        loader = training_loader(pictures, batches, workers)
        torch.manual_seed(workers)  # what else was drawn does not matter
        epochs.append([_epoch(loader, batches, epoch) for epoch in (1, 2)])
    assert all(_same(epochs[0][place], other[place]) for other in epochs[1:] for place in (0, 1))
    assert not _same(*epochs[0])


def test_a_picture_does_not_depend_on_what_was_loaded_before_it(rectangles: Folder) -> None:
    forward, backward = _pictures(rectangles), _pictures(rectangles)
    first = [forward[_key(3, index)] for index in range(10)]
    second = [backward[_key(3, index)] for index in reversed(range(10))][::-1]
    again = [forward[_key(3, index)] for index in range(10)]
    for one, two, three in zip(first, second, again, strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[0], three[0])
        assert torch.equal(one[1]["boxes"], two[1]["boxes"])


def test_loading_leaves_the_global_random_state_alone(rectangles: Folder) -> None:
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    _pictures(rectangles)[_key(1, 0)]
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("other", [{"seed": 6}, {"epoch": 2}, {"index": 1}])
def test_another_seed_epoch_or_picture_is_another_draw(other: dict[str, int], rectangles: Folder) -> None:
    here = {"seed": 5, "epoch": 1, "index": 0} | other
    twins = replace(rectangles, splits={"train": ("train_0", "train_0")})  # so that only the draw differs
    moved = replace(NONE, affine=1.0, max_translation=0.3)
    first = _pictures(twins, moved)[_key(1, 0)][0]
    second = _pictures(twins, moved, seed=here["seed"])[_key(here["epoch"], here["index"])][0]
    assert not torch.equal(first, second)


def test_boxes_are_scaled_with_the_picture_and_crowds_are_left_out(rectangles: Folder) -> None:
    pictures = _pictures(rectangles, NONE)
    for index, record in enumerate(rectangles.records("train")):
        _, target, id = pictures[_key(1, index)]
        single = [item for item in record.objects if not item.crowd]
        expected = torch.tensor([item.box for item in single]) * torch.tensor([96 / 120, 64 / 80] * 2)
        assert id == record.id
        assert torch.allclose(target["boxes"], expected)
        assert target["labels"].tolist() == [rectangles.classes.index(item.name) + 1 for item in single]
        assert len(single) == len(record.objects) - 1


def test_difficult_objects_are_learnt_and_empty_pictures_are_pictures(rectangles: Folder) -> None:
    plain = _pictures(rectangles, NONE, split="test")
    assert plain[_key(1, 0)][1]["labels"].tolist() == [2]
    empty = _pictures(rectangles, split="val")
    for epoch in range(10):
        image, target, _ = empty[_key(epoch, 0)]
        assert image.shape == (3, *SIZE)
        assert (target["boxes"].shape, target["labels"].shape) == ((0, 4), (0,))


def test_the_loader_resizes_as_the_network_does(tmp_path: Path, rectangles: Folder) -> None:
    # Pillow rounds to whole grey levels between its two passes; nothing else may differ.
    network = FixedSizeTransform(SIZE, UNCHANGED, 1)
    training, evaluation = _pictures(rectangles, NONE), EvaluationPictures(open_index(rectangles), "train")
    for index in range(len(training)):
        seen, _ = network.eval()([evaluation[index][0]])
        assert (training[_key(1, index)][0] / 255 - seen.tensors[0]).abs().max() <= 1.5 / 255


def test_evaluation_gives_the_pictures_as_they_are_in_their_order(rectangles: Folder) -> None:
    loader = evaluation_loader(EvaluationPictures(open_index(rectangles), "train"), 4)
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
        EvaluationPictures(open_index(broken), "val")[0]
    assert "\n" not in str(caught.value)
