"""Measuring and comparing detections: evaluate, compare."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from reprolens.errors import ConfigError

if TYPE_CHECKING:
    from reprolens.evaluation.predictions import Form

BOXES = ("auto", "xyxy", "xywh", "cxcywh", "yolo")
"""Those of `evaluation.text_results`, which would take a while to import."""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    evaluate = commands.add_parser("evaluate", help="measure the detections of any detector")
    evaluate.add_argument(
        "predictions", type=_path, help="COCO results (.json), or a folder of text files, one a picture or one a class"
    )
    evaluate.add_argument(
        "--data", type=_path, default=Path("data/voc"), help="VOC folder of convert, or COCO's annotations (data/voc)"
    )
    _add_options(evaluate)
    evaluate.add_argument(
        "--score-threshold", type=float, default=0.5, metavar="S", help="for precision, recall, F1, confusion (0.5)"
    )
    evaluate.add_argument(
        "--resamples", type=int, default=300, metavar="N", help="behind the 95 %% intervals; 0: none (300)"
    )
    evaluate.add_argument("--json", action="store_true", help="print the numbers as JSON")
    evaluate.add_argument("--out", type=Path, metavar="DIR", help="write the files of the evaluate stage into DIR")
    evaluate.set_defaults(command=_evaluate)

    compare = commands.add_parser("compare", help="say whether experiments really differ, and where")
    compare.add_argument(
        "subjects",
        nargs="+",
        metavar="A B",
        help="Git revision, trial (SWEEP/NUMBER), predictions, folder of evaluate --out, or . for here",
    )
    compare.add_argument(
        "--data", type=_path, help="for predictions: VOC folder, or COCO's annotations (ground_truth.json beside them)"
    )
    _add_options(compare)
    compare.add_argument(
        "--score-threshold",
        type=float,
        metavar="S",
        help="for precision, recall, F1, pictures (that of each evaluation, else 0.5)",
    )
    compare.add_argument("--metric", default="coco/ap", metavar="KEY", help="what the verdict is on (coco/ap)")
    compare.add_argument("--resamples", type=int, default=1000, metavar="N", help="behind the intervals (1000)")
    compare.add_argument("--json", action="store_true", help="print all of it as JSON")
    compare.add_argument("--out", type=Path, default=Path("compare.html"), metavar="FILE.html", help="(compare.html)")
    compare.set_defaults(command=_compare)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", choices=["train", "val", "test"], help="of a VOC folder (test)")
    parser.add_argument(
        "--annotations", type=_path, metavar="FILE", help="COCO's file that the predictions' ids are of"
    )
    parser.add_argument("--boxes", default="auto", choices=BOXES, help="form of text files (found out)")
    parser.add_argument(
        "--first-pixel", type=int, choices=[0, 1], help="number of the first pixel (text in pixels 1, else 0)"
    )
    difficult = parser.add_mutually_exclusive_group()
    difficult.add_argument(
        "--ignore-difficult",
        action="store_true",
        default=True,
        help="VOC's measures neither demand nor punish finding difficult objects (so it is)",
    )
    difficult.add_argument(
        "--count-difficult", dest="ignore_difficult", action="store_false", help="count them as any other object"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the resamples (0)")


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")  # Path("") is the current folder
    return Path(text)


def _evaluate(options: argparse.Namespace) -> None:
    from rich.console import Console

    from reprolens.config import Evaluate
    from reprolens.evaluation.findings.worst import choose_worst
    from reprolens.evaluation.foreign import Options, evaluate_file
    from reprolens.evaluation.reports.table import tables
    from reprolens.evaluation.reports.write import write_reports

    threshold, resamples = options.score_threshold, options.resamples
    how = Options(
        options.split, options.ignore_difficult, threshold, resamples, options.seed, breakdown=True, form=_form(options)
    )
    figures = Evaluate("test", 1, 0.5, 0, samples=16, worst=8, cases=16, label_errors=100)  # what is shown of it
    found = evaluate_file(options.predictions, options.data, how)
    if options.out is not None:
        write_reports(
            found.results, found.pictures, options.out, found.facts, figures, options.seed, truths=found.truths
        )
    report = {**found.facts, **found.results.metrics}
    if options.json:
        print(json.dumps(report, indent=2))
        return
    faults = found.results.breakdown.faults if found.results.breakdown else ()
    worst = [(found.pictures[place].record.id, str(faults[place])) for place in choose_worst(faults, figures.worst)]
    console = Console()
    for table in tables(report, worst, found.notes):
        console.print(table)


def _compare(options: argparse.Namespace) -> None:
    from rich.console import Console

    from reprolens.comparison.compare import Options, compare
    from reprolens.comparison.page import write_page
    from reprolens.comparison.table import tables, to_json

    if options.out.suffix != ".html":
        raise ConfigError(f"--out {options.out}: the page is HTML; give a name that ends in .html")
    if options.out.is_dir():
        raise ConfigError(f"--out {options.out}: is a folder; give the name of a file in it")
    if not options.out.parent.is_dir():
        raise ConfigError(f"--out {options.out}: there is no folder {options.out.parent}; make it or give another name")
    how = Options(
        options.metric,
        options.data,
        options.split,
        _form(options),
        ignore_difficult=options.ignore_difficult,
        score_threshold=options.score_threshold,
        resamples=options.resamples,
        seed=options.seed,
    )
    comparison = compare(Path(), options.subjects, how)
    write_page(comparison, options.out)
    if options.json:
        print(json.dumps(to_json(comparison), indent=2))
        return
    console = Console()
    for table in tables(comparison):
        console.print(table)
    print(options.out)


def _form(options: argparse.Namespace) -> "Form":
    from reprolens.evaluation.predictions import Form

    return Form(options.boxes, options.first_pixel, options.annotations)
