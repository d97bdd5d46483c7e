"""Under which licence a data set comes, as its own files say it."""

from pathlib import PurePosixPath

from reprolens.convert.tree import Tree

_NAMES = {"license", "licence", "copying"}
_LONGEST = 100
_READ = 10_000


def stated_licence(tree: Tree) -> str | None:
    """Return the first line of the LICENSE file in a source's folder, which names it; None if there is none."""
    for name in tree.files:
        path = PurePosixPath(name)
        if len(path.parts) == 1 and path.stem.lower() in _NAMES and path.suffix.lower() in ("", ".txt", ".md"):
            try:
                with (tree.root / name).open(encoding="utf-8", errors="replace") as file:
                    lines = file.read(_READ).splitlines()
            except OSError:
                continue
            first = next((line.strip("# \t") for line in lines if line.strip("# \t")), None)
            if first:
                return first[:_LONGEST]
    return None
