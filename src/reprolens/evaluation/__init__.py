"""How good a model is: VOC, COCO and other measures, what lies behind them, and reports. Plain arrays in; no torch."""

from reprolens.evaluation.measures.classification import ClassificationEvaluator
from reprolens.evaluation.measures.detections import Detections, Truth, truth_of
from reprolens.evaluation.measures.evaluator import DetectionEvaluator, Metrics, Results
from reprolens.evaluation.measures.segmentation import SegmentationEvaluator
from reprolens.evaluation.picture import Picture

__all__ = [
    "ClassificationEvaluator",
    "DetectionEvaluator",
    "Detections",
    "Metrics",
    "Picture",
    "Results",
    "SegmentationEvaluator",
    "Truth",
    "truth_of",
]
