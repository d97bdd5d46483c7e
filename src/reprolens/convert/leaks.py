"""Pictures that are the same, byte for byte, in several splits: test would show what training has seen.

Where the splits are drawn here, the same pictures go into the same one (`tied`). Where the source itself has a picture
in several, that is a `leak`, and one of them alone may keep it: the more final one, so that what others publish their
numbers on stays as it is.
"""

from collections.abc import Mapping, Sequence

from reprolens.config import Policy
from reprolens.config.data import Action
from reprolens.convert.check import Checked, judged
from reprolens.convert.duplicates import same_bytes
from reprolens.convert.source import Problem
from reprolens.convert.split import TRAINVAL
from reprolens.errors import DataError
from reprolens.voc import Record

FINALITY = {"train": 0, TRAINVAL: 1, "val": 2, "test": 3}
"""How final a split is: train fits the model, val chooses it, test measures it."""


def tied(images: Sequence[Checked], groups: Sequence[str | None]) -> list[str | None]:
    """Return the groups of pictures that must not part, the same pictures now being in the same one.

    `groups` are those that data.group_by makes. Groups that share a picture become one. Pictures that the source itself
    has in different splits are not tied: whatever is drawn, they are apart.
    """
    joined = list(groups)
    members: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        if group is not None:
            members.setdefault(group, []).append(place)
    for same in same_bytes([None if image.picture is None else image.picture.digest for image in images]):
        if not _can_join({images[place].image.split for place in same}):
            continue
        names = list(dict.fromkeys(group for place in same if (group := joined[place]) is not None))
        name = names[0] if names else f"the same picture as {images[same[0]].image.record.file}"
        merged = [*same, *(place for old in names for place in members.pop(old))]
        members[name] = list(dict.fromkeys(merged))
        for place in merged:
            joined[place] = name
    return joined


def _can_join(named: set[str | None]) -> bool:
    """Say whether pictures that the source names for these splits (None: for none) can all go into one."""
    named = named - {None}
    return len(named - {TRAINVAL}) < 2 and not {TRAINVAL, "test"} <= named


def tell_of_leaks(
    images: Sequence[Checked], splits: Mapping[str, Sequence[Record]], policy: Policy, problems: list[Problem]
) -> dict[str, str]:
    """Tell of pictures that are in several splits, byte for byte, but for those in the most final one of theirs.

    Return, by the id of each one told of, the split that holds the same picture.
    """
    part = {record.id: name for name, records in splits.items() for record in records if name in FINALITY}
    known = [image for image in images if image.image.record.id in part]
    told: dict[str, str] = {}
    for same in same_bytes([None if image.picture is None else image.picture.digest for image in known]):
        members = [known[place].image for place in same]
        home = max((part[image.record.id] for image in members), key=FINALITY.__getitem__)
        first = next(image.record.file for image in members if part[image.record.id] == home)
        for image in members:
            own = part[image.record.id]
            if own != home:
                reason = f"in {own}, the same picture as {first} in {home}, byte for byte"
                problems.append(judged(Problem("leak", image.record.file, image.place, reason), policy))
                told[image.record.id] = home
    return told


def without_leaks(
    images: Sequence[Checked], splits: Mapping[str, Sequence[Record]], policy: Policy, problems: list[Problem]
) -> dict[str, list[Record]]:
    """Tell of leaks and return the splits without them, where the policy is to drop them.

    Raises DataError if that would leave a split without pictures.
    """
    leaks = tell_of_leaks(images, splits, policy, problems)
    if policy.leak != Action.drop:
        return {name: list(records) for name, records in splits.items()}
    kept = {name: [record for record in records if record.id not in leaks] for name, records in splits.items()}
    for name in (name for name, records in kept.items() if not records):
        home = " or ".join(sorted({leaks[record.id] for record in splits[name]}))
        raise DataError(
            f"all {len(splits[name])} pictures of {name} are in {home} too, byte for byte; give {name} pictures of its "
            "own, or take one of the two away: convert then takes that split out of train"
        )
    return kept
