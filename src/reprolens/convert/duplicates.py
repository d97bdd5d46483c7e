"""Pictures that occur more than once: byte for byte, or looking the same although their bytes differ.

A picture in test that looks like one in train is nothing new to the model, so that test flatters it.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from PIL import Image

BITS = 256
"""Bits of a fingerprint: 16 rows of 16 comparisons."""

NEAR = 20
"""Bits, of 256, in which two fingerprints may differ at most for their pictures to count as near-duplicates.

Tried on altered copies of photographs (of VOC, blood smears, cars). Found: all at JPEG quality 30 and at half or 1.7
times the size, 97 % or more at 0.7 to 1.3 times the brightness or contrast, 98 % with 1 % cut off on every side, a
third or fewer with 2 % cut off, which are 23 to 27 bits away. Different pictures: 4,753 pairs of VOC photographs are at
least 69 bits apart; 66,066 of blood smears 78, but for two shots of one field of view, at 19; 455,535 of composed digit
scenes 39; of 124,750 of hands before a wall 8 are taken for near, mostly the same sign by the same hand.
"""

LEAST_CERTAIN = 128
"""Comparisons, of 256, that a difference of at least one grey level must decide: half.

A drawing on white has fewer: most of its bits say only where nothing is, and different drawings agree in them. Of 544
characters of Omniglot's 338 pairs would be taken for near; this rule leaves out 535 of them, 2 of 100 photographs
(plain sky), and none of the blood smears, cars and hands.
"""

MOST_PAIRS = 100_000
"""Pairs that are listed at most: the frames of a fixed camera all look the same, each like every other."""

_SIDE = 16


def fingerprint(picture: Image.Image) -> int | None:
    """Return a picture's difference hash of 256 bits, or None where it shows too little to be told from others.

    The picture, as given, is made grey (ITU-R 601 luma) and reduced to 17 x 16 (weighted by a triangle, which small
    shifts change little); each bit says whether a value is above its left neighbour, row by row from the top, the first
    being the highest bit. So scale, compression, brightness and contrast hardly matter (N. Krawetz, Kind of Like That,
    2013, there with 64 bits).
    None: fewer than LEAST_CERTAIN neighbours differ by at least one of 255 grey levels.
    """
    if picture.mode.startswith("I;16"):  # Pillow would cut every value above 255
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    grey = picture.convert("L")
    # In two steps, because floating point is slow on a large picture and eight bits too coarse for faint ones.
    scale = max(min(grey.width // (17 * 8), grey.height // (_SIDE * 8)), 1)
    box = (0, 0, grey.width / scale, grey.height / scale)  # the last row and column may stand for less than a pixel
    small = grey.reduce(scale).convert("F").resize((_SIDE + 1, _SIDE), Image.Resampling.BILINEAR, box)
    steps = np.diff(np.asarray(small), axis=1)
    if np.count_nonzero(np.abs(steps) >= 1) < LEAST_CERTAIN:
        return None
    return int.from_bytes(np.packbits(steps > 0).tobytes(), "big")


def near_duplicates(
    hashes: Sequence[int | None], parts: Sequence[str], distance: int = NEAR, most: int = MOST_PAIRS
) -> list[tuple[int, int]]:
    """Return the pairs (lower index first, in order) of pictures in different parts that look the same.

    They are those whose fingerprints differ in at most `distance` bits; pictures without one (None) look like none.
    Of more than `most` pairs the search returns only the first that it met. Every picture is compared with all of the
    other parts, but in 64 bits first, which costs under a nanosecond a pair whatever the pictures show; tables of parts
    of the hashes, which promise less work, fail where many pictures share a border or a background.
    """
    if all(value is None for value in hashes):
        return []
    kept = np.array([index for index, value in enumerate(hashes) if value is not None], dtype=np.int64)
    words = _words([value for value in hashes if value is not None])
    names = np.array([parts[index] for index in kept], dtype=object)
    pairs: list[tuple[int, int]] = []
    # `take`, unlike an index, keeps each word's values side by side.
    for first, second in combinations(sorted(set(names.tolist())), 2):
        few, many = sorted((np.flatnonzero(names == first), np.flatnonzero(names == second)), key=len)
        for one, others in _near(words.take(few, axis=1), words.take(many, axis=1), distance):
            pairs += [tuple(sorted((int(kept[few[one]]), int(kept[many[other]])))) for other in others]  # type: ignore[misc]
            if len(pairs) >= most:
                return sorted(pairs[:most])
    return sorted(pairs)


def same_bytes(digests: Sequence[Hashable | None]) -> list[list[int]]:
    """Return the indices of pictures with the same digest, of two or more, in the order of their first; skips None."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for index, digest in enumerate(digests):
        if digest is not None:
            groups[digest].append(index)
    return [group for group in groups.values() if len(group) > 1]


def _words(hashes: Sequence[int]) -> np.ndarray[Any, Any]:
    """Return hashes as uint64 `(4, n)`. The bits are reordered so that the first word has those that vary most.

    Where all pictures have a white border, the bits there are the same in all and would tell none from another.
    """
    data = b"".join(value.to_bytes(BITS // 8, "big") for value in hashes)
    bits = np.unpackbits(np.frombuffer(data, np.uint8).reshape(-1, BITS // 8), axis=1)
    balance = np.abs(bits.sum(axis=0, dtype=np.int64) * 2 - len(bits))
    packed = np.packbits(np.ascontiguousarray(bits[:, np.argsort(balance, kind="stable")]), axis=1)
    return np.ascontiguousarray(np.ascontiguousarray(packed).view(np.uint64).T)


def _near(
    few: np.ndarray[Any, Any], many: np.ndarray[Any, Any], distance: int
) -> Iterator[tuple[int, np.ndarray[Any, Any]]]:
    """Yield for each of `few` hashes `(4, n)` that is near any its index and those of `many` within `distance`."""
    different, counts = np.empty_like(many[0]), np.empty(many.shape[1], np.uint8)
    for one in range(few.shape[1]):
        np.bitwise_xor(many[0], few[0, one], out=different)
        np.bitwise_count(different, out=counts)
        found = np.flatnonzero(counts <= distance)
        total = counts[found].astype(np.uint16)
        for word in range(1, len(many)):
            if not len(found):  # after the first word some 3 % are left, after the second hardly any
                break
            total += np.bitwise_count(many[word].take(found) ^ few[word, one])
            near = total <= distance
            found, total = found[near], total[near]
        if len(found):
            yield one, found
