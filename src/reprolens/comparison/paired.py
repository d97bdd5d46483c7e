"""Whether two detectors really differ: differences of their numbers with 95 % intervals by paired bootstrap.

Sources: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 8 and 13; Davison and Hinkley,
"Bootstrap Methods and their Application" (1997), chapter 5; Hesterberg, "What Teachers Should Know About the Bootstrap"
(The American Statistician 69, 2015), section 5.2, for the widening of the interval where pictures are few.

Both are measured on the same pictures, and every resample draws the same pictures for both: a hard picture is hard for
both, so that the difference moves less than the two numbers apart. The interval is the percentile one. Of a single
number it lies beside the truth (see bootstrap.py), but what makes AP of few pictures too high does so for both
detectors and mostly falls out of the difference. In 1,000 simulated test sets of 150 pictures, for detectors as good as
each other and for such that differ by 0.13, it held the true difference of COCO's AP in 95 to 96 of 100, of VOC12's in
93 to 95, of VOC07's in 95 to 98, of F1 and the best F1 in 94 to 96; the basic interval held VOC07's, which jumps, in 87
to 93, and that with a correction for bias (BC) in 90 to 92. Of detectors as far apart as 0.03 and 0.43 the bias no
longer falls out: COCO's 90, VOC07's 66 of 100; that they differ is plain all the same. Of six to thirty pictures it
told equally good detectors apart in 2 to 7 of 100 test sets, of fewer in up to 14: those have no interval.

An interval belongs to one number. Of twenty numbers or classes whose detectors do not differ, one interval excludes 0
by chance. So a verdict rests on the one number that was named before looking; the others say where to look.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, isfinite, sqrt
from statistics import NormalDist

import numpy as np

from reprolens.comparison.writing import signed
from reprolens.evaluation.findings.worst import Faults
from reprolens.evaluation.measures.bootstrap import (
    FEWEST_IMAGES,
    HEADLINE,
    Array,
    Measured,
    Numbers,
    numbers,
    over_resamples,
)
from reprolens.evaluation.measures.intervals import class_key
from reprolens.progress import bar

_NORMAL = NormalDist()
_SURE, _POWER = _NORMAL.inv_cdf(0.975), _NORMAL.inv_cdf(0.8)
_FAR_TIMES = 100
"""How many times as many pictures as there are is called far more: the estimate says no more than that by then."""
_TITLES = {
    "voc07/map50": "mAP50 (voc07/map50)",
    "voc12/map50": "mAP50 (voc12/map50)",
    "coco/ap": "mAP (coco/ap)",
    "coco/ap50": "mAP50 (coco/ap50)",
    "coco/ap75": "mAP75 (coco/ap75)",
    "f1": "F1",
    "best_f1": "best F1",
}


@dataclass(frozen=True)
class Difference:
    """A number of two detectors; `difference` is the second's less the first's, above 0 where the second is better.

    low, high: the ends of its 95 % interval; None without one: with fewer than six pictures, or two resamples.
    images_needed: of how many pictures in all a difference of this size would show, with a chance of 80 %; None where
        there is no difference or no interval.
    """

    key: str
    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None
    images_needed: int | None

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out 0; one that ends there does not."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def differences(
    first: Measured, second: Measured, classes: Sequence[str], resamples: int, seed: int
) -> dict[str, Difference]:
    """Compare what `measured` says of two detectors on the same pictures, in the same order.

    Returns by key the difference of each of `bootstrap.HEADLINE`, then of every class's `voc12/ap50/<class>`, then of
    its `coco/ap/<class>` (`intervals.class_key`). A number that is undefined for one of them has None for a difference,
    and a resample in which it is undefined is left out of the interval. The same detections differ by exactly 0, from 0
    to 0. Which pictures the first resamples draw depends on `seed` and the number of pictures alone.

    Raises ValueError if the two are not of as many pictures and of these classes.
    """
    sizes = [(split.images, len(split.voc.truth_bounds) - 1) for split in (first, second)]
    images = first.images
    if set(sizes) != {(images, len(classes))}:
        raise ValueError(f"{sizes[0]} and {sizes[1]} pictures and classes do not fit {len(classes)} names of classes")
    if not images:
        return {key: Difference(key, *[None] * 6) for key in [*HEADLINE, *_class_keys(classes)]}
    whole = _columns([_both(first, second, np.ones((1, images), np.int32))], classes)
    cells = max(first.cells, second.cells)
    with bar("resample", resamples) as line:

        def block(weights: np.ndarray) -> tuple[Numbers, Numbers]:
            found = _both(first, second, weights)
            line.advance(len(weights))
            return found

        drawn = over_resamples(block, images, cells, resamples, seed)
    resampled = _columns(drawn, classes) if drawn else dict.fromkeys(whole, (np.zeros(0), np.zeros(0)))
    return {
        key: _difference(key, float(one[0]), float(two[0]), resampled[key][1] - resampled[key][0], images)
        for key, (one, two) in whole.items()
    }


def verdict(
    difference: Difference, names: tuple[str, str], images: int, *, same: bool = False, both: bool = False
) -> str:
    """Say in a line whether the first or the second of `names` is better, measured on so many `images`.

    `B is better: +0.021 mAP (coco/ap), 95 % CI [+0.004, +0.038]`: by how much the better one is, whichever that is; or
    `no difference shown: +0.003 mAP (coco/ap), 95 % CI [-0.010, +0.016]; about 4,200 more images would be needed`, B's
    number less A's. `same`: both made the same detections. `both`: name both, as where there are more than two.
    """
    found, low, high, title = difference.difference, difference.low, difference.high, _title(difference.key)
    better, between = ("{} is better than {}", " between {} and {}".format(*names)) if both else ("{} is better", "")
    if found is None:
        values = zip(names, (difference.first, difference.second), strict=True)
        undefined = " and ".join(name for name, of in values if of is None)
        return f"{'{} and {} '.format(*names) if both else ''}cannot be compared: {title} is undefined for {undefined}"
    if same and not found:
        return f"no difference{between}: the same detections"
    if low is None or high is None:
        few = f"an interval takes {FEWEST_IMAGES} images at least"
        return f"no difference shown{between}: {_signed(found)} {title}; {few}"
    if found == low == high == 0:
        return f"no difference in {title}{between}: both {difference.first:.3f}"
    if low > 0:
        return f"{better.format(names[1], names[0])}: {_interval(title, found, low, high)}"
    if high < 0:
        return f"{better.format(*names)}: {_interval(title, -found, -high, -low)}"
    needed = _needed(difference.images_needed, images)
    return f"no difference shown{between}: {_interval(title, found, low, high)}{needed}"


def changed_most(first: Sequence[Faults], second: Sequence[Faults], most: int) -> list[tuple[int, float]]:
    """Return the positions of up to `most` pictures whose faults changed, by how much, the most changed first.

    The change is the second's weight less the first's: above 0 the second serves the picture worse, below 0 better. Of
    equal changes the earlier picture comes first. `first` and `second` are of the same pictures in the same order.
    """
    changes = [(place, two.weight - one.weight) for place, (one, two) in enumerate(zip(first, second, strict=True))]
    return sorted((item for item in changes if item[1]), key=lambda item: -abs(item[1]))[:most]


def _both(first: Measured, second: Measured, weights: np.ndarray) -> tuple[Numbers, Numbers]:
    return numbers(first, weights), numbers(second, weights)


def _columns(blocks: Sequence[tuple[Numbers, Numbers]], classes: Sequence[str]) -> dict[str, tuple[Array, Array]]:
    """Return by key the numbers of the first and the second in the resamples of all blocks."""
    sides = []
    for side in zip(*blocks, strict=True):
        headline = {key: np.concatenate([block.headline[key] for block in side]) for key in HEADLINE}
        table = np.concatenate([np.hstack((block.voc12, block.coco)) for block in side])
        sides.append(headline | dict(zip(_class_keys(classes), table.T, strict=True)))
    return {key: (sides[0][key], sides[1][key]) for key in sides[0]}


def _class_keys(classes: Sequence[str]) -> list[str]:
    return [*(f"voc12/ap50/{name}" for name in classes), *(class_key("coco/ap", name) for name in classes)]


def _difference(key: str, first: float, second: float, resampled: Array, images: int) -> Difference:
    """Build the difference of a number from the `(B,)` differences of its resamples; NaN: undefined."""
    one, two = (None if np.isnan(value) else value for value in (first, second))
    if one is None or two is None:
        return Difference(key, one, two, None, None, None, None)
    found, resampled = two - one, resampled[~np.isnan(resampled)]
    if images < FEWEST_IMAGES or len(resampled) < 2:
        return Difference(key, one, two, found, None, None, None)
    tail = _tail(images)
    low, high = np.quantile(resampled, [tail, 1 - tail], method="weibull").tolist()
    needed = images * ((_SURE + _POWER) * float(resampled.std(ddof=1)) / found) ** 2 if found else inf
    images_needed = max(FEWEST_IMAGES, ceil(needed)) if isfinite(needed) else None
    return Difference(key, one, two, found, min(low, found), max(high, found), images_needed)


def _tail(images: int) -> float:
    """Return the share of the resamples beyond each end: 2.5 % of many pictures, less of few.

    Resamples of n pictures vary too little, by the root of (n - 1) / n, and do not know how far off their own spread
    is, as Student's t does (Hesterberg 2015, 5.2). Its quantile by the series of Abramowitz and Stegun, 26.7.5.
    """
    z, free = _SURE, images - 1
    student = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    student += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * free**3)
    return _NORMAL.cdf(-student * sqrt(images / free))


def _title(key: str) -> str:
    if key.startswith("voc12/ap50/"):
        return f"AP50 ({key})"
    return _TITLES.get(key) or (f"AP ({key})" if key.startswith("coco/") else key)


def _interval(title: str, found: float, low: float, high: float) -> str:
    """Write the difference and the interval with three decimals, or as many as it takes to tell its ends from 0."""
    smallest = min((abs(end) for end in (low, high) if end), default=1.0)
    digits = next((digits for digits in range(3, 9) if smallest >= 0.5 * 10**-digits), 9)
    return f"{_signed(found, digits)} {title}, 95 % CI [{_signed(low, digits)}, {_signed(high, digits)}]"


def _signed(value: float, digits: int = 3) -> str:
    return signed(value, digits, zero="+")


def _needed(images_needed: int | None, images: int) -> str:
    """Return the end of a verdict: how many images more than these it would take."""
    if images_needed is None:
        return ""
    if images_needed > _FAR_TIMES * images:
        return f"; far more images than these {images:,} would be needed"
    more = images_needed - images
    if more < 1:
        return "; a few more images would be needed"
    rounded = int(float(f"{more:.1e}"))
    return f"; about {rounded:,} more image{'s' if rounded > 1 else ''} would be needed"
