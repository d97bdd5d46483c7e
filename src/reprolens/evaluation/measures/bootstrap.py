"""How far chance in the choice of pictures moves the headline numbers: 95 % intervals by bootstrap over pictures.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13: as many pictures as there are,
drawn with replacement, measured again, many times. Pictures are drawn, not boxes, because what is found in one picture
belongs together.

A picture drawn twice is a picture whose detections and true boxes count twice. So nothing is matched again: only the
cumulative sums of a ranking change, and of these only the places of right detections are looked at, because precision
falls everywhere else. The result is that of the measures themselves on a data set with the drawn pictures repeated,
copies beside each other, except where detections of one picture and class share a score: here all copies of the first
come before those of the second, while the measures rank copy by copy. A class without true boxes among those drawn is
left out of the means, and a resample in which a number is undefined is left out of its interval.

The best F1 is that at the score threshold which is best for the whole split, in every resample the same one. Chosen
anew in each it would be the largest of many accidents, above the number of the split itself in most resamples; and as
F1 is level where it is largest, what the choice adds to the interval is small beside what the pictures do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from reprolens.evaluation.measures.matches import Matches
from reprolens.evaluation.measures.ratios import defined_mean, ratio
from reprolens.evaluation.measures.thresholds import best_f1, sweep

HEADLINE = (
    "voc07/map50",
    "voc12/map50",
    "coco/ap",
    "coco/ap50",
    "coco/ap75",
    "precision",
    "recall",
    "f1",
    "best_f1",
)
"""The numbers that have an interval."""

MASKS = ("coco_segm/ap", "coco_segm/ap50", "coco_segm/ap75")
"""Those of masks, where there are any."""

_COCO_RECALLS = np.linspace(0, 1, 101)
_CELLS_AT_ONCE = 200_000
"""Resamples times detections looked at together: some ten arrays of this size, so 20 MB, or one resample if larger."""

Array = NDArray[np.float64]
Whole = NDArray[np.signedinteger]
T = TypeVar("T")
Levels = Callable[[Whole, Whole], Whole]
"""Of a number of right detections above 0, and of how many there are to be found: how many recall levels it reaches."""


@dataclass(frozen=True)
class Ranking:
    """The right detections of all IoU thresholds and classes, and what comes before each, ready to be weighted.

    image: `(N,)`, the picture of every detection, the classes one after the other.
    hit: `(E,)`, the positions in `image` of the right ones, a segment for each threshold and class that has any.
    ignored_image: `(G,)`, the pictures of the ignored detections of all thresholds; `hit_ignored` `(E,)` says how many
        of them come before a hit.
    start, threshold, label, first, first_ignored: `(S,)`, of every segment its first hit, what it belongs to, its
        class's first detection, and how many ignored ones come before that.
    truth_image: `(M,)`, the pictures of the true boxes; class k has those from `truth_bounds[k]` to
        `truth_bounds[k + 1]`.
    """

    image: Whole
    hit: Whole
    ignored_image: Whole
    hit_ignored: Whole
    start: Whole
    threshold: Whole
    label: Whole
    first: Whole
    first_ignored: Whole
    truth_image: Whole
    truth_bounds: Whole
    thresholds: int


@dataclass(frozen=True)
class Measured:
    """A split as the bootstrap needs it.

    counts, best_counts: `(pictures, 3)`, right, wrong and missed ones at the score threshold, and at the one of the
        split's best F1.
    masks: COCO's ranking by the masks; None where there are none.
    """

    voc: Ranking
    coco: Ranking
    counts: Whole
    best_counts: Whole
    masks: Ranking | None = None

    @property
    def images(self) -> int:
        """How many pictures the split has."""
        return len(self.counts)

    @property
    def cells(self) -> int:
        """The size of a resample's largest arrays."""
        return self.images + sum(_cells(ranking) for ranking in (self.voc, self.coco, self.masks) if ranking)

    @property
    def headline(self) -> tuple[str, ...]:
        """The keys of the numbers that have an interval."""
        return HEADLINE if self.masks is None else HEADLINE + MASKS


@dataclass(frozen=True)
class Numbers:
    """The numbers of B resamples, NaN where undefined.

    headline: `(B,)` of each of HEADLINE and, where there are masks, of MASKS.
    voc12, coco: `(B, K)`, each class's AP: VOC12's at IoU 0.5, and COCO's.
    """

    headline: dict[str, Array]
    voc12: Array
    coco: Array


FEWEST_IMAGES = 6
"""With an interval. Of five, an equally good detector is better on all in one comparison of 32, and as often worse."""


def measured(
    voc: Matches, coco: Matches, images: int, classes: int, score_threshold: float, masks: Matches | None = None
) -> Measured:
    """Prepare what `voc_matches` and `coco_matches` return for the same `images` pictures.

    `masks` is what `match_coco` returns for their masks.
    """
    best = best_f1(sweep(voc))["best_f1/threshold"]
    thresholds = (score_threshold, np.inf if best is None else best)
    counts, best_counts = (voc.counts(images, threshold) for threshold in thresholds)
    outlines = None if masks is None else _ranking(masks, classes)
    return Measured(_ranking(voc, classes), _ranking(coco, classes), counts, best_counts, outlines)


