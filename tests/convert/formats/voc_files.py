"""VOC folders as people have them, for tests: written file by file, and read."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image

from convert.sources import POLICY
from reprolens.config import Voc
from reprolens.convert.formats import voc
from reprolens.convert.source import Problem, Source, SourceImage
from reprolens.convert.tree import open_tree
from reprolens.voc import Object

BOX = ("cat", "2", "3", "10", "9")


def open_voc(root: Path, images: Path | None = None, first_pixel: int = 1, annotations: str | None = None) -> Source:
    options = Voc(
        format="voc",
        path=str(root),
        images=None,
        annotations=annotations,
        ratios=[0.7, 0.1, 0.2],
        group_by=None,
        policy=POLICY,
        first_pixel=first_pixel,
    )
    return voc.read(open_tree(root, images), options)


def images_of(source: Source) -> list[SourceImage]:
    return [item for item in source.images if isinstance(item, SourceImage)]


def problems_of(source: Source) -> list[Problem]:
    return [item for item in source.images if isinstance(item, Problem)]


def detected(root: Path) -> str | None:
    return voc.detect(open_tree(root))


def places(root: Path, images: Iterable[SourceImage]) -> dict[str, str | None]:
    """Return the picture of each annotation, both as places below the root."""
    return {
        Path(image.place).relative_to(root).as_posix(): image.image.relative_to(root).as_posix()
        if isinstance(image.image, Path)
        else None
        for image in images
    }


def numbers(item: Object) -> tuple[Decimal, ...]:
    """Return a box's corners as the decimals that they are."""
    return item.exact or tuple(Decimal(repr(edge)) for edge in item.box)


def xml(boxes: Sequence[Sequence[str]] = (BOX,), filename: str = "", more: str = "") -> str:
    objects = "".join(
        f"<object><name>{escape(name)}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax>"
        f"<ymax>{y1}</ymax></bndbox></object>"
        for name, x0, y0, x1, y1 in boxes
    )
    size = "<size><width>16</width><height>12</height><depth>3</depth></size>"
    return f"<annotation><filename>{escape(filename)}</filename>{size}{more}{objects}</annotation>"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 12), "gray").save(path)


def write_pair(root: Path, name: str, suffix: str = ".jpg", filename: str | None = None) -> None:
    """Write a picture and its annotation in the devkit's folders."""
    write_picture(root / "JPEGImages" / f"{name}{suffix}")
    write(root / "Annotations" / f"{name}.xml", xml(filename=f"{name}{suffix}" if filename is None else filename))
