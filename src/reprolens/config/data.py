"""The knobs of a source data set: its format, where it lies, how it is split, and what is done about its problems."""

import re
from dataclasses import dataclass, fields
from enum import StrEnum

from reprolens.config.check import check


class Action(StrEnum):
    """What convert does about a problem in the source data set."""

    fail = "fail"
    drop = "drop"
    fix = "fix"
    keep = "keep"


@dataclass(frozen=True)
class Digits:
    format: str
    path: str
    image_size: int
    train: int
    val: int
    test: int
    min_digits: int
    max_digits: int
    min_size: float
    max_size: float
    min_contrast: float
    max_overlap: float

    def __post_init__(self) -> None:
        check(bool(self.path), "data.path", "must not be empty")
        for name in ("train", "val", "test"):
            check(getattr(self, name) > 0, f"data.{name}", "must be at least 1")
        check(0 <= self.min_digits <= self.max_digits, "data.min_digits", "must be from 0 to data.max_digits")
        check(self.max_digits > 0, "data.max_digits", "must be at least 1")
        check(8 <= self.min_size <= self.max_size, "data.min_size", "must be from 8 (a scan's own) to data.max_size")
        check(self.max_size * 2 <= self.image_size, "data.max_size", "must be at most half of data.image_size")
        check(0 <= self.min_contrast <= 100, "data.min_contrast", "must be from 0 to 100")
        check(0 <= self.max_overlap <= 1, "data.max_overlap", "must be from 0 to 1")


# What can be done about each kind of problem.
_LOST = (Action.fail, Action.drop)
_LIVES = (Action.fail, Action.drop, Action.keep)
_MENDED = (Action.fail, Action.drop, Action.fix)
_POSSIBLE = {
    "missing_image": _LOST,
    "ambiguous_image": _LOST,
    "path_outside": _LOST,
    "undecodable_image": _LOST,
    "wrong_suffix": _LIVES,
    "exif_rotation": (*_MENDED, Action.keep),
    "size_mismatch": _MENDED,
    "duplicate_image": (Action.fail, Action.keep),
    "leak": _LOST,
    "near_duplicate": (Action.fail, Action.keep),
    "missing_annotation": _LIVES,
    "unreadable_annotation": _LOST,
    "unreadable_mask": _LOST,
    "invalid_box": _LOST,
    "inverted_box": _MENDED,
    "empty_box": _LOST,
    "tiny_box": _LIVES,
    "box_outside": _MENDED,
    "duplicate_box": _LIVES,
    "unsupported_shape": _LOST,
    "ignored_region": _LOST,
    "unknown_class": _LOST,
    "similar_classes": (Action.fail, Action.fix, Action.keep),
    "unused_class": _LIVES,
    "class_not_in_train": _LOST,
}


@dataclass(frozen=True)
class Policy:
    missing_image: Action
    ambiguous_image: Action
    path_outside: Action
    undecodable_image: Action
    wrong_suffix: Action
    exif_rotation: Action
    size_mismatch: Action
    duplicate_image: Action
    leak: Action
    near_duplicate: Action
    missing_annotation: Action
    unreadable_annotation: Action
    unreadable_mask: Action
    invalid_box: Action
    inverted_box: Action
    empty_box: Action
    tiny_box: Action
    box_outside: Action
    duplicate_box: Action
    unsupported_shape: Action
    ignored_region: Action
    unknown_class: Action
    similar_classes: Action
    unused_class: Action
    class_not_in_train: Action

    def __post_init__(self) -> None:
        for field in fields(self):
            possible = _POSSIBLE[field.name]
            rule = f"must be {' or '.join(possible)}"
            check(getattr(self, field.name) in possible, f"data.policy.{field.name}", rule)


@dataclass(frozen=True)
class Labelled:
    """What every format has that people bring."""

    format: str
    path: str
    images: str | None
    annotations: str | None
    ratios: list[float]
    group_by: str | None
    policy: Policy

    def __post_init__(self) -> None:
        check(bool(self.path), "data.path", "must not be empty")
        good = len(self.ratios) == 3 and all(ratio > 0 for ratio in self.ratios) and abs(sum(self.ratios) - 1) < 1e-6
        check(good, "data.ratios", "must be three shares above 0 (train, val, test) that add up to 1")
        if self.group_by is not None:
            try:
                re.compile(self.group_by)
            except re.error as error:
                check(False, "data.group_by", f"is no regular expression ({error})")


@dataclass(frozen=True)
class Voc(Labelled):
    first_pixel: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.first_pixel in (0, 1), "data.first_pixel", "must be 0 or 1")


@dataclass(frozen=True)
class Yolo(Labelled):
    classes: list[str] | None


@dataclass(frozen=True)
class Via(Labelled):
    class_attribute: str | None


@dataclass(frozen=True)
class Masks(Labelled):
    classes: list[str] | None
    background: str | None
    void: str | None


@dataclass(frozen=True)
class Imported(Labelled):
    importer: str | None


Data = Digits | Labelled

FORMATS: dict[str, type] = {
    "digits": Digits,
    "auto": Labelled,
    "voc": Voc,
    "coco": Labelled,
    "yolo": Yolo,
    "labelme": Labelled,
    "via": Via,
    "cvat": Labelled,
    "open_images": Labelled,
    "label_studio": Labelled,
    "supervisely": Labelled,
    "vott": Labelled,
    "tf_csv": Labelled,
    "tfrecord": Labelled,
    "createml": Labelled,
    "kitti": Labelled,
    "class_folders": Labelled,
    "class_csv": Labelled,
    "masks": Masks,
    "datumaro": Imported,
}
"""The schema of every format, by its name in data.format."""
