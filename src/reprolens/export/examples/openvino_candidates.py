"""Find objects in a picture: python example.py picture.jpg (needs numpy, openvino and Pillow)."""

import json
import sys
from pathlib import Path

import numpy as np
import openvino
from PIL import Image, ImageOps

folder = Path(__file__).parent
about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
precise = {"INFERENCE_PRECISION_HINT": "f32"}  # as it was measured; else some processors compute in 16 bits
model = openvino.Core().compile_model(folder / "model-openvino.xml", "CPU", precise)

picture = ImageOps.exif_transpose(Image.open(sys.argv[1]))  # as a camera means it to be seen
if picture.mode.startswith("I"):  # grey of 16 bits, of which Pillow would make white
    picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
found = model(np.asarray(picture.convert("RGB"))[None])
[boxes], [scores] = found["candidate_boxes"], found["candidate_scores"]

limits = about["thresholds"]
kept: list[tuple[int, int]] = []
places, labels = np.nonzero(scores > limits["score"])
for index in np.argsort(-scores[places, labels], kind="stable"):  # non-maximum suppression, each class for itself
    place, label = int(places[index]), int(labels[index])
    rivals = boxes[[other for other, its in kept if its == label]]
    low, high = np.maximum(rivals[:, :2], boxes[place, :2]), np.minimum(rivals[:, 2:], boxes[place, 2:])
    common = (high - low).clip(0).prod(axis=1)
    union = (rivals[:, 2:] - rivals[:, :2]).prod(axis=1) + (boxes[place, 2:] - boxes[place, :2]).prod() - common
    if len(kept) < limits["detections_per_image"] and not (common > limits["nms"] * union).any():
        kept.append((place, label))

for place, label in kept:
    x0, y0, x1, y1 = boxes[place]  # in pixels of the picture
    print(f"{about['classes'][label]} {scores[place, label]:.3f} {x0:.1f} {y0:.1f} {x1:.1f} {y1:.1f}")
