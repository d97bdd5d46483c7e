"""A VOC folder as a user might have it, its configuration, and what a conversion left."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from PIL import Image

from reprolens.config import Digits, Voc
from reprolens.config.compose import compose
from reprolens.config.data import Action

ROOT = Path(__file__).parents[2]

Boxes = Sequence[tuple[str, str, str, str, str]]
"""Class name, xmin, ymin, xmax, ymax, as an annotation writes them."""


@pytest.fixture(scope="session")
def voc_config() -> Callable[..., Voc]:
    """Return a maker of conf/data/voc.yaml for a folder, with other ratios or actions of the policy."""
    shipped = compose(ROOT, ["data=voc"]).data
    assert isinstance(shipped, Voc)

    def make(path: Path, ratios: Sequence[float] = (), **policy: str) -> Voc:
        actions = replace(shipped.policy, **{kind: Action(action) for kind, action in policy.items()})
        return replace(shipped, path=str(path), ratios=list(ratios) or shipped.ratios, policy=actions)

    return make


@pytest.fixture(scope="session")
def digits_config() -> Digits:
    """Return conf/data/digits.yaml with few scenes."""
    shipped = compose(ROOT).data
    assert isinstance(shipped, Digits)
    return replace(shipped, path=str(ROOT / "data" / "digits"), train=16, val=4, test=8)


@pytest.fixture(scope="session")
def annotate() -> Callable[..., None]:
    """Return a writer of one picture and its annotation, named by their place below JPEGImages/ and Annotations/."""

    def write(
        root: Path,
        name: str,
        boxes: Boxes = (("cat", "2", "3", "10", "9"),),
        suffix: str = ".jpg",
        filename: str | None = None,
        size: tuple[int, int] = (16, 12),
    ) -> None:
        picture = root / "JPEGImages" / f"{name}{suffix}"
        picture.parent.mkdir(parents=True, exist_ok=True)
        colour = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        Image.new("RGB", (16, 12), tuple(colour[:3])).save(picture)
        objects = "".join(
            f"<object><name>{escape(box[0])}</name><bndbox>"
            + "".join(
                f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box[1:], strict=True)
            )
            + "</bndbox></object>"
            for box in boxes
        )
        text = (
            f"<annotation><filename>{escape(filename or picture.name)}</filename><size><width>{size[0]}</width>"
            f"<height>{size[1]}</height><depth>3</depth></size>{objects}</annotation>"
        )
        annotation = root / "Annotations" / f"{name}.xml"
        annotation.parent.mkdir(parents=True, exist_ok=True)
        annotation.write_text(text, encoding="utf-8", errors="replace")

    return write


@pytest.fixture
def source(tmp_path: Path, annotate: Callable[..., None]) -> Callable[..., Path]:
    """Return a maker of a VOC folder of pictures named 00, 01, ..., with the image sets that are given."""

    def make(count: int = 10, sets: Mapping[str, Sequence[int]] | None = None) -> Path:
        root = tmp_path / "source"
        for number in range(count):
            annotate(root, f"{number:02d}")
        for name, numbers in (sets or {}).items():
            path = root / "ImageSets" / "Main" / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{number:02d}\n" for number in numbers))
        return root

    return make


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Return a reader of all files below a folder."""
    return lambda root: {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }
