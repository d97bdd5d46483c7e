"""Does a file give torch's numbers on real pictures: its candidates, its detections, and those of a batch?"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reprolens.config import ExportFormat, Gate
from reprolens.errors import ExportError, first_line
from reprolens.export.eager import TorchModel
from reprolens.export.gate.candidates import Candidates, Gap, Give, compare, file_candidates, torch_candidates
from reprolens.export.gate.numbers import Difference, check_found, difference
from reprolens.export.source import Source
from reprolens.inference.model import Found, Model, Pixels
from reprolens.models.detr import Detr
from reprolens.progress import track

_SAME = Difference()
_LEAST_MATCHED = 50


@dataclass(frozen=True)
class Agreement:
    """How far a file is from torch over all pictures.

    candidates: None if it shows none.
    batch: how far what it finds in a batch of two is from what it finds in each alone.
    """

    detections: Difference = _SAME
    candidates: Gap | None = None
    batch: Difference = _SAME

    @property
    def is_shown(self) -> bool:
        """Whether there was anything to compare: where torch and the file find nothing, they agree in nothing."""
        return self.candidates is not None or self.detections.matched > 0

    def __or__(self, other: "Agreement") -> "Agreement":
        """Return the agreement over the pictures of both together."""
        shown = [gap for gap in (self.candidates, other.candidates) if gap is not None]
        candidates = shown[0] | shown[-1] if shown else None
        return Agreement(self.detections | other.detections, candidates, self.batch | other.batch)

    def facts(self) -> dict[str, Any]:
        """Return the entries of reports/export.json, without the format's name."""
        facts: dict[str, Any] = {f"difference/{name}": value for name, value in vars(self.detections).items()}
        if self.candidates is not None:
            facts |= {f"difference/candidate_{name}": value for name, value in vars(self.candidates).items()}
        return facts

    def reasons(self, gate: Gate, is_exact: bool) -> list[str]:
        """Return what is not good enough, a line each; tolerances are for files that promise torch's numbers."""
        if self.candidates is not None and np.isnan(self.candidates.box):
            return ["candidates have numbers that are not finite"]
        if not is_exact:
            return []
        reasons = []
        for start, gap in (
            ("candidates differ from torch's", self.candidates),
            ("detections differ from torch's", self.detections),
            ("detections in a batch differ from those one by one", self.batch),
        ):
            if gap is not None and gap.box > gate.box_tolerance:
                limit = f"{gate.box_tolerance:g} (export.gate.box_tolerance)"
                reasons.append(f"{start}: box {gap.box:.3g} px, allowed is {limit}")
            if gap is not None and gap.score > gate.score_tolerance:
                limit = f"{gate.score_tolerance:g} (export.gate.score_tolerance)"
                reasons.append(f"{start}: score {gap.score:.3g}, allowed is {limit}")
            if isinstance(gap, Difference) and gap.unmatched > (allowed := _allowed(gap)):
                reasons.append(
                    f"{start}: {gap.unmatched} have no partner, {gap.matched} have, allowed is {allowed or 'none'}"
                )
        return reasons


def _allowed(gap: Difference) -> int:
    """Return how many may lack a partner: rounding decides between boxes that just about suppress another.

    1 in 100 may; of fewer than 50 none, as one would be many of them.
    """
    return max(1, gap.matched // 100) if gap.matched >= _LEAST_MATCHED else 0


@dataclass(frozen=True)
class _Shown:
    """A picture, what torch finds in it, its candidates, and it behind another one of its size, if there was one."""

    picture: Pixels
    found: Found
    candidates: Candidates | None
    pair: Pixels | None


def compare_each(
    source: Source, files: Mapping[ExportFormat, tuple[Path, Model]], pictures: Iterable[Pixels]
) -> tuple[dict[ExportFormat, Agreement], dict[ExportFormat, str]]:
    """Return how each file agrees with torch over `pictures (H, W, 3)`, and why those that fail on one do not.

    Raises ExportError if the trained model itself gives what are no detections.
    """
    agreements, reasons = dict[ExportFormat, Agreement](), dict[ExportFormat, str]()
    openings: dict[Path, Give | None] = {}
    for shown in _shown(source, pictures):
        for name in [name for name in files if name not in reasons]:
            path, model = files[name]
            try:
                if path not in openings:
                    openings[path] = file_candidates(path, model.contract) if shown.candidates is not None else None
                agreement = _compare(source, model, openings[path], shown)
            except Exception as error:  # runtimes raise kinds of their own
                reasons[name] = f"fails on a picture: {first_line(error)}"
                continue
            agreements[name] = agreements[name] | agreement if name in agreements else agreement
    return {name: agreement for name, agreement in agreements.items() if name not in reasons}, reasons


def _shown(source: Source, pictures: Iterable[Pixels]) -> Iterable[_Shown]:
    reference, give = TorchModel(source.trained), torch_candidates(source)
    before: Pixels | None = None
    for picture in track(pictures, "gate: numbers"):
        [found] = reference(picture[None])
        candidates = give(picture) if give else None
        name = source.trained.options.name
        try:
            check_found(found, len(source.trained.classes))
        except ExportError as error:
            raise ExportError(f"{name}: the trained model {error}; train it again") from None
        if candidates is not None and not candidates.is_finite():
            raise ExportError(f"{name}: the trained model gives numbers that are not finite; train it again")
        pair = np.stack([before, picture]) if before is not None and before.shape == picture.shape else None
        yield _Shown(picture, found, candidates, pair)
        before = picture


def _compare(source: Source, model: Model, give: Give | None, shown: _Shown) -> Agreement:
    options, tolerance = source.trained.options, source.config.gate.score_tolerance
    limits = options.score_threshold, options.detections_per_image, tolerance
    [found] = model(shown.picture[None])
    check_found(found, len(source.trained.classes))
    candidates, batch = None, _SAME
    if give is not None and shown.candidates is not None:
        is_ranked = isinstance(source.trained.module, Detr)
        candidates = compare(give(shown.picture), shown.candidates, options.score_threshold, is_ranked)
    if shown.pair is not None and model.contract.batch is None:
        batch = difference(found, model(shown.pair)[1], *limits)
    return Agreement(difference(found, shown.found, *limits), candidates, batch)
