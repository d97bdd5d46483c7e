"""A run's transaction log, `run-<id>.wandb`: what wandb wrote, mended where it is torn, and without what was sent.

The file is LevelDB's log format (https://github.com/google/leveldb/blob/main/doc/log_format.md) behind a header of 7
bytes, with zlib's CRC in place of a masked CRC-32C; its records are wandb's own protocol buffers.
"""

import base64
import hashlib
import json
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprolens.errors import TrackingError
from reprolens.files import atomic

Record = Any
"""wandb's message of that name, which has no types: its module is made when it is imported."""

_BLOCK = 32768
_HEADER = 7
_START = b":W&B"
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


PICTURES = "reports/digest"
"""Where the summary says which reports the pictures and tables of a run show: those in its row without an epoch."""


@dataclass(frozen=True)
class LoggedArtifact:
    """An artifact of a run. `files` are those to be uploaded; those behind a reference are not."""

    name: str
    type: str
    digest: str
    metadata: dict[str, Any]
    files: tuple["StagedFile", ...]


@dataclass(frozen=True)
class StagedFile:
    """A copy of an artifact's file in the run's folder; `md5` as W&B writes it, in base 64, None if it is not known."""

    path: Path
    size: int | None = None
    md5: str | None = None


@dataclass(frozen=True)
class RunLog:
    """What a transaction log holds.

    `rows` are those of the history that have an epoch, their numbers by name. `files` are paths within the run's folder
    `files`. `exit_code` is None where the run was never closed: its process was killed.
    """

    path: Path
    id: str
    name: str
    entity: str
    project: str
    rows: tuple[dict[str, float], ...]
    summary: dict[str, Any]
    files: tuple[str, ...]
    artifacts: tuple[LoggedArtifact, ...]
    exit_code: int | None

    @property
    def is_published(self) -> bool:
        """Whether it was written from all results, not while training or of a failure."""
        return PICTURES in self.summary


def find_log(folder: Path) -> Path:
    """Return the transaction log in a run's folder. Raises TrackingError if there is none."""
    paths = sorted(folder.glob("run-*.wandb"))
    if not paths:
        raise TrackingError(f"{folder}: has no transaction log; remove it")
    return paths[0]


def read_log(path: Path) -> RunLog:
    """Read a transaction log. Raises TrackingError if it is none, or if it does not say which run it is."""
    run, exit_code = None, None
    rows, artifacts = [], []
    summary: dict[str, Any] = {}
    files: dict[str, None] = {}
    for record in _records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
        elif kind == "history" and "epoch" in (row := _row(record)):
            rows.append(row)
        elif kind == "summary":
            _update(summary, record)
        elif kind == "files":
            files |= dict.fromkeys(item.path for item in record.files.files)
        elif kind == "artifact":
            artifacts.append(_artifact(record))
        elif kind == "exit":
            exit_code = record.exit.exit_code
    if run is None:
        raise TrackingError(f"{path}: holds no run")
    return RunLog(
        path=path,
        id=run.run_id,
        name=run.display_name or run.run_id,
        entity=run.entity,
        project=run.project,
        rows=tuple(rows),
        summary=summary,
        files=tuple(files),
        artifacts=tuple(artifacts),
        exit_code=exit_code,
    )


def repair(path: Path) -> int:
    """Cut off what follows the last whole record, and return how many bytes that were; they are kept beside the log.

    A process that is killed leaves half a record, behind which wandb reads nothing. Raises TrackingError if the file is
    no transaction log, or if whole records follow the broken one: then it is damaged, and must not be cut.
    """
    data = path.read_bytes()
    whole = max((end for end, _ in _scan(path, data)), default=_HEADER)
    if whole >= len(data):
        return 0
    broken = max((end for end, _, _ in _parts(data)), default=_HEADER)
    if any(_is_whole(data, start) for start in range(broken + 1, len(data))):
        raise TrackingError(f"{path}: is damaged at byte {broken}, in the middle")
    with atomic(path.with_name(f"{path.name}.torn")) as temporary:
        temporary.write_bytes(data[whole:])
    with atomic(path) as temporary:
        temporary.write_bytes(data[:whole])
    return len(data) - whole


def write_rest(
    log: RunLog, target: Path, entity: str = "", epochs: Collection[float] = (), lines: int = 0, pictures: bool = True
) -> None:
    """Write a log of what the server lacks of `log`, under the id that `log` has.

    `epochs` are those of the history that the server has, `lines` how many rows in all; the rows that are sent are
    numbered on from there, because wandb puts them behind those in any case. The row without an epoch, that of the
    pictures, is sent if `pictures`. The run and its artifacts are given the `entity` to which they are sent, where they
    have none. Files of artifacts are looked for beside the log, where it was moved since.
    """
    step = lines
    with atomic(target) as temporary, temporary.open("wb") as file:
        file.write(log.path.read_bytes()[:_HEADER])
        for record in _records(log.path):
            kind = record.WhichOneof("record_type")
            if kind == "history":
                epoch = _row(record).get("epoch")
                if epoch in epochs if epoch is not None else not pictures:
                    continue
                _renumber(record, step)
                step += 1
            elif kind == "run":
                record.run.run_id = log.id
                record.run.entity = record.run.entity or entity
            elif kind == "artifact":
                record.artifact.run_id = log.id
                record.artifact.entity = record.artifact.entity or entity
                for entry in record.artifact.manifest.contents:
                    if entry.local_path:
                        entry.local_path = str(_staged(entry.local_path, log.path.parent))
            _append(file, record.SerializeToString())


