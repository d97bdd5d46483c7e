"""The saved workspace: the table of trials and the panels beside it."""

import math

import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

from reprolens.tracking.dashboard.panels import (
    LATENCY,
    QUALITY,
    TABLE,
    class_panels,
    data_panels,
    fixed_name,
    picture_panels,
    placed,
    score_panels,
    training_panels,
    trial_panels,
)
from reprolens.tracking.dashboard.subject import INTERVALS, USUAL, Subject

TITLE = "Reprolens"
NAME = f"nw-{fixed_name('reprolens workspace', 11)}-v"
"""The view's name inside W&B, by which it is found again. The form is that of every saved workspace."""


def build_workspace(subject: Subject) -> ws.Workspace:
    """Return the workspace of the subject's project; the same for all its sweeps but for what they vary."""
    sections = {
        "Trials": trial_panels(subject),
        "Training": training_panels(),
        "Classes": class_panels(),
        "Scores and sizes": score_panels(),
        "Pictures": picture_panels(),
        "Data and errors": data_panels(),
    }
    workspace = ws.Workspace(
        entity=subject.entity or "",
        project=subject.project,
        name=TITLE,
        sections=[
            ws.Section(
                name=name,
                panels=placed(panels, name),
                is_open=name != "Data and errors",
                layout_settings=ws.SectionLayoutSettings(columns=3, rows=math.ceil(len(panels) / 3)),
                panel_settings=ws.SectionPanelSettings(x_axis="epoch"),
            )
            for name, panels in sections.items()
        ],
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=20),
        runset_settings=ws.RunsetSettings(
            pinned_columns=columns(subject),
            order=[expr.Ordering(expr.Summary(subject.objective), ascending=subject.lower_is_better)],
            groupby=[expr.Config(key) for key in _groups(subject)],
        ),
    )
    workspace._internal_name = NAME
    workspace._internal_runset_id = fixed_name("reprolens runs", 12)
    return workspace


def columns(subject: Subject) -> list[str]:
    """Return the columns of a table of trials, as W&B names them: `summary:KEY`, and `config:SECTION.value.KEY`."""
    numbers = [subject.objective, *(key for key in (QUALITY, "coco/ap", LATENCY) if key != subject.objective), *TABLE]
    with_ends = [
        name for key in numbers for name in ([key, f"{key}/low", f"{key}/high"] if key in INTERVALS else [key])
    ]
    swept = (f"config:{key.replace('.', '.value.', 1) if '.' in key else f'{key}.value'}" for key in subject.swept)
    return list(
        dict.fromkeys(
            ["run:displayName", "run:group", "run:state", f"summary:{subject.objective}"]
            + [f"summary:{subject.objective}/{end}" for end in ("low", "high") if subject.objective in INTERVALS]
            + [*swept, *(f"summary:{name}" for name in with_ends)]
        )
    )


def _groups(subject: Subject) -> list[str]:
    """Return the keys that trials of one group share: all but the seed, where seeds are varied besides another key."""
    others = [key for key in subject.swept if key != "seed"]
    return others if "seed" in subject.swept and others and subject.swept != USUAL else []
