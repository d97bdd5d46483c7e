"""What a data set says about one picture.

Boxes are float64 `(x0, y0, x1, y1)`, continuous, in pixels, origin at the picture's top-left corner. On disk they are
VOC's 1-based inclusive pixels: `xmin = x0 + 1, ymin = y0 + 1, xmax = x1, ymax = y1`.
"""

from dataclasses import dataclass, field
from decimal import Decimal

Box = tuple[float, float, float, float]
Corners = tuple[Decimal, Decimal, Decimal, Decimal]


@dataclass(frozen=True, slots=True)
class Object:
    """One labelled object. `crowd` marks a box around many objects, as COCO's `iscrowd` does.

    `segmentation` is its outline as COCO writes it, as JSON: polygons `[[x, y, x, y, ...], ...]` or a run-length code
    `{"size": [height, width], "counts": ...}`, 0-based, in pixels; empty where there is none. `exact` holds the box's
    corners where the source has more digits than float64 holds; what is computed uses `box`, what is written `exact`.
    """

    name: str
    box: Box
    difficult: bool = False
    truncated: bool = False
    occluded: bool = False
    crowd: bool = False
    pose: str = "Unspecified"
    segmentation: str = ""
    exact: Corners | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Record:
    """One picture and its objects. `file` is the picture's name below JPEGImages; `id` names it in the image sets.

    `labels` are the classes that the source gives to the picture as a whole.
    """

    id: str
    file: str
    width: int
    height: int
    depth: int = 3
    objects: tuple[Object, ...] = ()
    labels: tuple[str, ...] = ()
