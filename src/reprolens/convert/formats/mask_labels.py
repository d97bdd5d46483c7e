"""What the numbers and the colours of masks stand for, as data sets write it: the formats of label maps.

The known ones: label_colors.txt of CamVid (`64 128 64 Animal`), labelmap.txt as CVAT writes it (`cat:64,0,0::`),
class_dict.csv (`name,r,g,b`), dataset_meta.json of datumaro, config.json of Mapillary Vistas, and a plain list.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from reprolens.convert.documents import read_json, read_lines
from reprolens.convert.formats.table import read_table
from reprolens.convert.tree import Tree
from reprolens.errors import DataError

Color = tuple[int, int, int]

_FILE = re.compile(
    r"_?(label|class|color|colour)s?[_-]?(colou?rs?|map|names?|dict|list)?(_seg)?\.(txt|csv)|names\.txt"
    r"|dataset_meta\.json|config(_v[0-9.]+)?\.json",
    re.IGNORECASE,
)
_NUMBER = r"\s*(\d{1,3})\s*"
_COLON = re.compile(rf"(?P<name>[^:]+):{_NUMBER},{_NUMBER},{_NUMBER}(:.*)?")
_FIRST = re.compile(r"(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(?P<name>.*\S)")
_LAST = re.compile(r"(?P<name>.*?\S)[\s,;:]+(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a label map: a class's name, and the number and the colour that masks show it in, if it says so."""

    name: str
    number: int | None = None
    color: Color | None = None


@dataclass(frozen=True)
class LabelMap:
    """The entries of a label map in their order, where it is from, and the one that it calls background, if it does."""

    entries: tuple[Entry, ...]
    file: str
    background: str | None = None

    @property
    def colored(self) -> bool:
        """Whether every entry has a colour."""
        return all(entry.color is not None for entry in self.entries)


def find_label_map(tree: Tree) -> LabelMap | None:
    """Return the label map that lies least deep in a source; None if there is none. Raises DataError if it is bad."""
    files = [file for file in tree.files if _FILE.fullmatch(PurePosixPath(file).name)]
    for file in sorted(files, key=lambda file: (file.count("/"), file)):
        found = _read(tree, file)
        if found is not None and found.entries:
            return found
    return None


def _read(tree: Tree, file: str) -> LabelMap | None:
    path = tree.path(file)
    if file.lower().endswith(".json"):
        return _from_json(read_json(path), file)
    if file.lower().endswith(".csv"):
        with suppress(DataError):  # without a header, or with one line only; then it is read as lines
            if (found := _from_rows(read_table(path), file)) is not None:
                return found
    lines = [line for line in read_lines(path) if not line.startswith("#")]
    entries = []
    for line in lines:
        match = _COLON.fullmatch(line) or _FIRST.fullmatch(line) or _LAST.fullmatch(line)
        if match:
            numbers = [int(group) for group in match.groups() if group and group.isdigit()][-3:]
            entries.append(Entry(match["name"].strip(), None, _color(numbers, path)))
        else:
            entries.append(Entry(re.sub(r":[:,\s]*$", "", line)))  # labelmap.txt without colours: `cat:::`
    if any(entry.color for entry in entries):  # a headline, such as `name r g b`, has none
        entries = [entry for entry in entries if entry.color]
    return LabelMap(tuple(entries), file)


def _from_rows(rows: list[dict[str, str]], file: str) -> LabelMap | None:
    """Read a CSV with a header: name (or class, label), r, g, b (or red, green, blue), and id (or index, value)."""
    if not rows:
        return None
    columns = {re.sub(r"[^a-z]", "", name.lower()): name for name in rows[0]}

    def column(*names: str) -> str | None:
        return next((columns[name] for name in names if name in columns), None)

    name = column("name", "classname", "labelname", "class", "label", "category")
    number = column("id", "index", "value", "classid", "labelid", "classindex", "pixelvalue", "code")
    channels = [column("r", "red"), column("g", "green"), column("b", "blue")]
    if name is None:
        return None
    entries = []
    for row in rows:
        values = [row[channel] for channel in channels if channel is not None]
        color = _color(values, file) if len(values) == 3 and all(values) else None
        given = row[number] if number is not None else ""
        entries.append(Entry(row[name], _whole(given), color))
    return LabelMap(tuple(entry for entry in entries if entry.name), file)


