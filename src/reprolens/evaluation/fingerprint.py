"""Which pictures and which truth a split holds, as one hash, and whether training or selection saw its pictures."""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from reprolens import files
from reprolens.errors import DataError
from reprolens.progress import bar
from reprolens.voc import Folder, Record

EARLIER = {
    "train": {},
    "val": {"train": "the model was trained on them"},
    "test": {"train": "the model was trained on them", "val": "the model was chosen by them"},
}
"""Of each split those whose pictures it must not hold, because then what it measures is too kind, and why so."""

_FORMAT = "reprolens-split-1"
_TAIL = 4096
_CHUNK = 64  # files a thread takes at once: one by one, handing them out would cost more than small files do


def fingerprint(folder: Folder, split: str) -> str:
    """Return the SHA-256, in hexadecimal, of a split's pictures and of all that is said to be true of them.

    It is over the class names in order and, for each picture in the order of its file's name: that name, the SHA-256 of
    its bytes, its width and height, its objects (class, box, difficult, crowd, outline; in an order of their own, so
    that the annotation's decides nothing), its labels and the SHA-256 of its mask in SegmentationClass/ if it has one.
    So two data sets that share a split have the same one for it, whatever else they hold and wherever they lie.

    Raises DataError if an annotation or a picture cannot be read.
    """
    records = sorted(folder.records(split), key=lambda record: (record.file, record.id))
    masks = [folder.root / "SegmentationClass" / f"{record.id}.png" for record in records]
    masks = [path for path in masks if path.is_file()] if (folder.root / "SegmentationClass").is_dir() else []
    paths = [*map(folder.image, records), *masks]
    digests = dict(zip(paths, _hashed(files.sha256, paths, f"hash {split}"), strict=True))
    total = hashlib.sha256(_line([_FORMAT, list(folder.classes)]))
    for record in records:
        mask = digests.get(folder.root / "SegmentationClass" / f"{record.id}.png")
        total.update(_line([digests[folder.image(record)], mask, *_said(record)]))
    return total.hexdigest()


def check_leaks(folder: Folder, split: str) -> None:
    """Raise DataError if a picture of a split is, byte for byte, one that training or model selection saw.

    A picture of `test` must be neither in train nor in val, one of `val` not in train; nothing is asked of `train`.
    Pictures of different sizes in bytes are different ones, so that only those of equal size are read: their ends
    first, and the whole of those that agree there.
    """
    for earlier, reason in EARLIER[split].items():
        pairs = [(id, id) for id in sorted(set(folder.splits[split]) & set(folder.splits[earlier]))]
        pairs = pairs or _shared(folder, split, earlier)
        if not pairs:
            continue
        count = len({one for one, _ in pairs})
        first, other = pairs[0]
        which = first if first == other else f"{first} = {other}"
        more = f" and {count - 1} more" if count > 1 else ""
        raise DataError(
            f"{folder.root}: {count} of {len(folder.splits[split])} pictures of {split} are in {earlier} too, byte for "
            f"byte ({which}{more}), and {reason}; take them out of ImageSets/Main/{earlier}.txt, or let the convert "
            "stage do so (dvc repro -f convert)"
        )


def _shared(folder: Folder, split: str, earlier: str) -> list[tuple[str, str]]:
    """Return the files of a split's pictures that are the same as one of another split, each with that one's file.

    The other split's annotations are read only if some picture, wherever it belongs, is the same as one of this split:
    reading them takes longer than comparing all pictures.
    """
    measured = {record.file for record in folder.records(split)}
    sizes = _sizes(folder)
    wanted = {sizes[file] for file in measured if file in sizes}
    candidates = [file for file, size in sorted(sizes.items()) if size in wanted]
    for digest in (_end, files.sha256):
        candidates = _twins(folder, candidates, measured, digest)
    if not candidates:
        return []
    seen = {record.file for record in folder.records(earlier)}
    pictures = folder.root / "JPEGImages"
    same: dict[str, list[str]] = defaultdict(list)
    for file in candidates:
        same[files.sha256(pictures / file)].append(file)
    return [
        (file, twin)
        for group in same.values()
        for file in group
        if file in measured and (twin := next((other for other in group if other in seen), None))
    ]


def _twins(
    folder: Folder, candidates: Iterable[str], measured: Collection[str], digest: Callable[[Path], str]
) -> list[str]:
    """Return those of the candidates that share a digest with another, if one of them is measured and one is not."""
    candidates = list(candidates)
    paths = [folder.root / "JPEGImages" / file for file in candidates]
    groups: dict[str, list[str]] = defaultdict(list)
    for file, value in zip(candidates, _hashed(digest, paths, "compare pictures"), strict=True):
        groups[value].append(file)
    mixed = (group for group in groups.values() if len({file in measured for file in group}) == 2)
    return sorted(file for group in mixed for file in group)


def _sizes(folder: Folder) -> dict[str, int]:
    """Return the size in bytes of each file below JPEGImages/, by its name there."""
    root = str(folder.root / "JPEGImages")
    found = {}
    for place, _, names in os.walk(root, followlinks=True):
        below = os.path.relpath(place, root)
        for name in names:
            path = os.path.join(place, name)  # noqa: PTH118 (a Path each would double the time)
            try:
                found[name if below == "." else f"{below}/{name}"] = os.stat(path).st_size  # noqa: PTH116
            except OSError:
                continue  # a broken link: a picture that is needed is missed where it is read
    return found


def _end(path: Path) -> str:
    """Return the size of a file and its last bytes, which tell nearly all compressed pictures apart."""
    with path.open("rb", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _TAIL, 0))
        return f"{size} {file.read(_TAIL).hex()}"


def _hashed(digest: Callable[[Path], str], paths: list[Path], label: str) -> Iterator[str]:
    """Yield the digest of each file, in order, by as many threads as there are cores: hashing leaves Python's lock."""

    def work(chunk: list[Path]) -> list[str]:
        return [_readable(digest, path) for path in chunk]

    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    with ThreadPoolExecutor(os.cpu_count()) as pool, bar(label, len(paths)) as line:
        try:
            for done in pool.map(work, chunks):
                yield from done
                line.advance(len(done))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # an error must not wait for all the other pictures
            raise


def _readable(digest: Callable[[Path], str], path: Path) -> str:
    try:
        return digest(path)
    except OSError:
        raise DataError(f"{path}: cannot be read; run the convert stage again") from None


def _said(record: Record) -> list[object]:
    objects = sorted(
        [item.name, list(item.box), item.difficult, item.crowd, item.segmentation] for item in record.objects
    )
    return [record.file, [record.width, record.height], objects, sorted(record.labels)]


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