def intervals(split: Measured, resamples: int, seed: int) -> dict[str, float | None]:
    """Return `<key>/low` and `<key>/high` of every headline number; None where no resample defines it.

    Of fewer than `FEWEST_IMAGES` pictures there is none: what they draw is hardly more than themselves. The interval is
    the basic one, `2 number - quantile` (Davison and Hinkley, Bootstrap Methods, 1997, 5.2.1), widened
    to hold the number. AP of few pictures is too high, and of resamples of them doubly so, because its envelope follows
    every accident. The quantiles themselves lie beside the truth: of 150 pictures with 10 classes and AP 0.18 they held
    it in 13 of 100 trials, this interval in 90.

    Which pictures the first resamples draw depends on `seed` and the number of pictures alone.
    """
    ends: dict[str, float | None] = {f"{key}/{end}": None for key in split.headline for end in ("low", "high")}
    if split.images < FEWEST_IMAGES:
        return ends
    blocks = over_resamples(
        lambda weights: numbers(split, weights).headline, split.images, split.cells, resamples, seed
    )
    whole = numbers(split, np.ones((1, split.images), np.int32)).headline
    for key in split.headline:
        low, high = basic_interval(float(whole[key][0]), np.concatenate([block[key] for block in blocks]))
        ends |= {f"{key}/low": low, f"{key}/high": high}
    return ends


def basic_interval(number: float, resampled: Array) -> tuple[float, float] | tuple[None, None]:
    """Return the ends of the basic interval of a number from 0 to 1, widened to hold it; NaN is undefined."""
    if np.isnan(number) or np.isnan(resampled).all():
        return None, None
    low, high = quantiles(resampled)
    return max(0.0, min(number, 2 * number - high)), min(1.0, max(number, 2 * number - low))


def quantiles(values: Array) -> tuple[float, float]:
    """Return the 2.5 % and the 97.5 % quantile of the values that are defined, of which there must be one.

    They are the (B + 1) 2.5 %th value and its counterpart: NumPy's own choice lies inside, and would cover less.
    """
    low, high = np.nanpercentile(values, [2.5, 97.5], method="weibull").tolist()
    return low, high


