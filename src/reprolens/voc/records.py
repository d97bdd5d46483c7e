"""What a data set says about one picture.

Boxes are float64 `(x0, y0, x1, y1)`, continuous, in pixels, origin at the picture's top-left corner. On disk they are
VOC's 1-based inclusive pixels: `xmin = x0 + 1, ymin = y0 + 1, xmax = x1, ymax = y1`.
"""

from dataclasses import dataclass

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Object:
    """One labelled object. `crowd` marks a box around many objects, as COCO's `iscrowd` does."""

    name: str
    box: Box
    difficult: bool = False
    truncated: bool = False
    occluded: bool = False
    crowd: bool = False
    pose: str = "Unspecified"


@dataclass(frozen=True, slots=True)
class Record:
    """One picture and its objects. `file` is the picture's name below JPEGImages; `id` names it in the image sets."""

    id: str
    file: str
    width: int
    height: int
    depth: int = 3
    objects: tuple[Object, ...] = ()
