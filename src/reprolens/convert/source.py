"""What a source format hands over: its pictures with their objects, and the problems it met."""

from dataclasses import dataclass
from pathlib import Path

from reprolens.config.schema import Action
from reprolens.voc import Record


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One picture of a source: its record, the split it belongs to, and the picture itself, as a file or as bytes.

    `split` is train, val, test, or trainval where the source keeps the first two together; None where it does not say.
    `place` names the annotation for problems.
    """

    record: Record
    split: str | None
    image: Path | bytes
    place: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a source: its kind (a key of data.policy if that has one), where, why, and what was done."""

    kind: str
    file: str
    place: str
    reason: str
    action: Action
