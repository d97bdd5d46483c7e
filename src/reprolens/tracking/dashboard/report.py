"""The report on the best trials: what was compared, their numbers with intervals, and panels of them alone."""

from collections.abc import Sequence
from typing import Any

import wandb_workspaces.reports.v2 as wr

from reprolens.tracking.dashboard.panels import (
    LATENCY,
    QUALITY,
    SIZE,
    class_panels,
    fixed_name,
    picture_panels,
    placed,
    score_panels,
    training_panels,
    trial_panels,
)
from reprolens.tracking.dashboard.subject import INTERVALS, Subject, TrialRun, on_val, ranked, value_of
from reprolens.tracking.dashboard.workspace import columns
from reprolens.tracking.wording import MISSING, write_value

DESCRIPTION = "Written by reprolens dashboard, which replaces it the next time; save a copy under another name to edit."


def report_name(subject: Subject) -> str:
    """Return the report's name inside W&B, by which it is found again: one a sweep, one for the whole project."""
    return fixed_name(f"reprolens report {subject.sweep or ''}", 12)


def build_report(subject: Subject, runs: Sequence[TrialRun], best: int = 5) -> wr.Report:
    """Return the report that compares the `best` first of `runs` by the subject's objective."""
    order = ranked(runs, subject)
    chosen = order[:best]
    about = f"sweep {subject.sweep}" if subject.sweep else f"project {subject.project}"
    blocks: list[Any] = [
        wr.MarkdownBlock(introduction(subject, about, len(order), chosen)),
        wr.H2("The best"),
        wr.MarkdownBlock(table(subject, chosen)),
    ]
    if chosen:
        alone = f"Metric('ID') in [{', '.join(_quoted(run.id) for run in chosen)}]"
        for title, panels in (
            ("Training", training_panels()),
            ("Classes", class_panels()),
            ("Scores and sizes", score_panels()),
            ("Pictures", picture_panels()),
        ):
            blocks += [wr.H2(title), _grid(subject, title, f"Best {len(chosen)}", alone, placed(panels, title))]
    everything = f"Metric('Group') == {_quoted(subject.sweep)}" if subject.sweep else ""
    blocks += [
        wr.H2("All trials"),
        _grid(subject, "All trials", f"Trials of {about}", everything, placed(trial_panels(subject), "All trials")),
    ]
    title = f"Best trials of {about}"[:128]
    return wr.Report(
        project=subject.project,
        entity=subject.entity or "",
        title=title,
        description=DESCRIPTION,
        blocks=blocks,
        width="fluid",
    )


def introduction(subject: Subject, about: str, finished: int, chosen: Sequence[TrialRun]) -> str:
    """Return the first paragraphs, in Markdown: what is compared, and what the intervals allow to say."""
    goal = "lowest" if subject.lower_is_better else "highest"
    place = "the evaluated pictures"
    if on_val(subject.objective):
        place = f"the val split (what {place} say is told, not ranked by)"
    parts = [
        f"The {len(chosen)} of {finished} finished trials of {_plain(about)} with the {goal} `{subject.objective}`, "
        f"measured on {place}. What the trials vary: {', '.join(f'`{key}`' for key in subject.swept)}."
        if chosen
        else f"No finished trial of {_plain(about)} has `{subject.objective}` yet."
    ]
    if chosen and any(_ends(chosen[0], key) for key in (subject.objective, QUALITY, "coco/ap")):
        parts.append(
            "In brackets stands the 95 % interval from resampling those pictures: how much a number would move with "
            "others of the same kind. It says nothing about other seeds."
        )
        parts.append(_verdict(subject, chosen))
    return "\n\n".join(filter(None, parts))


def table(subject: Subject, chosen: Sequence[TrialRun]) -> str:
    """Return a Markdown table of the trials, best first, with intervals where there are any."""
    measured = [subject.objective, *(key for key in (QUALITY, "coco/ap", LATENCY) if key != subject.objective)]
    measured += [key for key in (SIZE, "train/epochs", "train/seconds") if key not in measured]
    header = ["", "trial", *(f"`{key}`" for key in (measured[0], *subject.swept, *measured[1:]))]
    rows = [
        [
            str(rank),
            f"[{_plain(run.name)}]({run.url})" if run.url else _plain(run.name),
            shown(run, measured[0]),
            *(_parameter(run, key) for key in subject.swept),
            *(shown(run, key) for key in measured[1:]),
        ]
        for rank, run in enumerate(chosen, start=1)
    ]
    lines = [header, ["---:", "---", *["---:"] * (len(header) - 2)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def shown(run: TrialRun, key: str) -> str:
    """Return a number of a run with its 95 % interval where it has one: `0.610 [0.552, 0.671]`."""
    value, ends = run.number(key), _ends(run, key)
    if value is None:
        return MISSING
    share = key in INTERVALS or on_val(key) or key.startswith(("voc", "coco/", "tide/"))
    text = f"{value:.3f}" if share else f"{value:.0f}" if abs(value) >= 100 else f"{value:.4g}"
    return f"{text} [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else text


def _verdict(subject: Subject, chosen: Sequence[TrialRun]) -> str:
    """Say which of the trials the first one is surely better than, by intervals that do not overlap."""
    first = _ends(chosen[0], subject.objective)
    close = [
        run.name
        for run in chosen[1:]
        if first and (ends := _ends(run, subject.objective)) and ends[0] <= first[1] and first[0] <= ends[1]
    ]
    if not close:
        return ""
    names = ", ".join(f"**{_plain(name)}**" for name in dict.fromkeys(close))
    return (
        f"The interval of **{_plain(chosen[0].name)}** overlaps that of {names}: these pictures alone do not tell "
        "them apart, so let latency and size decide, or try more seeds."
    )


def _grid(subject: Subject, name: str, title: str, filters: str, panels: list[Any]) -> wr.PanelGrid:
    """Return a grid of panels over the report's own project; asked for by name, the library would need the server."""
    runs = wr.Runset(
        name=title,
        filters=filters,
        order=[wr.OrderBy(wr.SummaryMetric(subject.objective), ascending=subject.lower_is_better)],
        pinned_columns=columns(subject),
    )
    runs._id = fixed_name(f"reprolens report runs {name}", 12)
    return wr.PanelGrid(runsets=[runs], panels=panels)


def _ends(run: TrialRun, key: str) -> tuple[float, float] | None:
    low, high = run.number(f"{key}/low"), run.number(f"{key}/high")
    return None if low is None or high is None else (low, high)


def _parameter(run: TrialRun, key: str) -> str:
    value = value_of(run.config, key)
    return MISSING if value is None else _plain(write_value(value))


def _quoted(text: str) -> str:
    """Return the text as a literal of a filter. All but letters and digits is escaped: the library would write the `=`
    in it as `==`."""
    return "'" + "".join(x if x.isascii() and x.isalnum() else f"\\U{ord(x):08x}" for x in text) + "'"


def _plain(text: str) -> str:
    """Return the text with the characters escaped that Markdown reads as its own."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]|<>" else letter for letter in text)
