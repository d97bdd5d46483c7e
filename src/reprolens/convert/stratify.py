"""Sharing pictures out so that each split gets its share of every class, rare ones above all."""

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

NOTHING = ""
"""The class of pictures that show none: each split gets its share of them too."""

Unit = Sequence[Collection[str]]
"""Pictures that stay together, mostly a single one: the classes that each of them shows."""


def stratify(
    units: Sequence[Unit], shares: Mapping[str, float], chance: random.Random, bound: Collection[int] = ()
) -> list[str]:
    """Return the split of each unit, by iterative stratification of multi-label data.

    K. Sechidis, G. Tsoumakas, I. Vlahavas: On the Stratification of Multi-Label Data, ECML PKDD 2011, algorithm 1: the
    class of which fewest pictures are left comes first; each of its pictures goes to a split that lacks the class, then
    comes the next class. Beyond the paper:

    - Of the splits that lack at least half a picture of the class, the one is chosen that lacks most of what the
      picture shows: the sum, over its classes and the number of pictures, of what is lacking as a share of what the
      split is to get. The paper looks at the one class, so that what the others lose by it adds up: of 100,000 pictures
      with 80 classes the commonest was 96 pictures off, now 8, and the mean over classes and splits 0.3 instead of 1.1
      (drawn at random: 10). Units of several pictures show so much that this sum alone decides.
    - Sizes are exact (see `sizes`), because a split that is full takes no more. With units of several pictures a split
      exceeds its size by less than the largest unit; larger ones are placed first. None stays empty that need not.
    - Pictures that show nothing are a class of their own.
    - Train, if it is among the splits, is first given a unit of every class, as far as it has room, because what it
      lacks cannot be learnt.

    The units with the indices `bound` belong to the first split from the beginning. Time and memory grow with the sum,
    over all pictures, of the classes shown.
    """
    state = _start(units, shares)
    for unit in bound:
        state.put(unit, 0)
    order = [unit for unit in range(len(units)) if state.split[unit] is None]
    chance.shuffle(order)
    order.sort(key=lambda unit: -state.size[unit])
    by_class: list[list[int]] = [[] for _ in state.left]
    for unit in order:
        for name, _ in state.shown[unit]:
            by_class[name].append(unit)
    names = list(shares)
    if "train" in shares:
        _cover(state, by_class, names.index("train"))
    pending = {name for name, members in enumerate(by_class) if members}
    while pending:
        rarest = min(pending, key=lambda name: (state.left[name], name))
        pending.remove(rarest)
        for unit in by_class[rarest]:
            if state.split[unit] is None:
                state.put(unit, state.best(unit, rarest, chance))
    return [names[split] for split in state.split if split is not None]


def sizes(count: int, shares: Mapping[str, float]) -> list[int]:
    """Return how many of `count` pictures each split gets: by largest remainder, but one each as far as they go."""
    if count <= len(shares):
        return [int(number < count) for number in range(len(shares))]
    total = sum(shares.values())
    exact = [round(count * share / total, 9) for share in shares.values()]  # 0.29 * 100 is 28.999999999999996
    given = [int(quota) for quota in exact]
    lacking = sorted(range(len(exact)), key=lambda split: given[split] - exact[split])
    for split in lacking[: count - sum(given)]:
        given[split] += 1
    for split, number in enumerate(given):
        if number == 0:
            given[given.index(max(given))] -= 1
            given[split] = 1
    return given


