"""Looking at data sets and taking them elsewhere: inspect, convert-back."""

import argparse
import json
from pathlib import Path

from reprolens.errors import ConfigError


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    inspect = commands.add_parser("inspect", help="show what a data set holds and what is wrong with it")
    inspect.add_argument(
        "path", nargs="?", type=Path, default=Path("data/voc"), help="folder, annotation file or archive (data/voc)"
    )
    inspect.add_argument("--format", default="auto", metavar="F", help="its format, as in conf/data (found out)")
    inspect.add_argument("--images", metavar="DIR", help="folder of the pictures, where they lie elsewhere")
    inspect.add_argument("--json", action="store_true", help="print all of it as JSON")
    inspect.add_argument("--sheet", type=Path, metavar="FILE.png", help="draw some pictures with their boxes")
    inspect.add_argument("--augment", action="store_true", help="instead: a sheet of what augmentation makes of it")
    inspect.add_argument("--choice", nargs="+", metavar="NAME", help="with --augment: choices of conf/augment (all)")
    inspect.add_argument("--out", type=Path, default=Path("augment.png"), metavar="FILE.png", help="(augment.png)")
    inspect.add_argument("--seed", type=int, metavar="N", help="with --augment: seed of the draws (the experiment's)")
    inspect.set_defaults(command=_inspect)

    back = commands.add_parser("convert-back", help="write a VOC folder as COCO or YOLO")
    back.add_argument("format", choices=["coco", "yolo"])
    back.add_argument("out", type=Path, help="folder to write; what is in it is replaced")
    back.add_argument("--voc", type=Path, default=Path("data/voc"), metavar="DIR", help="VOC folder (data/voc)")
    back.add_argument("--decimals", type=int, metavar="N", help="yolo: digits of every number (as many as it needs)")
    back.set_defaults(command=_convert_back)


def _inspect(options: argparse.Namespace) -> None:
    if options.augment:
        _show_augmentation(options)
        return
    from reprolens.convert.formats import labelled
    from reprolens.convert.inspection import inspect
    from reprolens.convert.report import tables

    if options.sheet is not None and options.sheet.suffix != ".png":
        raise ConfigError(f"--sheet {options.sheet}: the sheet is a PNG; give a name that ends in .png")
    values = inspect(labelled(options.format, str(options.path), options.images, Path()), options.sheet)
    if options.json:
        text = json.dumps(values, indent=2, ensure_ascii=False)
        print(text.encode(errors="backslashreplace").decode())  # half of a surrogate pair is \udcXX in JSON too
        return
    from rich.console import Console

    console = Console()
    for table in tables(values):
        console.print(table, soft_wrap=isinstance(table, str))


def _show_augmentation(options: argparse.Namespace) -> None:
    from reprolens.config.compose import compose

    if options.seed is not None and options.seed < 0:
        raise ConfigError(f"--seed {options.seed}: must be at least 0")
    if options.out.suffix != ".png":
        raise ConfigError(f"--out {options.out}: the sheet is a PNG; give a name that ends in .png")
    config = compose(Path())
    menu = {path.stem for path in Path("conf/augment").glob("*.yaml")}
    names = options.choice or sorted(menu, key=lambda name: (name != "none", name))
    choices = {name: compose(Path(), [f"augment={name}"]).augment for name in names}

    from reprolens.loading import open_index
    from reprolens.loading.sheet import draw_sheet
    from reprolens.voc import read_folder

    height, width = config.model.image_size
    seed = config.seed if options.seed is None else options.seed
    draw_sheet(open_index(read_folder(options.path)), choices, (height, width), seed, options.out)
    print(f"inspect: {len(choices)} choices of augmentation on pictures of {options.path} ({options.out})")


def _convert_back(options: argparse.Namespace) -> None:
    from reprolens.convert.export_coco import write_coco
    from reprolens.convert.export_yolo import write_yolo
    from reprolens.voc import read_folder

    folder = read_folder(options.voc)
    if options.format == "coco":
        written = write_coco(folder, options.out)
    else:
        written = write_yolo(folder, options.out, options.decimals)
    counts = ", ".join(f"{value} {name}" for name, value in written.items() if isinstance(value, int))
    print(f"convert-back: {options.out}, {counts}")
