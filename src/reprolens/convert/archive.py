"""Data sets in archives (.zip, .tar, .tar.gz, .tar.bz2, .tar.xz), unpacked into a temporary folder while they are read.

Nothing in an archive is trusted: names that lead out of the folder, links, devices, encryption and bombs are refused.
"""

import gzip
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from reprolens.errors import DataError
from reprolens.progress import Bar, bar

MOST_BYTES = 2**40
"""Bytes that the archives of a data set may unpack to, all together: 1 TiB. No more than the disk has, either."""

MOST_FILES = 20_000_000
"""Files that the archives of a data set may hold."""

MOST_RATIO = 200
"""How many times its archive's size the content may be; annotations in plain text reach 100, bombs 1,000 and more."""

FREE_BYTES = 64 * 2**20
"""Content up to this size is not held against MOST_RATIO: small archives of blank pictures shrink a lot."""

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

_BESIDE = (
    "license",
    "licence",
    "readme",
    "source",
    "copying",
    "notice",
    "citation",
    "changes",
    "checksums",
    "md5",
    "sha",
)
_TEXTS = ("", ".txt", ".md", ".rst", ".html", ".pdf", ".bib", ".md5", ".sha256")
"""What files beside archives are called that tell about the data, and are none."""

_CHUNK = 2**20


_origins: dict[str, str] = {}
"""The temporary folders that there are now, and the archives (and folders in them) that they came out of."""


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yield `path`, unpacked into a temporary folder if it is an archive, or a folder whose only data are archives.

    The content of one archive is the folder itself, that of several a folder each, called after its archive; a single
    folder in an archive that has the archive's own name counts as that folder. All is removed at the end.
    Raises DataError if an archive is damaged or encrypted, leads out of its folder, or grows beyond measure; one that
    is raised while the block runs gets the names that `displayed` gives.
    """
    archives = _archives(path)
    if not archives:
        yield path
        return
    folder = Path(tempfile.mkdtemp(prefix="reprolens-"))
    origins = {str(folder): str(path)}
    try:
        if len(archives) == 1:
            origins[str(folder)] = str(archives[0])
            root = _extract_all(archives, {archives[0]: folder})[0]
        else:
            root = folder
            targets = {archive: folder / _stem(archive) for archive in archives}
            for (archive, target), top in zip(targets.items(), _extract_all(archives, targets), strict=True):
                origins[str(target)] = str(archive / top.relative_to(target))
                if top != target:
                    _lift(top, target)
        _origins.update(origins)
        yield root
    except DataError as error:
        raise DataError(displayed(str(error))) from None
    finally:
        for name in origins:
            _origins.pop(name, None)
        shutil.rmtree(folder, ignore_errors=True)


def holds_pictures(path: Path) -> bool:
    """Return whether a single file that is a data set holds its pictures itself, as archives and TFRecord files do."""
    return path.name.lower().endswith((*SUFFIXES, ".tfrecord", ".record", ".tfrecords"))


def displayed(text: str) -> str:
    """Return a message with the archives' own names, `a.zip/folder/name`, for what `unpacked` has unpacked now."""
    for folder in sorted(_origins, key=len, reverse=True):
        text = text.replace(folder, _origins[folder])
    return text


def _archives(path: Path) -> list[Path]:
    """Return the archives that make up a data set; none where it has other files than those that tell about it."""
    if path.is_file():
        return [path] if path.name.lower().endswith(SUFFIXES) else []
    if not path.is_dir():
        return []
    try:
        entries = sorted(entry for entry in path.iterdir() if not _is_hidden(entry))
    except OSError as error:
        raise DataError(f"{path}: cannot be listed ({error.strerror})") from None
    archives = [entry for entry in entries if entry.is_file() and entry.name.lower().endswith(SUFFIXES)]
    others = [entry for entry in entries if entry not in set(archives)]
    if not all(entry.is_file() and _tells_about(entry.name.lower()) for entry in others):
        return []
    stems = [_stem(archive) for archive in archives]
    if len(set(stems)) < len(stems):
        double = next(stem for stem in stems if stems.count(stem) > 1)
        raise DataError(f"{path}: holds two archives called {double}; keep one of them")
    return archives


def _tells_about(name: str) -> bool:
    return name.startswith(_BESIDE) and PurePosixPath(name).suffix in _TEXTS


def _stem(archive: Path) -> str:
    suffix = max((suffix for suffix in SUFFIXES if archive.name.lower().endswith(suffix)), key=len)
    return archive.name[: -len(suffix)] or archive.name


