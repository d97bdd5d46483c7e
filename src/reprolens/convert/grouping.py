"""Pictures that belong together: shots of one scene, frames of one film. Apart, they would make test look easy."""

import io
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath

from PIL import ExifTags, Image

from reprolens.errors import DataError
from reprolens.progress import track

PAUSE = 60.0
"""Seconds without a shot after which a camera's next one begins a new session."""


def groups(files: Sequence[tuple[str, Path | bytes | None]], group_by: str | None) -> list[str | None]:
    """Return the group of each picture, given as its name in the source (folders parted by `/`) and its file.

    `group_by` is data.group_by: None puts every picture on its own (None); `folder` groups by the folders in the name;
    `exif` by capture session, that is successive shots of one camera (EXIF's make, model and serial number) less than
    PAUSE seconds apart; anything else is a regular expression, searched in the name: its first group, or the whole
    match, is the picture's. A picture without folder, capture time or match is on its own. Raises DataError if
    `group_by` says nothing about any picture.
    """
    if group_by is None:
        return [None] * len(files)
    if group_by == "folder":
        found = [str(PurePosixPath(file).parent) if "/" in file else None for file, _ in files]
        missing = "no picture lies in a folder"
    elif group_by == "exif":
        found = _sessions(files)
        missing = "no picture has a capture time in its EXIF data"
    else:
        pattern = re.compile(group_by)
        found = [_matched(pattern, file) for file, _ in files]
        missing = f"it matches no picture's name, such as {files[0][0]!r}" if files else ""
    if files and all(group is None for group in found):
        raise DataError(f"data.group_by {group_by}: {missing}; correct it, or set it to null")
    return found


def _matched(pattern: re.Pattern[str], file: str) -> str | None:
    match = pattern.search(file)
    if match is None:
        return None
    return (match[1] if pattern.groups and match[1] is not None else match[0]) or None


def _sessions(files: Sequence[tuple[str, Path | bytes | None]]) -> list[str | None]:
    shots = []
    for index, (file, image) in enumerate(track(files, "exif")):
        shot = None if image is None else _shot(image)
        if shot is not None:
            shots.append((*shot, file, index))
    found: list[str | None] = [None] * len(files)
    name, last = "", None
    for camera, time, _, index in sorted(shots):
        if last is None or last[0] != camera or (time - last[1]).total_seconds() >= PAUSE:
            name = " ".join([*filter(None, camera), f"{time:%Y-%m-%d %H:%M:%S.%f}"])
        found[index], last = name, (camera, time)
    return found


def _shot(image: Path | bytes) -> tuple[tuple[str, str, str], datetime] | None:
    """Return a picture's camera (make, model, serial number) and capture time, as its EXIF 2.32 header says."""
    try:
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as picture:
            exif = picture.getexif()
            detail = exif.get_ifd(ExifTags.IFD.Exif)
    except Exception:  # what does not open is reported elsewhere, damaged EXIF says nothing
        return None
    base, own = ExifTags.Base, {**exif, **detail}
    for tag, fraction in ((base.DateTimeOriginal, base.SubsecTimeOriginal), (base.DateTimeDigitized, None)):
        try:
            time = datetime.strptime(_text(own.get(tag)), "%Y:%m:%d %H:%M:%S")
        except ValueError:
            continue
        digits = _text(own.get(fraction)) if fraction else ""
        if digits.isascii() and digits.isdigit():
            time = time.replace(microsecond=int(digits[:6].ljust(6, "0")))
        make, model, serial = (_text(own.get(tag)) for tag in (base.Make, base.Model, base.BodySerialNumber))
        return (make, model, serial), time
    return None


def _text(value: object) -> str:
    return str(value).strip(" \0") if value is not None else ""