def _from_json(value: Any, file: str) -> LabelMap | None:
    if not isinstance(value, dict):
        return None
    names, colors, background = value.get("label_map"), value.get("segmentation_colors"), value.get("background_label")
    if isinstance(names, dict):
        numbers = [_whole(str(key)) for key in names]
        listed = colors if isinstance(colors, list) and len(colors) == len(names) else [None] * len(names)
        entries = [
            Entry(str(name), number, None if color is None else _color(color, file))
            for name, number, color in zip(names.values(), numbers, listed, strict=True)
        ]
        return LabelMap(tuple(entries), file, str(names[str(background)]) if str(background) in names else None)
    labels = value.get("labels")  # Mapillary Vistas
    if isinstance(labels, list) and labels and all(isinstance(label, dict) and "name" in label for label in labels):
        return LabelMap(
            tuple(
                Entry(str(label.get("readable") or label["name"]), number, _color(label.get("color"), file))
                for number, label in enumerate(labels)
            ),
            file,
        )
    return None


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


def _color(values: Any, file: object) -> Color:
    try:
        red, green, blue = (int(value) for value in values)
        if not all(0 <= channel <= 255 for channel in (red, green, blue)):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{file}: {str(values)[:40]} is no colour; write red, green and blue from 0 to 255") from None
    return red, green, blue


def listed(names: Iterable[str], file: str) -> LabelMap:
    """Return the label map of which only names are known."""
    return LabelMap(tuple(Entry(name) for name in names), file)


def _known(file: str, text: str) -> LabelMap:
    rows = [line.split() for line in text.strip().split("\n")]
    entries = [Entry(row[0].replace("+", " "), None, _color(row[1:4], file)) for row in rows]
    return LabelMap(tuple(entries), file)


CAMVID = _known(
    "CamVid's label colours",  # Brostow, Fauqueur, Cipolla 2009, label_colors.txt
    """Animal 64 128 64
Archway 192 0 128
Bicyclist 0 128 192
Bridge 0 128 64
Building 128 0 0
Car 64 0 128
CartLuggagePram 64 0 192
Child 192 128 64
Column_Pole 192 192 128
Fence 64 64 128
LaneMkgsDriv 128 0 192
LaneMkgsNonDriv 192 0 64
Misc_Text 128 128 64
MotorcycleScooter 192 0 192
OtherMoving 128 64 64
ParkingBlock 64 192 128
Pedestrian 64 64 0
Road 128 64 128
RoadShoulder 128 128 192
Sidewalk 0 0 192
SignSymbol 192 128 128
Sky 128 128 128
SUVPickupTruck 64 128 192
TrafficCone 0 0 64
TrafficLight 0 64 64
Train 192 64 128
Tree 128 128 0
Truck_Bus 192 128 192
Tunnel 64 0 64
VegetationMisc 192 192 0
Void 0 0 0
Wall 64 192 0""",
)
SYNTHIA = _known(
    "SYNTHIA's label colours",  # Ros et al. 2016, SYNTHIA-RAND
    """Void 0 0 0
Sky 128 128 128
Building 128 0 0
Road 128 64 128
Sidewalk 0 0 192
Fence 64 64 128
Vegetation 128 128 0
Pole 192 192 128
Car 64 0 128
TrafficSign 192 128 128
Pedestrian 64 64 0
Bicycle 0 128 192
Lanemarking 0 172 0
TrafficLight 0 128 128""",
)
CITYSCAPES = _known(
    "Cityscapes' labels",  # Cordts et al. 2016, cityscapesscripts/helpers/labels.py; the order is that of the ids
    """unlabeled 0 0 0
ego+vehicle 0 0 0
rectification+border 0 0 0
out+of+roi 0 0 0
static 0 0 0
dynamic 111 74 0
ground 81 0 81
road 128 64 128
sidewalk 244 35 232
parking 250 170 160
rail+track 230 150 140
building 70 70 70
wall 102 102 156
fence 190 153 153
guard+rail 180 165 180
bridge 150 100 100
tunnel 150 120 90
pole 153 153 153
polegroup 153 153 153
traffic+light 250 170 30
traffic+sign 220 220 0
vegetation 107 142 35
terrain 152 251 152
sky 70 130 180
person 220 20 60
rider 255 0 0
car 0 0 142
truck 0 0 70
bus 0 60 100
caravan 0 0 90
trailer 0 0 110
train 0 80 100
motorcycle 0 0 230
bicycle 119 11 32""",
)
# Cityscapes evaluates these and numbers them so in *_labelTrainIds.png; some tools write 19 for the rest.
_TRAINED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CITYSCAPES_TRAIN = LabelMap(
    (
        *(Entry(CITYSCAPES.entries[label].name, number) for number, label in enumerate(_TRAINED)),
        Entry("void", len(_TRAINED)),
    ),
    "Cityscapes' train ids",
)