def _extract_all(archives: Sequence[Path], targets: Mapping[Path, Path]) -> list[Path]:
    """Unpack archives; return for each the folder with its content: its target, or the one of its name in that."""
    tops: list[Path] = []
    budget = _Budget(shutil.disk_usage(tempfile.gettempdir()).free)
    with bar("unpack") as line:
        for archive in archives:
            target = targets[archive]
            target.mkdir(exist_ok=True)
            _extract(archive, target, budget, line)
            inner = target / _stem(archive)
            content = [entry for entry in target.iterdir() if not _is_hidden(entry)]
            tops.append(inner if content == [inner] and inner.is_dir() else target)
    return tops


def _is_hidden(entry: Path) -> bool:
    return entry.name.startswith(".") or entry.name == "__MACOSX"


def _lift(inner: Path, target: Path) -> None:
    """Put `inner`, the only folder in `target` that counts, in the place of that."""
    aside = inner.rename(target.with_name(f".{target.name}"))
    shutil.rmtree(target)
    aside.rename(target)


@dataclass
class _Budget:
    """What may still be unpacked, in bytes and files."""

    free: int
    bytes: int = 0
    files: int = 0
    packed: int = 0

    def check(self, archive: Path) -> None:
        if self.bytes > MOST_BYTES:
            raise DataError(f"{archive}: unpacks to more than {MOST_BYTES // 2**40} TiB; unpack it yourself")
        if self.bytes > max(FREE_BYTES, MOST_RATIO * self.packed):
            raise DataError(f"{archive}: unpacks to more than {MOST_RATIO} times its size; if you trust it, unpack it")
        if self.bytes > self.free:
            raise DataError(f"{archive}: unpacks to more than the disk of {tempfile.gettempdir()} has; set TMPDIR")
        if self.files > MOST_FILES:
            raise DataError(f"{archive}: holds more than {MOST_FILES:,} files; unpack it yourself")


def _extract(archive: Path, target: Path, budget: _Budget, line: Bar) -> None:
    try:
        budget.packed += archive.stat().st_size
        if archive.name.lower().endswith(".zip"):
            _extract_zip(archive, target, budget, line)
        else:
            _extract_tar(archive, target, budget, line)
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError) as error:
        raise DataError(f"{archive}: is damaged ({_short(error)}); fetch it anew") from None
    except NotImplementedError as error:  # zipfile: a compression that it lacks, such as Deflate64
        raise DataError(f"{archive}: cannot be unpacked ({_short(error)}); unpack it yourself") from None
    except (OSError, ValueError, UnicodeError, RuntimeError, OverflowError) as error:
        raise DataError(f"{archive}: cannot be unpacked ({_short(error)})") from None


def _short(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:120] or type(error).__name__


def _extract_zip(archive: Path, target: Path, budget: _Budget, line: Bar) -> None:
    with zipfile.ZipFile(archive) as file:
        for entry in file.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16) if entry.create_system == 3 else 0
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DataError(f"{archive}: {entry.filename!r} is a link or a device, which are refused")
            place = _place(archive, target, entry.filename)
            if entry.is_dir() or entry.filename.endswith("\\"):
                place.mkdir(parents=True, exist_ok=True)
                continue
            if entry.flag_bits & 1:
                raise DataError(f"{archive}: {entry.filename!r} is encrypted; unpack it yourself with its password")
            with file.open(entry) as content:
                _write(archive, content, place, budget)
            line.advance()


def _extract_tar(archive: Path, target: Path, budget: _Budget, line: Bar) -> None:
    with tarfile.open(archive) as file:
        for entry in file:
            place = _place(archive, target, entry.name)
            if entry.isdir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            content = file.extractfile(entry) if entry.isreg() else None
            if content is None:
                raise DataError(f"{archive}: {entry.name!r} is a link or a device, which are refused")
            with content:
                _write(archive, content, place, budget)
            line.advance()


def _place(archive: Path, target: Path, name: str) -> Path:
    """Return where an entry goes. Raises DataError if that would not be in `target`."""
    path = PurePosixPath(name.replace("\\", "/"))
    drive = len(name) > 1 and name[1] == ":"
    if path.is_absolute() or drive or ".." in path.parts or "\0" in name:
        raise DataError(f"{archive}: {name!r} would lie outside the archive's folder, which is refused")
    return target / path


def _write(archive: Path, content: IO[bytes], place: Path, budget: _Budget) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    budget.files += 1
    if place.exists():
        raise DataError(f"{archive}: holds {place.name!r} twice in a folder, and nobody can tell which is meant")
    with place.open("xb") as file:
        while chunk := content.read(_CHUNK):
            budget.bytes += len(chunk)
            budget.check(archive)
            file.write(chunk)
    budget.check(archive)
