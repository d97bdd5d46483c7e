"""COCO files as tests write them, and what the reader makes of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from convert.sources import DATA, POLICY
from reprolens.config.data import Labelled
from reprolens.convert.formats.coco import read
from reprolens.convert.source import Problem, Source, SourceImage
from reprolens.convert.tree import open_tree
from reprolens.voc import Object

FIXTURES = DATA / "format_fixtures" / "assets"

Read = tuple[Source, list[SourceImage], list[Problem]]


def load(root: Path, annotations: str | None = None, images: Path | None = None) -> Read:
    options = Labelled("coco", str(root), None, annotations, [0.7, 0.1, 0.2], None, POLICY)
    source = read(open_tree(root, images), options)
    items = list(source.images)
    pictures = [item for item in items if isinstance(item, SourceImage)]
    return source, pictures, [item for item in items if isinstance(item, Problem)]


def coco(annotations: list[Any], **changes: Any) -> dict[str, Any]:
    """Return a COCO file of one picture, 1.jpg, 100 x 80, with the classes cat (1) and dog (2)."""
    return {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 100, "height": 80}],
        "annotations": [{"id": n, "image_id": 1, "category_id": 1, **item} for n, item in enumerate(annotations, 1)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        **changes,
    }


def write(root: Path, content: Any, name: str = "annotations.json") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return root


def the_object(root: Path, **annotation: Any) -> Object:
    _, pictures, problems = load(write(root, coco([annotation])))
    assert {problem.kind for problem in problems} <= {"not_kept"}
    return pictures[0].record.objects[0]


def the_problem(root: Path, content: Any) -> Problem:
    """Return the one problem of a file whose other object is kept."""
    _, pictures, problems = load(write(root, content))
    assert [item.box for picture in pictures for item in picture.record.objects] == [(1.0, 2.0, 4.0, 6.0)]
    (problem,) = (problem for problem in problems if problem.kind != "not_kept")
    return problem


GOOD = {"bbox": [1, 2, 3, 4]}


def fixture(name: str) -> Path:
    if not (FIXTURES / name).is_dir():
        pytest.skip(f"{FIXTURES / name} is absent")
    return FIXTURES / name
