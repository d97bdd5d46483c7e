"""A Pascal VOC folder as the source: Annotations/*.xml, JPEGImages/ and, where they exist, ImageSets/Main/*.txt."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from reprolens.config import Voc
from reprolens.convert.source import SourceImage
from reprolens.errors import DataError
from reprolens.voc import parse_annotation
from reprolens.voc.folder import SPLITS

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def read_voc(config: Voc, seed: int) -> Iterator[SourceImage]:
    """Yield every annotated picture, in the order of the names. Raises DataError if this is no VOC folder."""
    root = Path(config.path)
    annotations = _annotations(root)
    splits = _image_sets(root)
    images = {path.name: path for path in sorted((root / "JPEGImages").rglob("*")) if path.suffix.lower() in SUFFIXES}
    by_stem = {Path(name).stem: path for name, path in reversed(images.items())}
    for path in annotations:
        id = path.relative_to(root / "Annotations").with_suffix("").as_posix()
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None
        record = parse_annotation(data, str(path))
        # Tools that rename pictures forget <filename>; the annotation's own name is what ImageSets go by.
        image = images.get(f"{path.stem}{Path(record.file).suffix}") or by_stem.get(path.stem) or images.get(record.file)
        image = image or root / "JPEGImages" / f"{path.stem}{Path(record.file).suffix or '.jpg'}"
        file = f"{id}{image.suffix}"
        yield SourceImage(replace(record, id=id, file=file), splits.get(path.stem), image, str(path))


def _annotations(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder; set data.path in params.yaml to the VOC folder")
    folder = root / "Annotations"
    if not folder.is_dir():
        nested = sorted(path.parent for path in root.glob("*/Annotations")) + sorted(
            path.parent for path in root.glob("*/*/Annotations")
        )
        if nested:
            raise DataError(f"{root}: no Annotations/ in it, but in {nested[0]}; set data.path to that")
        inside = sorted(path.name for path in root.iterdir())[:5]
        found = f"found {', '.join(inside)}" if inside else "the folder is empty"
        raise DataError(f"{root}: not a VOC folder (no Annotations/; {found}); set data to the right format")
    annotations = sorted(folder.rglob("*.xml"))
    if not annotations:
        raise DataError(f"{folder}: holds no .xml file; there is nothing to convert")
    return annotations


def _image_sets(root: Path) -> dict[str, str]:
    """Return the split of every picture that ImageSets/Main names. Raises DataError if one is in two splits."""
    splits: dict[str, str] = {}
    for split in SPLITS:
        path = root / "ImageSets" / "Main" / f"{split}.txt"
        if not path.is_file():
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.strip():
                continue
            id = line.split()[0]
            if splits.setdefault(id, split) != split:
                raise DataError(f"{path}: {id} is in {splits[id]}.txt too; a picture belongs to one split")
    return splits
