"""Which pictures are for training, which choose the best model, and which measure it."""

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from reprolens.config.data import Action
from reprolens.convert.grouping import groups
from reprolens.convert.source import Problem
from reprolens.convert.stratify import stratify
from reprolens.errors import DataError
from reprolens.voc.folder import SPLITS

__all__ = ["TRAINVAL", "Entry", "groups", "split"]

TRAINVAL = "trainval"
"""VOC's name for train and val together."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What sharing out has to know of a picture.

    `split` is what the source says: train, val, test, trainval, or None. `classes` are those that the picture shows, as
    objects or as a whole. Pictures of the same `group` must not part; None is a picture on its own. `file` and `place`
    name it in problems.
    """

    id: str
    split: str | None
    classes: Collection[str]
    group: str | None = None
    file: str = ""
    place: str = ""


def split(
    entries: Sequence[Entry], ratios: Sequence[float], seed: int, problems: list[Problem]
) -> dict[str, list[str]]:
    """Return the ids of train, val and test, sorted; what had to be decided beyond the source is added to `problems`.

    - What the source names for a split stays in it.
    - What it names as trainval becomes train and val (and test, where there is nothing else for it), by `ratios`.
    - Pictures that it does not name fill the splits for which it names none, by `ratios`; where it names some for each
      split, they are left out.
    - A split that is still empty is taken out of train, by `ratios`: val stays what its author made it.
    - Pictures of one group never part, unless the source itself parts them; what it does not name follows the others.

    Each share is stratified by class. The seed alone decides, not the entries' order. A split can stay empty if there
    are fewer pictures than splits, or none for train; if it is the groups that are too few, DataError is raised.
    """
    entries = sorted(entries, key=lambda entry: entry.id)
    splits = _drawn(entries, dict(zip(SPLITS, ratios, strict=True)), random.Random(seed), problems)
    empty = [name for name in SPLITS if not splits[name]]
    if empty and any(entry.group is not None for entry in entries):
        alone = [replace(entry, group=None) for entry in entries]
        if all(split(alone, ratios, seed, []).values()):
            raise DataError(
                f"no picture is left for {' and '.join(empty)}: the groups of data.group_by, and pictures that are the "
                f"same byte for byte, must not part, and those of {len(entries)} pictures are too few or tied to other "
                "splits; add pictures, or let data.group_by make smaller groups or none (null)"
            )
    return {name: sorted(entry.id for entry in part) for name, part in splits.items()}


def _drawn(
    entries: Sequence[Entry], shares: Mapping[str, float], chance: random.Random, problems: list[Problem]
) -> dict[str, list[Entry]]:
    splits = {name: [entry for entry in entries if entry.split == name] for name in SPLITS}
    both = [entry for entry in entries if entry.split == TRAINVAL]
    loose = [entry for entry in entries if entry.split is None]
    named = len(loose) < len(entries)
    problems += _parted(splits)

    def share_out(free: Sequence[Entry], names: Sequence[str], bound: Sequence[Entry] = ()) -> None:
        for name, part in _shared(free, bound, {name: shares[name] for name in names}, chance).items():
            splits[name] += part

    if both:
        names = [name for name in ("train", "val") if not splits[name]] or ["train"]
        names += ["test"] if "train" in names and not splits["test"] and not loose else []
        both, _ = _joined(both, splits, ("train", "val"))
        share_out(both, names)
    empty = [name for name in SPLITS if not splits[name]]
    if loose and empty:
        loose, joined = _joined(loose, splits, SPLITS)
        problems += [_followed(name, count) for name, count in joined.items()]
        share_out(loose, empty)
        if named:
            problems += _filled(splits, empty, "the pictures that it names for none")
    elif loose:
        reason = "the source names it for no split, but others for each"
        problems += [Problem("not_in_image_sets", e.file or e.id, e.place, reason, Action.drop) for e in loose]
    empty = [name for name in SPLITS if not splits[name]]
    if empty and "train" not in empty:
        train, splits["train"] = splits["train"], []
        homes = _homes(splits, SPLITS)  # of a group that the source has in val too, nothing goes to test
        bound = [entry for entry in train if entry.group in homes]
        share_out([entry for entry in train if entry.group not in homes], ["train", *empty], bound)
        problems += _filled(splits, empty, "train")
    return splits


def _homes(splits: Mapping[str, Sequence[Entry]], names: Iterable[str]) -> dict[str | None, str]:
    """Return the split of each group that is in one of those named; of a parted group, the one with most of it."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for name in names:
        for entry in splits[name]:
            if entry.group is not None:
                counts[entry.group][name] += 1
    return {group: counter.most_common(1)[0][0] for group, counter in counts.items()}


def _joined(
    entries: Sequence[Entry], splits: Mapping[str, list[Entry]], names: Iterable[str]
) -> tuple[list[Entry], Counter[str]]:
    """Put the pictures whose group is in one of the splits named there; return the others, and how many went where."""
    homes = _homes(splits, names)
    counts: Counter[str] = Counter()
    others = []
    for entry in entries:
        if entry.group in homes:
            splits[homes[entry.group]].append(entry)
            counts[homes[entry.group]] += 1
        else:
            others.append(entry)
    return others, counts


def _shared(
    free: Sequence[Entry], bound: Sequence[Entry], shares: Mapping[str, float], chance: random.Random
) -> dict[str, list[Entry]]:
    """Share pictures out by `shares`, groups whole, stratified by class; those bound belong to the first name."""
    by_group: dict[str | tuple[str], list[Entry]] = defaultdict(list)
    for entry in free:
        by_group[(entry.id,) if entry.group is None else entry.group].append(entry)
    units = [*by_group.values(), *([list(bound)] if bound else [])]
    chosen = stratify(
        [[entry.classes for entry in unit] for unit in units],
        shares,
        chance,
        bound=[len(units) - 1] if bound else [],
    )
    parts: dict[str, list[Entry]] = {name: [] for name in shares}
    for unit, name in zip(units, chosen, strict=True):
        parts[name] += unit
    return parts


# ---- what is told


def _filled(splits: Mapping[str, Sequence[Entry]], names: Iterable[str], where: str) -> list[Problem]:
    told = "the source names no pictures for {}: it got {} of {}, by data.ratios and seed"
    counts = {name: len(splits[name]) for name in names if splits[name]}
    return [
        Problem("missing_image_set", "", name, told.format(name, count, where), Action.fix)
        for name, count in counts.items()
    ]


def _followed(name: str, count: int) -> Problem:
    reason = f"the source names {count} pictures for no split, but others of their groups for {name}: they follow"
    return Problem("not_in_image_sets", "", name, reason, Action.fix)


def _parted(splits: Mapping[str, Sequence[Entry]]) -> list[Problem]:
    """Tell of the groups that the source itself has in several splits."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in SPLITS:
        for group in {entry.group for entry in splits[name]} - {None}:
            found[group].append(name)  # type: ignore[index]
    parted = sorted(group for group, names in found.items() if len(names) > 1)
    if not parted:
        return []
    where = " and ".join(found[parted[0]])
    reason = f"the source itself parts groups of data.group_by, {len(parted)} in all: {parted[0]!r} is in {where}"
    return [Problem("parted_group", "", "", reason, Action.keep)]