def mark_synced(path: Path) -> None:
    """Mark the run of a transaction log as sent, in the way of `wandb sync`, which then passes over it too."""
    _mark(path).touch()


def is_synced(path: Path) -> bool:
    """Return whether the run of a transaction log is marked as sent."""
    return _mark(path).is_file()


def missing_files(log: RunLog) -> list[Path]:
    """Return the files that the run is to have on the server and that are gone, or not what they were."""
    folder = log.path.parent
    media = (folder / "files" / name for name in log.files)
    gone = [path for path in media if not path.is_file()]
    for file in (file for artifact in log.artifacts for file in artifact.files):
        path = _staged(str(file.path), folder)
        if not path.is_file() or file.size not in (None, path.stat().st_size) or file.md5 not in (None, _md5(path)):
            gone.append(path)
    return gone


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return base64.b64encode(hashlib.file_digest(file, "md5").digest()).decode()


def _mark(path: Path) -> Path:
    return path.with_name(f"{path.name}.synced")


def _staged(place: str, folder: Path) -> Path:
    """Return where a file that was staged for an artifact lies: in its run's folder, wherever that is now."""
    path = Path(place)
    return path if path.is_file() else folder / "artifacts" / "staging" / path.name


def _records(path: Path) -> Iterator[Record]:
    from google.protobuf.message import DecodeError
    from wandb.proto import wandb_internal_pb2 as messages

    for _, data in _scan(path, path.read_bytes()):
        try:
            yield messages.Record.FromString(data)  # type: ignore[attr-defined]
        except DecodeError:
            raise TrackingError(f"{path}: was written by a version of wandb that this one cannot read") from None


def _scan(path: Path, data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each whole record with the place where it ends, up to the first that is torn."""
    if not data.startswith(_START):
        raise TrackingError(f"{path}: is no transaction log of W&B; remove it")
    parts = b""
    for end, kind, part in _parts(data):
        parts = part if kind in (_FULL, _FIRST) else parts + part
        if kind in (_FULL, _LAST):
            yield end, parts


def _parts(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield each whole part of a record with its kind and the place where it ends, up to the first that is torn."""
    offset = _HEADER
    while offset + _HEADER <= len(data):
        left = _BLOCK - offset % _BLOCK
        if left < _HEADER:  # the end of a block is padded
            offset += left
            continue
        if not _is_whole(data, offset):
            return
        _, length, kind = struct.unpack_from("<IHB", data, offset)
        start, offset = offset + _HEADER, offset + _HEADER + length
        yield offset, kind, data[start:offset]


def _is_whole(data: bytes, offset: int) -> bool:
    """Return whether a whole part of a record begins at the offset."""
    if offset + _HEADER > len(data):
        return False
    crc, length, kind = struct.unpack_from("<IHB", data, offset)
    if kind not in (_FULL, _FIRST, _MIDDLE, _LAST):
        return False
    part = data[offset + _HEADER : offset + _HEADER + length]
    return len(part) == length and _crc(kind, part) == crc


def _append(file: Any, data: bytes) -> None:
    """Write a record, in as many parts as there are blocks that it lies in."""
    first = True
    while first or data:
        left = _BLOCK - file.tell() % _BLOCK
        if left < _HEADER:
            file.write(bytes(left))
            continue
        part, data = data[: left - _HEADER], data[left - _HEADER :]
        kind = (_FIRST if data else _FULL) if first else (_MIDDLE if data else _LAST)
        file.write(struct.pack("<IHB", _crc(kind, part), len(part), kind) + part)
        first = False


def _crc(kind: int, part: bytes) -> int:
    return zlib.crc32(part, zlib.crc32(bytes([kind])))


def _row(record: Record) -> dict[str, float]:
    """Return the numbers of a row of the history, without wandb's own."""
    values = {_key(item): json.loads(item.value_json) for item in record.history.item}
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and not name.startswith("_")
    }


def _renumber(record: Record, step: int) -> None:
    record.history.step.num = step
    for item in record.history.item:
        if _key(item) == "_step":
            item.value_json = str(step)


def _key(item: Any) -> str:
    return "/".join(item.nested_key) or str(item.key)


def _update(summary: dict[str, Any], record: Record) -> None:
    for item in record.summary.update:
        *above, last = list(item.nested_key) or [item.key]
        place = summary
        for key in above:
            value = place.get(key)
            place[key] = value if isinstance(value, dict) else {}
            place = place[key]
        place[last] = json.loads(item.value_json)


def _artifact(record: Record) -> LoggedArtifact:
    artifact = record.artifact
    entries = (entry for entry in artifact.manifest.contents if entry.local_path)
    files = [StagedFile(Path(entry.local_path), entry.size, entry.digest) for entry in entries]
    if artifact.manifest.manifest_file_path:  # which holds the entries where there are very many
        files.append(StagedFile(Path(artifact.manifest.manifest_file_path)))
    metadata = json.loads(artifact.metadata or "{}") or {}
    return LoggedArtifact(artifact.name, artifact.type, artifact.digest, metadata, tuple(files))
