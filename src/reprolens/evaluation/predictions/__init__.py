"""Detections and truth in files: COCO's, one text file a picture, the VOC development kit's."""

from reprolens.evaluation.predictions.read import Form, read_predictions

__all__ = ["Form", "read_predictions"]
