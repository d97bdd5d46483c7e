"""The law of a killed conversion: data/voc is the old one or the new one, whole, and the next one leaves no rubbish."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from convert.small_sets import SETS
from reprolens.convert import convert
from reprolens.convert.formats import labelled
from reprolens.errors import DataError

ROOT = Path(__file__).parents[2]
KILLS = 20
"""Kills at random moments, beside those at every moment when a folder changes its name."""

PICTURES = 30

# Reads a source, a target and a moment a line; forks a conversion that kills itself there: as the moment-th file is
# opened, made, renamed or removed, or, with a minus, as it has been. Answers with the exit status and the moments.
DRIVER = """
import os, signal, sys
from pathlib import Path
from reprolens.convert import convert
from reprolens.convert.formats import FORMATS, labelled, module_of

for name in FORMATS:
    module_of(name)
root, names = Path(sys.argv[1]), ("open", "os.mkdir", "os.rename", "os.rmdir", "os.remove", "shutil.rmtree", "os.chmod")
for line in sys.stdin:
    source, out, moment = line.rstrip().split("\\t")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        seen = []
        def look(event, arguments):
            if event in names and str(out.rpartition("/")[0]) in str(arguments):
                seen.append(event)
                if len(seen) == int(moment):
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(look)
        convert(labelled("coco", source, None, root), 1, Path(out))
        os.write(write, " ".join(seen).encode())
        os._exit(0)
    os.close(write)
    events = os.fdopen(read).read()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), events, flush=True)
"""

Tree = Callable[[Path], dict[str, bytes]]
Attempt = Callable[[Path, Path, int], tuple[int, list[str]]]


@pytest.fixture
def attempt() -> Iterator[Attempt]:
    """Return a runner of conversions that kill themselves: source, target and moment; exit status and moments."""
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(ROOT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert driver.stdin is not None and driver.stdout is not None
    asked, answers = driver.stdin, driver.stdout

    def run(source: Path, out: Path, moment: int) -> tuple[int, list[str]]:
        asked.write(f"{source}\t{out}\t{moment}\n")
        asked.flush()
        status, *events = answers.readline().split()
        return int(status), events

    yield run
    asked.close()
    driver.wait(timeout=60)
    answers.close()


def _source(root: Path, first: int) -> Path:
    """Write pictures and an annotation of each, numbered from `first`."""
    data = next(iter(SETS["coco"][1]().values()))
    numbers = range(first, first + PICTURES)
    images = [{"id": id, "file_name": f"{id:03d}.png", "width": 16, "height": 12} for id in numbers]
    boxes = [{"id": image["id"], "image_id": image["id"], "category_id": 1, "bbox": [1, 2, 5, 6]} for image in images]
    (root / "images").mkdir(parents=True)
    for image in images:  # with a number behind its end, because the same pictures would all go into one split
        (root / "images" / str(image["file_name"])).write_bytes(data + str(image["id"]).encode())
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": f"class {first}"}]}
    (root / "instances.json").write_text(json.dumps(content))
    return root


def _beside(out: Path) -> list[Path]:
    return [path for path in out.parent.iterdir() if path != out]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_conversion_killed_at_any_moment_leaves_the_old_folder_or_the_new_one(
    tmp_path: Path, tree: Tree, attempt: Attempt
) -> None:
    old, new = _source(tmp_path / "old", 1), _source(tmp_path / "new", 500)
    out = tmp_path / "data" / "voc"
    assert attempt(new, out, -1)[0] == 0
    whole_new = tree(out)
    shutil.rmtree(out.parent)
    assert attempt(old, out, -1)[0] == 0
    whole_old = tree(out)
    kept = tmp_path / "kept"
    shutil.copytree(out.parent, kept)
    status, events = attempt(new, out, -1)
    assert status == 0 and tree(out) == whole_new != whole_old

    renames = [number for number, event in enumerate(events, 1) if event == "os.rename"]
    assert len(renames) >= 2  # the old folder out of the way, the new one into its place
    tail = range(renames[0], len(events) + 1)
    chance = random.Random(1)
    moments = [*tail[:8], *tail[-3:], *(chance.randint(1, len(events)) for _ in range(KILLS))]
    results = set()
    for moment in moments:
        shutil.rmtree(out.parent)
        shutil.copytree(kept, out.parent)
        status, _ = attempt(new, out, moment)
        results.add((status, _state(out, tree, whole_old, whole_new)))

        # Whatever was left, the next conversion, even one that is refused, leaves one whole folder and nothing else.
        with pytest.raises(DataError, match="no such file"):
            convert(labelled("coco", str(tmp_path / "nowhere"), None, ROOT), 1, out)
        assert _beside(out) == []
        assert tree(out) in (whole_old, whole_new)
    assert {(-signal.SIGKILL, "old"), (-signal.SIGKILL, "put back"), (-signal.SIGKILL, "new")} <= results

    convert(labelled("coco", str(old), None, ROOT), 1, out)
    assert tree(out) == whole_old and _beside(out) == []


def _state(out: Path, tree: Tree, whole_old: dict[str, bytes], whole_new: dict[str, bytes]) -> str:
    """Return which folder is there: the old one, the new one, or none, where the old one lies whole beside it."""
    if out.exists():
        found = tree(out)
        assert found in (whole_old, whole_new)
        return "old" if found == whole_old else "new"
    (moved,) = [path for path in _beside(out) if path.name.endswith("-old")]
    assert tree(moved) == whole_old
    return "put back"