@dataclass(slots=True)
class _State:
    """What is placed and what is lacking. Classes and splits are numbers; every count is of pictures."""

    size: list[int]
    shown: list[tuple[tuple[int, int], ...]]  # of each unit: its classes, and how many of its pictures show each
    split: list[int | None]
    room: list[int]  # of each split: how many more it is to get
    wanted: list[int]  # of each split: how many it is to get in all
    lacking: list[list[int]]  # of each split and class: how many more it is to get, times the number of all pictures
    weight: list[list[float]]  # of each split and class: the inverse of what was lacking at the beginning
    left: list[int]  # of each class: how many are not placed yet
    waiting: int  # units that are not placed yet
    empty: set[int]  # splits that have none yet and are to get some
    pictures: int

    def put(self, unit: int, split: int) -> None:
        self.split[unit] = split
        self.room[split] -= self.size[unit]
        lacking = self.lacking[split]
        for name, count in self.shown[unit]:
            lacking[name] -= count * self.pictures
            self.left[name] -= count
        self.waiting -= 1
        self.empty.discard(split)

    def best(self, unit: int, name: int, chance: random.Random) -> int:
        """Return the split for a unit that shows a class: see `stratify`.

        Only those count that have room for it, or else the one with most room. The splits' rooms add up to what is not
        placed yet, so that some split has room as long as anything waits.
        """
        splits = [split for split, room in enumerate(self.room) if room >= self.size[unit]]
        if self.waiting <= len(self.empty):
            fitting = [split for split in splits if split in self.empty]
            splits = fitting or [max(sorted(self.empty), key=self.room.__getitem__)]
        elif not splits:
            splits = [self.room.index(max(self.room))]
        if len(splits) == 1:
            return splits[0]
        keys = []
        for split in splits:
            lacking, weight = self.lacking[split], self.weight[split]
            shares = sum(lacking[shown] * weight[shown] for shown, _ in self.shown[unit])
            shares += self.room[split] / self.wanted[split]
            keys.append((self.size[unit] == 1 and lacking[name] * 2 >= self.pictures, shares))
        best = max(keys)
        equal = [split for split, key in zip(splits, keys, strict=True) if key == best]
        return equal[0] if len(equal) == 1 else chance.choice(equal)


def _start(units: Sequence[Unit], shares: Mapping[str, float]) -> _State:
    names = sorted({name for unit in units for classes in unit for name in classes} | {NOTHING})
    number = {name: index for index, name in enumerate(names)}
    known: dict[frozenset[str], tuple[tuple[int, int], ...]] = {}  # most pictures show what others show too
    shown = []
    for unit in units:
        if len(unit) == 1:
            key = frozenset(unit[0])
            if key not in known:
                known[key] = tuple((number[name], 1) for name in sorted(key or {NOTHING}))
            shown.append(known[key])
        else:
            counts = Counter(number[name] for classes in unit for name in set(classes) or {NOTHING})
            shown.append(tuple(sorted(counts.items())))
    left = [0] * len(names)
    for classes in shown:
        for name, count in classes:
            left[name] += count
    size = [len(unit) for unit in units]
    wanted = sizes(sum(size), shares)
    lacking = [[goal * count for count in left] for goal in wanted]
    weight = [[1 / number if number else 0.0 for number in row] for row in lacking]
    empty = {split for split, goal in enumerate(wanted) if goal}
    split: list[int | None] = [None] * len(units)
    return _State(size, shown, split, list(wanted), wanted, lacking, weight, left, len(units), empty, sum(size))


def _cover(state: _State, by_class: Sequence[Sequence[int]], train: int) -> None:
    """Give train a unit of every class that it lacks, the rarest class first: the unit that brings it most of them."""
    covered = {name for unit, split in enumerate(state.split) if split == train for name, _ in state.shown[unit]}
    covered.add(0)  # NOTHING comes first of all names; nobody has to learn it

    def worth(unit: int) -> tuple[bool, int, int]:
        new = sum(name not in covered for name, _ in state.shown[unit])
        return state.size[unit] <= state.room[train], new, -state.size[unit]

    for name in sorted(range(len(by_class)), key=lambda name: (len(by_class[name]), name)):
        free = [] if name in covered else [unit for unit in by_class[name] if state.split[unit] is None]
        if state.room[train] <= 0 or state.waiting <= len(state.empty - {train}):
            return
        if free:
            unit = max(free, key=worth)
            state.put(unit, train)
            covered.update(shown for shown, _ in state.shown[unit])
