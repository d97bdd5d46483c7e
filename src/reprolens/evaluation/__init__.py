"""How good a detector is: VOC and COCO measures, figures and reports. Plain arrays in; no torch."""

from reprolens.evaluation.detections import Detections, Truth, truth_of
from reprolens.evaluation.evaluator import DetectionEvaluator, Metrics, Results
from reprolens.evaluation.report import Picture, shown, write_reports

__all__ = [
    "DetectionEvaluator",
    "Detections",
    "Metrics",
    "Picture",
    "Results",
    "Truth",
    "shown",
    "truth_of",
    "write_reports",
]
