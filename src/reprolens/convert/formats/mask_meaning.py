"""Which class each number or colour of the masks of a data set shows, from what is in them and what is said of them."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reprolens.convert.formats.mask_labels import Entry, LabelMap, listed
from reprolens.convert.formats.mask_pixels import MOST, NUMBERS, VOID, Meaning
from reprolens.errors import DataError

_BACKGROUND = re.compile(r"_*(background|back ?ground|bg|no[ _-]?class|none)_*", re.IGNORECASE)
_VOID = re.compile(
    r"(void|ignored?|ignore[ _-]?(label|region|area)?|un-?labell?ed|do ?n.?t ?care|ego vehicle|rectification border"
    r"|out of roi)",
    re.IGNORECASE,
)
# VOC draws the rims of objects in this colour, whatever its label map says (VOC2012 development kit, section 4).
_RIM = (224, 224, 192)


@dataclass(frozen=True)
class Given:
    """What the user says: names in the order of their numbers, and which name, or number, is background and void.

    An empty background means that there is none, so that number 0 is a class.
    """

    classes: tuple[str, ...] | None = None
    background: str | None = None
    void: str | None = None


@dataclass(frozen=True)
class Found:
    """What is in the masks: how many pixels of each number or colour, whether they are coloured, and what they are.

    `name` is what masks of one class show, by their folder. `palette` tells the colours of numbers, where masks have
    palettes.
    """

    counts: Counter[int]
    colored: bool
    name: str = "object"
    palette: dict[int, int] | None = None


def meaning_of(found: Found, known: LabelMap | None, given: Given) -> tuple[Meaning, tuple[str, ...]]:
    """Return what masks show, and the names of the classes in index order.

    Raises DataError if that cannot be known for sure, or if there are more classes than a mask can tell apart.
    """
    if not found.colored and not 0 <= min(found.counts) <= max(found.counts) < NUMBERS:
        raise DataError(f"the masks have numbers from {min(found.counts)} to {max(found.counts)}, which are no classes")
    if given.classes is not None and (known is None or not found.colored):
        known = listed(given.classes, "data.classes")
    if known is None:
        meaning = _unnamed(found, given)
    elif known.colored and _by_color(found, known):
        entries = [(entry, _packed(entry)) for entry in known.entries]
        meaning = _named(entries, "colors", known, given)
    elif found.colored:
        raise DataError(f"the masks are coloured, and {known.file} gives no colours; add label_colors.txt: r g b name")
    else:
        meaning = _numbers(found, known, given)
    if len(meaning[1]) > MOST:
        raise DataError(f"the masks show {len(meaning[1])} classes; one byte tells {MOST} apart")
    return meaning


def is_noisy(counts: Counter[int]) -> bool:
    """Say whether grey levels are black and white with the noise of a JPEG, or of resizing, around them."""
    ends = sum(number for value, number in counts.items() if value < 64 or value >= 192)
    light, dark = any(224 <= value < 255 for value in counts), any(0 < value < 32 for value in counts)
    return light and dark and max(counts) <= 255 and ends >= 0.9 * counts.total()


def _by_color(found: Found, known: LabelMap) -> bool:
    """Say whether it is the colours of masks that the label map names, not their numbers."""
    colors = {0, *map(_packed, known.entries)}  # black is background where no class has it
    if found.colored:
        return True
    if found.palette is not None:
        return {found.palette.get(value, -1) for value in found.counts} <= colors
    named = {entry.number for entry in known.entries} | set(range(len(known.entries))) | {VOID}
    return not set(found.counts) <= named and {value * 0x010101 for value in found.counts} <= colors


def _packed(entry: Entry) -> int:
    red, green, blue = entry.color or (0, 0, 0)
    return red << 16 | green << 8 | blue


def _unnamed(found: Found, given: Given) -> tuple[Meaning, tuple[str, ...]]:
    """Name the classes by their numbers or colours; those of black and white masks by the folder."""
    if found.colored:
        entries = [Entry("background" if value == 0 else f"#{value:06x}") for value in sorted(found.counts)]
        pairs = list(zip(entries, sorted(found.counts), strict=True))
        return _named(pairs, "colors", LabelMap(tuple(entries), "no label map"), given)
    top = _top(found.counts)
    if top is not None and given.void is None:
        return Meaning("binary", ((0, 0), (top, 1)), "black and white", top), (found.name,)
    background = None if given.background == "" else _number(given.background or "") or 0
    void = VOID if given.void is None else _number(given.void)
    values = [value for value in sorted(found.counts) if value not in (background, void)]
    codes = {value: place for place, value in enumerate(values, 1)}
    codes |= {value: code for value, code in ((background, 0), (void, VOID)) if value is not None}
    return Meaning("numbers", tuple(codes.items()), "the scan of all masks"), tuple(map(str, values))


def _number(text: str) -> int | None:
    """Return the number that data.background or data.void may be, instead of a name."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 else None


