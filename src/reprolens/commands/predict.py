"""Using a model: predict. Needs no more than numpy, Pillow and what runs the model's file."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reprolens.errors import ConfigError, DataError, suggest

if TYPE_CHECKING:
    from reprolens.commands.detectors import Detector
    from reprolens.inference.results.formats import Writer
    from reprolens.inference.sources import Source

WRITE = ("images", "coco", "voc", "yolo", "csv")
"""Those of `inference.results.formats`, which would take a while to import."""

JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
"""Of what --json may replace."""

OUT = Path("predictions")
_DEFAULT = "images,coco"
_DRAWN = 0.5
"""Without --threshold, from which score up detections are drawn: those below would hide the picture."""

_ABOUT = """\
MODEL is an exported file (.onnx, .xml, .pt2) or the exported folder; weights/model.pt of the train stage; or an
experiment: a Git revision, a DVC experiment, or a trial (SWEEP/NUMBER), of which export/model.onnx is taken, else
weights/model.pt. PATH is a picture, a folder, a glob or a video (videos need PyAV: pip install av).

Written into --out, under the pictures' names:
  images  images/*, the pictures with boxes drawn (of a video each frame, as a picture)
  coco    coco.json, a COCO file whose annotations have a score; reprolens evaluate reads it
  voc     Annotations/*.xml and labels.txt, PASCAL VOC's, each object with a score
  yolo    labels/*.txt and classes.txt, lines of: class cx cy w h score
  csv     predictions.csv, a detection a row
A further run replaces files of the same names and leaves others alone. A picture's own files are there as soon as it
was looked at; coco.json and predictions.csv are written at the end, whole or not at all. --json gives a line of JSON
for every picture: with - as soon as it was looked at, in a FILE at the end, whole or not at all.

Exit status: 0, 1 if a picture could not be read, 2 for a wrong argument."""


@dataclass
class _Counts:
    pictures: int = 0
    detections: int = 0
    drawn: int = 0
    unreadable: int = 0


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    predict = commands.add_parser(
        "predict",
        help="find objects in pictures and videos with a trained or exported model",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument("model", metavar="MODEL", help="exported file or folder, weights, revision or trial")
    predict.add_argument("paths", nargs="+", metavar="PATH", help="pictures, folders, globs, videos")
    predict.add_argument("--out", type=Path, metavar="DIR", help=f"folder to write into ({OUT})")
    predict.add_argument("--write", metavar="FORMATS", help=f"some of {','.join(WRITE)} ({_DEFAULT}; with --json none)")
    predict.add_argument(
        "--threshold",
        type=float,
        metavar="S",
        help=f"least score (the model's own; drawn are then those from {_DRAWN} up)",
    )
    predict.add_argument("--batch", type=int, default=8, metavar="N", help="pictures of one size at a time (8)")
    predict.add_argument("--threads", type=int, metavar="N", help="processor threads (as the runtime likes)")
    predict.add_argument("--every", type=int, default=1, metavar="N", help="of a video every Nth frame (1)")
    predict.add_argument("--json", metavar="FILE", help="write JSON lines, - for standard output; replaces only JSON")
    predict.set_defaults(command=_predict)


def _predict(options: argparse.Namespace) -> int:
    formats = _formats(options)
    _check(options)
    from reprolens.commands.detectors import find_detector
    from reprolens.inference.results.folder import without_results
    from reprolens.inference.sources import find_pictures

    sources = without_results(find_pictures(options.paths), options.paths)
    if not sources:
        raise DataError(f"{' '.join(options.paths)}: holds no pictures but those that predict itself drew")
    out = OUT if options.out is None else options.out
    if options.json not in (None, "-"):
        _check_json(Path(options.json), sources, Path(options.model), out if formats else None)
    detector = find_detector(Path(), options.model, options.threads)
    _check_threshold(options, detector)
    if formats:
        _claim(out, formats, sources, options, detector)
    if Path(detector.said) != Path(options.model):
        print(f"predict: {options.model} is {detector.said}", file=sys.stderr)
    started = time.monotonic()
    counts = _run(options, detector, sources, out, formats)
    summary = _summary(options, counts, time.monotonic() - started, out, formats)
    print(summary, file=sys.stderr if options.json == "-" else sys.stdout)
    return 1 if counts.unreadable else 0


def _formats(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the formats to write, each once."""
    if options.write is None:
        return () if options.json is not None and options.out is None else tuple(_DEFAULT.split(","))
    names = tuple(dict.fromkeys(name.strip() for name in options.write.split(",") if name.strip()))
    for name in names:
        if name not in WRITE:
            raise ConfigError(f"--write {name}: there is no such format; {suggest(name, WRITE)}")
    if not names:
        raise ConfigError(f"--write: names no format; valid: {', '.join(WRITE)}")
    return names


def _check(options: argparse.Namespace) -> None:
    for name in ("batch", "threads", "every"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value}: must be at least 1")
    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise ConfigError(f"--threshold {options.threshold}: must be from 0 to 1")
    if options.json is not None and (not options.json or Path(options.json).is_dir()):
        raise ConfigError(f"--json {options.json}: give a file, or - for standard output")


def _check_threshold(options: argparse.Namespace, detector: "Detector") -> None:
    own = detector.model.contract.score_threshold
    if options.threshold is not None and options.threshold < own:
        raise ConfigError(
            f"--threshold {options.threshold}: {options.model} leaves out what is below {own}; take at least that, or "
            f"set model.score_threshold={options.threshold} and run dvc repro (it trains again)"
        )


def _check_json(file: Path, sources: "Sequence[Source]", model: Path, out: Path | None) -> None:
    """Raise ConfigError if the lines would take the place of what they are made from, or of other results.

    `out` is the folder of those, None if there will be none.
    """
    from reprolens.inference.load import ABOUT as ABOUT_MODEL
    from reprolens.inference.results.folder import results_in

    place, is_there = file.resolve(), file.exists() or file.is_symlink()
    if place in {source.path.resolve() for source in sources}:
        raise ConfigError(f"--json {file}: is one of the files to look at; name another")
    if is_there and (place == model.resolve() or file.name == ABOUT_MODEL):
        raise ConfigError(f"--json {file}: is a model's; name another file")
    taken = {path.resolve() for path in _places(out)} if out is not None else set()
    if place in taken or file.name in results_in(file.parent):
        raise ConfigError(f"--json {file}: is where other results are written; name another file")
    if is_there and file.suffix.lower() not in JSON_SUFFIXES:
        known = ", ".join(JSON_SUFFIXES)
        raise ConfigError(f"--json {file}: is there, and only {known} files are written over; name another file")


def _places(out: Path) -> Iterator[Path]:
    """Yield the folders and files that results take."""
    from reprolens.inference.results.folder import ABOUT
    from reprolens.inference.results.formats import FORMATS

    yield from (out, *out.absolute().parents, out / ABOUT)
    yield from (out / target for one in FORMATS.values() for target in one.targets)


def _claim(
    out: Path,
    formats: Sequence[str],
    sources: "Sequence[Source]",
    options: argparse.Namespace,
    detector: "Detector",
) -> None:
    """Make the folder of results, if nothing in it would be lost."""
    from reprolens import __version__
    from reprolens.inference.results.folder import claim
    from reprolens.inference.results.formats import FORMATS
    from reprolens.inference.results.images import FOLDER

    drawn = (out / FOLDER).resolve()
    if "images" in formats and any(source.path.resolve().is_relative_to(drawn) for source in sources):
        raise ConfigError(f"--out {out}: the pictures to look at lie in {drawn}, where they are drawn; name another")
    facts = {
        "version": __version__,
        "model": detector.said,
        "classes": list(detector.model.contract.classes),
        "threshold": options.threshold,
    }
    claim(out, [target for name in formats for target in FORMATS[name].targets], facts)


def _run(
    options: argparse.Namespace,
    detector: "Detector",
    sources: "Sequence[Source]",
    out: Path,
    formats: Sequence[str],
) -> _Counts:
    """Look at all pictures, write what is found as it comes, and say on standard error what cannot be read."""
    from reprolens.inference.predict import predict
    from reprolens.inference.seen import Unreadable

    counts, classes = _Counts(), detector.model.contract.classes
    drawn = _DRAWN if options.threshold is None else options.threshold
    total = None if any(source.is_video for source in sources) else len(sources)
    with ExitStack() as stack:
        writers = [stack.enter_context(writer) for writer in _writers(options, classes, out, formats, drawn)]
        advance = stack.enter_context(_progress(total, hidden=options.json == "-" and sys.stdout.isatty()))
        for seen in predict(detector.model, sources, options.batch, options.threshold, options.every):
            if isinstance(seen, Unreadable):
                counts.unreadable += 1
                print(f"{_shown(str(seen.path))}: {seen.reason}", file=sys.stderr, flush=True)
            else:
                for write in writers:
                    write(seen)
                counts.pictures += 1
                counts.detections += len(seen.found)
                counts.drawn += int((seen.found.scores >= drawn).sum())
            advance()
    return counts


def _writers(
    options: argparse.Namespace, classes: Sequence[str], out: Path, formats: Sequence[str], drawn: float
) -> "Iterator[Writer]":
    from reprolens.inference.results.document import write_json_lines
    from reprolens.inference.results.formats import FORMATS
    from reprolens.inference.results.images import write_images

    if options.json is not None:
        yield write_json_lines(sys.stdout if options.json == "-" else Path(options.json), classes)
    for name in formats:
        yield write_images(out, classes, drawn) if name == "images" else FORMATS[name].write(out, classes)


@contextmanager
def _progress(total: int | None, hidden: bool) -> Iterator[Callable[[], None]]:
    """Give what is called for every picture; no bar is drawn where it would stand between lines of JSON."""
    from reprolens.progress import bar

    if hidden:
        yield lambda: None
        return
    with bar("predict", total) as line:
        yield line.advance


def _summary(options: argparse.Namespace, counts: _Counts, seconds: float, out: Path, formats: Sequence[str]) -> str:
    """Return the line that says what was done, and where it is."""
    parts = [_plural(counts.pictures, "picture"), _plural(counts.detections, "detection")]
    if "images" in formats and options.threshold is None:
        parts[-1] += f" ({counts.drawn} drawn, those from score {_DRAWN} up)"
    if counts.unreadable:
        parts.append(f"{counts.unreadable} unreadable")
    parts.append(f"{counts.pictures / max(seconds, 1e-9):.1f} pictures/s")
    places = [str(out)] if formats else []
    places += [options.json] if options.json not in (None, "-") else []
    return f"predict: {', '.join(parts)}" + (f" ({', '.join(places)})" if places else "")


def _plural(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


def _shown(name: str) -> str:
    """Return a name as a line can show it."""
    return name if name.isprintable() else ascii(name)
