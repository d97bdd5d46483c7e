"""Find objects in a picture: python example.py picture.jpg (needs torch, torchvision and Pillow)."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.ops import batched_nms

folder = Path(__file__).parent
about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
model = torch.export.load(folder / "model.pt2").module()

picture = ImageOps.exif_transpose(Image.open(sys.argv[1]))  # as a camera means it to be seen
if picture.mode.startswith("I"):  # grey of 16 bits, of which Pillow would make white
    picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
[boxes], [scores] = model(torch.from_numpy(np.array(picture.convert("RGB")))[None])

limits = about["thresholds"]
places, labels = torch.nonzero(scores > limits["score"], as_tuple=True)
kept = batched_nms(boxes[places], scores[places, labels], labels, limits["nms"])[: limits["detections_per_image"]]
for place, label in zip(places[kept].tolist(), labels[kept].tolist(), strict=True):
    x0, y0, x1, y1 = boxes[place].tolist()  # in pixels of the picture
    print(f"{about['classes'][label]} {scores[place, label]:.3f} {x0:.1f} {y0:.1f} {x1:.1f} {y1:.1f}")
