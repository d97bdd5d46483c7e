"""The folder that results go into: only files that are ours are replaced, and no result is taken for a picture."""

import glob
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reprolens.errors import ConfigError
from reprolens.files import write_json
from reprolens.inference.results.images import FOLDER
from reprolens.inference.sources import Source

ABOUT = "about.json"
"""Says what made the results, and which of the folder's files they are."""

_MAKER = "reprolens predict"


def claim(out: Path, targets: Sequence[str], facts: Mapping[str, Any]) -> None:
    """Make the folder `out`, if it is not there, and say in its about.json that `targets` are ours, with these `facts`.

    Raises ConfigError if `out` is a file, or if one of `targets` is there and not ours: a data set's labels.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: is a file; name a folder")
    earlier = results_in(out)
    for name in (ABOUT, *targets):
        if name not in earlier and ((out / name).exists() or (out / name).is_symlink()):
            raise ConfigError(
                f"--out {out}: holds {name}, which predict did not write and would write over; name another folder"
            )
    write_json(out / ABOUT, {"made_by": _MAKER, **facts, "files": sorted({ABOUT, *earlier, *targets})})


def results_in(folder: Path) -> frozenset[str]:
    """Return which files and folders in a folder are results of predict."""
    try:
        content = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        return frozenset(map(str, content["files"] if content["made_by"] == _MAKER else ()))
    except (OSError, ValueError, TypeError, KeyError):  # there is none, or another program's
        return frozenset()


def without_results(sources: Sequence[Source], paths: Sequence[str]) -> list[Source]:
    """Leave out the pictures that predict itself drew, unless a path names them or the folder that they lie in."""
    asked = {_fixed(path) for path in paths}
    drawn: dict[Path, bool] = {}

    def is_result(path: Path) -> bool:
        for folder in path.parents:
            if folder in asked:
                return False
            if folder not in drawn:
                drawn[folder] = folder.name == FOLDER and FOLDER in results_in(folder.parent)
            if drawn[folder]:
                return True
        return False

    return [source for source in sources if not is_result(source.path)]


def _fixed(path: str) -> Path:
    """Return the folder that a path's pictures are looked for in: itself, or above a file's name or a glob's stars."""
    given = Path(path)
    if given.is_dir():
        return given
    return next((folder for folder in given.parents if not glob.has_magic(str(folder))), Path())
