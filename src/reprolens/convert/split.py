"""Which pictures are for training, which choose the best model, and which measure it."""

import random
from collections.abc import Sequence

from reprolens.config.schema import Action
from reprolens.convert.source import Problem, SourceImage
from reprolens.voc import Record
from reprolens.voc.folder import SPLITS

TRAINVAL = "trainval"
"""VOC's name for train and val together."""


def split(
    images: Sequence[SourceImage], ratios: Sequence[float], seed: int, problems: list[Problem]
) -> dict[str, list[Record]]:
    """Return the pictures of train, val and test; what had to be decided beyond the source is added to `problems`.

    - What the source names for a split stays in it.
    - What it names as trainval becomes train and val (and test, where there is nothing else for it), by `ratios`.
    - Pictures that it does not name fill the splits for which it names none, by `ratios`; where it names some for each
      split, they are left out.
    - A split that is still empty is taken out of train, by `ratios`: val stays what its author made it.

    A split can stay empty if there are fewer pictures than splits, or none for train.
    """
    chance = random.Random(seed)
    splits = {name: [image.record for image in images if image.split == name] for name in SPLITS}
    both = [image.record for image in images if image.split == TRAINVAL]
    loose = [image for image in images if image.split is None]
    named = any(splits.values()) or bool(both)
    shares = dict(zip(SPLITS, ratios, strict=True))

    def share_out(records: list[Record], names: list[str]) -> None:
        for name, part in _shared(records, {name: shares[name] for name in names}, chance).items():
            splits[name] = sorted([*splits[name], *part], key=lambda record: record.id)

    if both:
        names = [name for name in ("train", "val") if not splits[name]] or ["train"]
        names += ["test"] if "train" in names and not splits["test"] and not loose else []
        share_out(both, names)
    empty = [name for name in SPLITS if not splits[name]]
    if loose and empty:
        share_out([image.record for image in loose], empty)
        if named:
            problems += [_filled(name, len(splits[name]), "the pictures that no image set names") for name in empty]
    elif loose:
        reason = "no image set names it"
        problems += [Problem("not_in_image_sets", i.record.file, i.place, reason, Action.drop) for i in loose]
    empty = [name for name in SPLITS if not splits[name]]
    if empty and "train" not in empty:
        train, splits["train"] = splits["train"], []
        share_out(train, ["train", *empty])
        problems += [_filled(name, len(splits[name]), "train") for name in empty]
    return splits


def _filled(name: str, count: int, where: str) -> Problem:
    reason = f"the source names no pictures for {name}: it got {count} of {where}, by data.ratios and seed"
    return Problem("missing_image_set", "", f"ImageSets/Main/{name}.txt", reason, Action.fix)


def _shared(records: list[Record], shares: dict[str, float], chance: random.Random) -> dict[str, list[Record]]:
    """Share `records` out by `shares`, at random, at least one each as far as they go.

    The first name gets the first pictures that show each class, so that train misses none that it could have.
    """
    records = list(records)
    chance.shuffle(records)
    records = _every_class_first(records)
    total, start, parts = sum(shares.values()), 0, {}
    for number, (name, share) in enumerate(shares.items(), 1):
        rest, later = len(records) - start, len(shares) - number
        count = min(max(round(len(records) * share / total), 1), max(rest - later, 0)) if later else rest
        parts[name] = records[start : start + count]
        start += count
    return parts


def _every_class_first(records: list[Record]) -> list[Record]:
    seen: set[str] = set()
    first: list[Record] = []
    others: list[Record] = []
    for record in records:
        names = {item.name for item in record.objects}
        (others if names <= seen else first).append(record)
        seen |= names
    return first + others
