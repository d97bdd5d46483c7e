"""An evaluated picture."""

from dataclasses import dataclass
from pathlib import Path

from reprolens.evaluation.measures.detections import Detections
from reprolens.voc import Record


@dataclass(frozen=True)
class Picture:
    """A picture's record, the file it lies in (None where no one knows), and what was found, in pixels of it."""

    record: Record
    path: Path | None
    detections: Detections
