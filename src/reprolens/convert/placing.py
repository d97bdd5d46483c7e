"""Pictures put into the VOC folder without a copy where that is safe, and never at the risk of the user's own files.

DVC makes what it commits read-only and takes it for its cache, whose files hard links share. So a hard link from a
user's file would make that file read-only, and a program that writes to it all the same would spoil the cache unseen.
"""

import configparser
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

FICLONE = 0x40049409
"""Linux' ioctl that lets a file share another's blocks until one of them is written to (ioctl_ficlonerange(2))."""


def place(source: Path | bytes, target: Path, caches: Sequence[Path] = ()) -> str:
    """Put a picture, a file or its bytes, at `target`, where nothing may be yet; return how: reflinked, linked, copied.

    Reflinked where the file system can (btrfs, XFS and others on Linux). Else hard-linked, but only if `source` is
    itself what DVC made of a file in one of `caches` (see `dvc_caches`): a read-only hard link, or a symbolic one.
    The new link leads to the cache's file, which DVC protects; whoever changes the picture later has to replace it, as
    any of DVC's outputs. Else copied. What becomes of `source` then changes neither the picture nor the cache.

    Raises OSError if `source` cannot be read or `target` cannot be written, FileExistsError if it exists.
    """
    if isinstance(source, bytes):
        with target.open("xb") as file:
            file.write(source)
        return "copied"
    cached = _cached(source, caches)
    with source.open("rb") as read, target.open("xb") as written:
        try:
            if _reflink(read.fileno(), written.fileno()):
                return "reflinked"
            if cached is not None:
                target.unlink()
                with suppress(OSError):  # another file system, too many links, or a cache of another user
                    os.link(cached, target)
                    return "linked"
            shutil.copyfile(source, target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    return "copied"


def dvc_caches(*starts: Path) -> tuple[Path, ...]:
    """Return the cache folders of the DVC repositories around some places, whether these exist or not.

    A place that is a link counts where it stands and where it leads: in a trial's workspace the data is a link into the
    repository. `cache.dir` is read as DVC does, from .dvc/config.local before .dvc/config; DVC itself takes a second to
    import. Settings of the user or the machine are not read: a cache that is not found costs a copy, no more.
    """
    found: dict[Path, None] = {}
    for start in starts:
        for place in (start.absolute(), start.resolve()):
            home = next((folder / ".dvc" for folder in (place, *place.parents) if (folder / ".dvc").is_dir()), None)
            if home is not None:
                found[_cache_of(home).resolve()] = None
    return tuple(found)


def clear_stale(path: Path) -> None:
    """Remove what a killed `files.atomic_folder(path)` left beside `path`, and nothing else.

    If it was killed between moving the old folder away and the new one in, the old one is put back: it is the last that
    a whole run left. Nobody else may be writing `path` meanwhile; DVC's lock sees to that.
    """
    # tempfile.mkdtemp's name and mode: a folder that somebody keeps as .voc-original has the one but not the other.
    name = re.compile(rf"\.{re.escape(path.name)}-[a-z0-9_]{{8}}(-old)?")
    try:
        with os.scandir(path.parent) as entries:
            found = [entry for entry in entries if name.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    names = {entry.name for entry in found}
    for entry in found:
        folder = Path(entry)
        new = entry.name.removesuffix("-old")
        if entry.name != new and new in names and not os.path.lexists(path):
            folder.replace(path)
        elif entry.name != new or f"{new}-old" in names or stat.S_IMODE(entry.stat().st_mode) == 0o700:
            shutil.rmtree(folder, ignore_errors=True)


def _reflink(source: int, target: int) -> bool:
    try:
        import fcntl

        fcntl.ioctl(target, FICLONE, source)
    except (ImportError, OSError):  # no Unix; or the file system cannot, or they are two
        return False
    return True


# ---- DVC's cache


def _cached(source: Path, caches: Sequence[Path]) -> Path | None:
    """Return the file of a DVC cache that `source` is, by a link of either kind; None where it is the user's own."""
    if not caches:
        return None
    file = source.resolve()
    status = file.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o222:
        return None
    if file != source and any(_is_object(file, cache.resolve()) for cache in caches):
        return file
    if status.st_nlink < 2:
        return None
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    objects = (cache / "files" / "md5" / digest[:2] / digest[2:] for cache in caches)
    return next((place for place in objects if _is_same(place, status)), None)


def _is_object(file: Path, cache: Path) -> bool:
    if not file.is_relative_to(cache):
        return False
    return re.fullmatch(r"files/md5/[0-9a-f]{2}/[0-9a-f]{30}", file.relative_to(cache).as_posix()) is not None


def _is_same(file: Path, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(file.stat(follow_symlinks=False), status)
    except OSError:
        return False


def _cache_of(home: Path) -> Path:
    """Return the cache folder of the repository whose .dvc folder is given."""
    for name in ("config.local", "config"):
        parser = configparser.ConfigParser(interpolation=None, strict=False, inline_comment_prefixes=("#",))
        try:
            parser.read_string((home / name).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue
        value = parser.get("cache", "dir", fallback="").strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        if value:
            return home / Path(value).expanduser()
    return home / "cache"
