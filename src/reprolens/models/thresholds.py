"""What of the found boxes torchvision's detectors give back, by the names that their arguments have there."""

from typing import Any

from reprolens.config import Model


def thresholds(options: Model, prefix: str = "") -> dict[str, Any]:
    """Return the arguments of detectors of one stage; with the prefix `box_` those of Faster and Mask R-CNN."""
    return {
        f"{prefix}score_thresh": options.score_threshold,
        f"{prefix}nms_thresh": options.nms_threshold,
        f"{prefix}detections_per_img": options.detections_per_image,
    }
