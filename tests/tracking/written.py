"""What wandb wrote: a reader of offline runs that shares nothing with the one that is tested."""

import dataclasses
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Written:
    """What an offline run holds, read from its .wandb file: the records that the server would be sent."""

    folder: Path
    run: Any
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    metrics: dict[str, Any]
    artifacts: dict[str, Any]
    exit_code: int | None

    def media(self, name: str) -> Any:
        """Return a media value, which lies in the last row of the history."""
        return self.history[-1][name]


def _records(data: bytes) -> Iterator[bytes]:
    """Yield the records of a .wandb file: LevelDB's log format behind a header of 7 bytes."""
    offset, parts = 7, b""
    while offset + 7 <= len(data):
        left = 32768 - offset % 32768
        if left < 7:
            offset += left
            continue
        _, length, kind = struct.unpack("<IHB", data[offset : offset + 7])
        parts += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):  # the whole record, or its last part
            yield parts
            parts = b""


def _set(target: dict[str, Any], item: Any) -> None:
    *path, last = list(item.nested_key) or [item.key]
    for key in path:
        target = target.setdefault(key, {})
    value = json.loads(item.value_json)
    # Charts are added to the configuration's section _wandb one by one; later records of it are merged with them.
    target[last] = target.get(last, {}) | value if last == "_wandb" else value


def read_run(folder: Path) -> Written:
    """Read the one run in an offline folder back from its transaction log."""
    from wandb.proto import wandb_internal_pb2

    (log,) = folder.glob("*.wandb")
    written = Written(folder, None, {}, [], {}, {}, {}, None)
    run, exit_code = None, None
    for data in _records(log.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
        elif kind == "metric":
            written.metrics[record.metric.name] = record.metric
        elif kind == "artifact":
            written.artifacts[record.artifact.name] = record.artifact
        elif kind == "exit":
            exit_code = record.exit.exit_code
        elif kind == "history":
            row: dict[str, Any] = {}
            for item in record.history.item:
                _set(row, item)
            written.history.append(row)
        elif kind == "summary":
            for item in record.summary.update:
                _set(written.summary, item)
        if kind in ("run", "config"):
            for item in (record.run.config if kind == "run" else record.config).update:
                _set(written.config, item)
    return dataclasses.replace(written, run=run, exit_code=exit_code)
