"""The knobs of the export stage: which files are made, and what they have to prove before they are published."""

from dataclasses import dataclass
from enum import StrEnum

from reprolens.config.check import check


class ExportFormat(StrEnum):
    """A kind of file that a trained model can be written as; `reprolens.export.formats` says what each is."""

    onnx = "onnx"
    onnx_float16 = "onnx_float16"
    onnx_int8 = "onnx_int8"
    torch_export = "torch_export"
    openvino = "openvino"


class OnFailure(StrEnum):
    """What becomes of the stage when a file is worse than the model."""

    fail = "fail"
    warn = "warn"


@dataclass(frozen=True)
class MaxDrop:
    """By how much mAP may fall, by the file's precision."""

    float32: float
    float16: float
    int8: float

    def __post_init__(self) -> None:
        for name in ("float32", "float16", "int8"):
            check(0 <= getattr(self, name) <= 1, f"export.gate.max_drop.{name}", "must be from 0 to 1")


@dataclass(frozen=True)
class Gate:
    on_failure: OnFailure
    images: int
    box_tolerance: float
    score_tolerance: float
    max_drop: MaxDrop
    timed_runs: int
    throughput_batch: int

    def __post_init__(self) -> None:
        check(self.images > 0, "export.gate.images", "must be at least 1")
        check(self.box_tolerance > 0, "export.gate.box_tolerance", "must be above 0")
        check(self.score_tolerance > 0, "export.gate.score_tolerance", "must be above 0")
        check(self.timed_runs >= 2, "export.gate.timed_runs", "must be at least 2")
        check(self.throughput_batch > 0, "export.gate.throughput_batch", "must be at least 1")


@dataclass(frozen=True)
class Export:
    formats: list[ExportFormat]
    opset: int
    postprocess: bool
    calibration_images: int
    gate: Gate

    def __post_init__(self) -> None:
        check(bool(self.formats), "export.formats", "must name at least one format")
        check(len(set(self.formats)) == len(self.formats), "export.formats", "names a format twice")
        check(18 <= self.opset <= 23, "export.opset", "must be from 18 to 23")
        check(self.calibration_images > 0, "export.calibration_images", "must be at least 1")