def _top(counts: Counter[int]) -> int | None:
    """Return white, if masks are black and white: if beside 0 they have one number, or noise around 0 and 255."""
    rest = set(counts) - {0}
    if len(rest) <= 1 and min(rest, default=1) > 0:
        return max(rest, default=255)
    return 255 if is_noisy(counts) else None


def _numbers(found: Found, known: LabelMap, given: Given) -> tuple[Meaning, tuple[str, ...]]:
    entries = known.entries
    names = [entry.name for entry in entries]
    background = _background(known, given)
    real = [name for name in names if name != background and not _is_void(name, given)]
    top = _top(found.counts)
    if len(real) == 1 and top is not None and _positions(entries).get(top, real[0]) == real[0]:
        return Meaning("binary", ((0, 0), (top, 1)), known.file, top), (real[0],)
    if any(entry.number is not None for entry in entries):
        pairs = [(entry, entry.number) for entry in entries if entry.number is not None]
        return _named(pairs, "numbers", known, given)
    first = _first(found, names, background, known, given)
    return _named(list(zip(entries, range(first, len(entries) + first), strict=True)), "numbers", known, given)


def _positions(entries: Sequence[Entry]) -> dict[int, str]:
    return {place if entry.number is None else entry.number: entry.name for place, entry in enumerate(entries)}


def _first(found: Found, names: list[str], background: str | None, known: LabelMap, given: Given) -> int:
    """Return the number of the first name: 0 where background is listed, or is said to be none; 1 if 0 is unlisted."""
    if background in names or given.background == "" or known.colored:
        return 0
    if given.background is not None or 0 not in found.counts:
        return 1
    top = max((value for value in found.counts if str(value) != (given.void or str(VOID))), default=0)
    if top == len(names):
        return 1
    if _is_void(names[0], given) or top > len(names):
        return 0
    raise DataError(
        f"the masks have numbers from 0 to {top}, {known.file} has {len(names)} names without background: if 0 is "
        'background, set data.background to background; if 0 is the first class, set it to ""'
    )


def _background(known: LabelMap, given: Given) -> str | None:
    """Return the name of what is no class: as the user says, or the label map, or as it is usually called."""
    if given.background is not None:
        return given.background
    if known.background is not None:
        return known.background
    return next((entry.name for entry in known.entries if _BACKGROUND.fullmatch(entry.name)), None)


def _is_void(name: str, given: Given) -> bool:
    return name == given.void if given.void is not None else bool(_VOID.fullmatch(name))


def _named(
    pairs: Sequence[tuple[Entry, int]], kind: str, known: LabelMap, given: Given
) -> tuple[Meaning, tuple[str, ...]]:
    """Return the meaning of numbers or colours that have names; one name may have several."""
    background = _background(known, given)
    codes: dict[int, int] = {}
    classes: dict[str, int] = {}
    for entry, value in pairs:
        if entry.name == background:
            codes[value] = 0
        elif _is_void(entry.name, given):
            codes[value] = VOID
        else:
            codes[value] = classes.setdefault(entry.name, len(classes) + 1)
    if kind == "colors":
        codes.setdefault(_packed(Entry("", None, _RIM)), VOID)
    if given.background != "":
        codes.setdefault(0, 0)
    if kind == "numbers":
        if given.void is None:
            codes.setdefault(VOID, VOID)
        elif (number := _number(given.void)) is not None:
            codes[number] = VOID
    return Meaning(kind, tuple(codes.items()), known.file), tuple(classes)