def over_resamples(measure: Callable[[Whole], T], images: int, cells: int, resamples: int, seed: int) -> list[T]:
    """Return what `measure` says of the weights `(B, images)` of all resamples, block by block in their order.

    The blocks are as large as the bound on memory allows where a resample's largest arrays have so many `cells`. (They
    are not measured side by side: NumPy holds the interpreter while it accumulates and takes, so that two threads were
    faster by a seventh only.)
    """
    rows = max(1, _CELLS_AT_ONCE // max(cells, 1))
    blocks = (range(first, min(first + rows, resamples)) for first in range(0, resamples, rows))
    return [measure(draw(images, block, seed)) for block in blocks]


def draw(images: int, numbers: Sequence[int], seed: int) -> Whole:
    """Return how often each picture is drawn in the resamples of these numbers, `(len(numbers), images)`."""
    weights: Whole = np.empty((len(numbers), images), np.int32)
    for row, number in zip(weights, numbers, strict=True):
        chance = np.random.default_rng((seed, number))
        row[:] = np.bincount(chance.integers(images, size=images), minlength=images)
    return weights


def numbers(split: Measured, weights: Whole) -> Numbers:
    """Return the numbers of pictures that count `weights` `(B, pictures)` times."""
    voc07, voc12 = _ap(split.voc, weights, (_eleven_levels, _all_levels))
    (coco,) = _ap(split.coco, weights, (_coco_levels,))
    mean = defined_mean(coco)
    right, wrong, lost = (weights @ split.counts).T.astype(np.float64)
    headline = {
        "voc07/map50": defined_mean(voc07)[:, 0],
        "voc12/map50": defined_mean(voc12)[:, 0],
        "coco/ap": mean.mean(axis=1),
        "coco/ap50": mean[:, 0],
        "coco/ap75": mean[:, 5],
        "precision": ratio(right, right + wrong),
        "recall": ratio(right, right + lost),
        "f1": _f1(weights @ split.counts),
        "best_f1": _f1(weights @ split.best_counts),
    }
    if split.masks is not None:
        mean = defined_mean(_ap(split.masks, weights, (_coco_levels,))[0])
        headline |= dict(zip(MASKS, (mean.mean(axis=1), mean[:, 0], mean[:, 5]), strict=True))
    return Numbers(headline, voc12[:, 0], coco.mean(axis=1))


def _ranking(matches: Matches, classes: int) -> Ranking:
    thresholds, count = matches.taken.shape
    ignored = np.flatnonzero(matches.ignored)  # flat positions: thresholds, then detections
    flat = np.flatnonzero(matches.right)
    threshold, hit = np.divmod(flat, max(count, 1))
    start = np.flatnonzero(np.diff(threshold * classes + matches.label[hit], prepend=-1))
    threshold, label = threshold[start], matches.label[hit[start]]
    first = np.searchsorted(matches.label, label)
    return Ranking(
        image=matches.image,
        hit=hit,
        ignored_image=matches.image[ignored % max(count, 1)],
        hit_ignored=np.searchsorted(ignored, flat),
        start=start,
        threshold=threshold,
        label=label,
        first=first,
        first_ignored=np.searchsorted(ignored, threshold * count + first),
        truth_image=matches.truth_image,
        truth_bounds=np.searchsorted(matches.truth_label, np.arange(classes + 1)),
        thresholds=thresholds,
    )


def _cells(ranking: Ranking) -> int:
    """Return the size of a resample's largest arrays."""
    return len(ranking.image) + len(ranking.hit) + ranking.thresholds * (len(ranking.truth_bounds) - 1)


def _ap(ranking: Ranking, weights: Whole, rules: Sequence[Levels]) -> list[Array]:
    """Return for each rule the AP of every class, `(B, T, K)`; NaN where a class has no true boxes."""
    positives = np.diff(_cumulate(weights, ranking.truth_image)[:, ranking.truth_bounds])  # (B, K)
    hits, envelope = _envelope(ranking, weights)
    result = []
    for rule in rules:
        ap = np.zeros((len(weights), ranking.thresholds, positives.shape[1]))
        if len(ranking.hit):
            reached, total = _levels(ranking, hits, positives, rule)
            gained = reached.copy()
            gained[:, 1:] -= reached[:, :-1]
            gained[:, ranking.start] = reached[:, ranking.start]
            gained *= envelope
            area = np.add.reduceat(gained, ranking.start, axis=1)
            ap[:, ranking.threshold, ranking.label] = area / np.maximum(total, 1)[:, ranking.label]
        ap.transpose(0, 2, 1)[positives == 0] = np.nan
        result.append(ap)
    return result


def _envelope(ranking: Ranking, weights: Whole) -> tuple[Whole, Array]:
    """Return how many right detections there are up to each hit, and the best precision there or later, `(B, E)`."""
    lengths = np.diff(np.append(ranking.start, len(ranking.hit)))
    counted = _cumulate(weights, ranking.image)
    before = counted[:, ranking.first]
    rank = np.take(counted, ranking.hit + 1, axis=1)
    if len(ranking.ignored_image):
        ignored = _cumulate(weights, ranking.ignored_image)
        before -= ignored[:, ranking.first_ignored]
        rank -= np.take(ignored, ranking.hit_ignored, axis=1)
    rank -= np.repeat(before, lengths, axis=1)
    hits = _cumulate(weights, ranking.image[ranking.hit])
    before = hits[:, ranking.start]
    hits = hits[:, 1:] - np.repeat(before, lengths, axis=1)
    best = hits / np.maximum(rank, 1)
    # One accumulation for all segments, from the last to the first: each is lifted above those that come after it.
    lift = np.repeat(np.arange(len(lengths), 0, -1.0), lengths)
    best += lift
    np.maximum.accumulate(best[:, ::-1], axis=1, out=best[:, ::-1])
    best -= lift
    return hits, best


def _levels(ranking: Ranking, hits: Whole, positives: Whole, rule: Levels) -> tuple[Array, Array]:
    """Return how many levels of recall are reached at each hit, `(B, E)`, and how many a class has, `(B, K)`.

    Looked up, because a class has the same levels at every threshold.
    """
    sizes = (positives + 1).ravel()
    ends = np.cumsum(sizes)
    right = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)
    table = np.where(right > 0, rule(right, np.repeat(np.maximum(positives.ravel(), 1), sizes)), 0).astype(np.float64)
    lengths = np.diff(np.append(ranking.start, len(ranking.hit)))
    place = (ends - sizes).reshape(positives.shape)[:, ranking.label]
    return np.take(table, hits + np.repeat(place, lengths, axis=1)), table[ends - 1].reshape(positives.shape)


def _eleven_levels(right: Whole, positives: Whole) -> Whole:
    return right * 10 // positives + 1


def _all_levels(right: Whole, positives: Whole) -> Whole:
    return right


def _coco_levels(right: Whole, positives: Whole) -> Whole:
    # In floating point, as pycocotools compares them: 0.57 as its linspace has it is above 57 / 100.
    return np.searchsorted(_COCO_RECALLS, right / positives, side="right")


def _cumulate(weights: Whole, image: Whole) -> Whole:
    """Return the sums of the weights of the first 0, 1, ... of `image`, `(B, len(image) + 1)`."""
    sums = np.zeros((len(weights), len(image) + 1), weights.dtype)
    np.cumsum(np.take(weights, image, axis=1), axis=1, out=sums[:, 1:])
    return sums


def _f1(counts: Whole) -> Array:
    """Return F1 of right, wrong and missed ones, `(B, 3)`; NaN where there are none at all."""
    right, wrong, missed = counts.T.astype(np.float64)
    return ratio(2 * right, 2 * right + wrong + missed)
