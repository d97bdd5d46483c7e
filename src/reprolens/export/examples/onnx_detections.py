"""Find objects in a picture: python example.py picture.jpg (needs numpy, onnxruntime and Pillow)."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

folder = Path(__file__).parent
names = (folder / "labels.txt").read_text(encoding="utf-8").split("\n")
session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])

picture = ImageOps.exif_transpose(Image.open(sys.argv[1]))  # as a camera means it to be seen
if picture.mode.startswith("I"):  # grey of 16 bits, of which Pillow would make white
    picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
outputs = ["boxes", "scores", "labels", "counts"]
boxes, scores, labels, counts = session.run(outputs, {"images": np.asarray(picture.convert("RGB"))[None]})

for row in range(counts[0]):
    x0, y0, x1, y1 = boxes[0, row]  # in pixels of the picture
    print(f"{names[labels[0, row]]} {scores[0, row]:.3f} {x0:.1f} {y0:.1f} {x1:.1f} {y1:.1f}")
