"""What the gate says of the files, and how reports/export.json has it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprolens.config import ExportFormat


@dataclass(frozen=True)
class Verdict:
    """Of one file: why it is not to be published, a line each, and what was measured, by the report's names."""

    format: ExportFormat
    file: Path
    reasons: tuple[str, ...]
    facts: dict[str, Any]

    @property
    def passed(self) -> bool:
        return not self.reasons


@dataclass(frozen=True)
class Judgement:
    """Of all files: their verdicts, what was measured of torch beside them, and where and on what.

    common: `split` and how many `images` it has, `opset`, `threads`, `cpu` and the throughput's `batch`.
    """

    verdicts: tuple[Verdict, ...]
    torch: dict[str, Any]
    common: dict[str, Any]

    def report(self) -> dict[str, Any]:
        """Return what was measured as reports/export.json has it: flat, what belongs to torch or a file behind its name
        and a slash. What is published is not the gate's to say: some files may not even have been written.
        """
        report = {**self.common, **{f"torch/{key}": value for key, value in self.torch.items()}}
        for verdict in self.verdicts:
            report |= {f"{verdict.format.value}/{key}": value for key, value in verdict.facts.items()}
        return report
