"""The dashboard on the W&B server: its runs are read, its workspace and report made or brought up to date."""

import dataclasses
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from wandb_workspaces._graphql import execute_graphql, get_app_url
from wandb_workspaces.reports.v2 import gql

from reprolens.errors import TrackingError
from reprolens.tracking.dashboard.report import build_report, report_name
from reprolens.tracking.dashboard.subject import Subject, TrialRun, summary_key, swept_keys
from reprolens.tracking.dashboard.workspace import NAME, build_workspace
from reprolens.tracking.run import UnreachableError, one_line
from reprolens.tracking.server import connect, refusals
from reprolens.tracking.session import session

if TYPE_CHECKING:
    import wandb

RUNS = 500
"""So many finished trials are looked at, the newest ones."""


@dataclass(frozen=True)
class View:
    """What W&B saves: a workspace (`type` project-view) or a report (runs). `name` decides which one it is."""

    type: str
    name: str
    title: str
    description: str
    spec: str


@dataclass(frozen=True)
class Saved:
    """Where the workspace and the report lie, and whether they were there before."""

    workspace: str
    report: str
    updated: bool


def specification(subject: Subject, runs: Sequence[TrialRun], best: int = 5) -> tuple[View, View]:
    """Return the workspace and the report as they would be saved; no account or network is needed."""
    workspace = build_workspace(subject)._to_model()
    report = build_report(subject, runs, best)._to_model()
    shown, written = (model.spec.model_dump_json(by_alias=True, exclude_none=True) for model in (workspace, report))
    return (
        View("project-view", NAME, workspace.display_name, "", shown),
        View("runs", report_name(subject), report.display_name, report.description, written),
    )


def save(subject: Subject, names: Sequence[str] = (), best: int = 5) -> Saved:
    """Make the project's workspace and the subject's report, or replace what they show if they are there.

    `names` is what a sweep varies; without any, it is found in the configurations of the runs. The objective may be
    named as in its report. What someone changed by hand in these two views is lost, others are left alone.

    Raises TrackingError if there is no key, no server, no such project, or if the server refuses.
    """
    with session():
        try:
            api = connect()
        except UnreachableError as error:
            raise TrackingError(f"dashboard: {error}; --json shows it without an account") from None
        try:
            entity = subject.entity or api.default_entity
            if not entity:
                raise TrackingError("tracking.entity: the account has no default; set it in params.yaml")
            subject = dataclasses.replace(subject, entity=entity)
            app = get_app_url(api).rstrip("/")
            found = [_find(api, subject, kind, name) for kind, name in _views(subject)]
            runs = read_runs(api, subject)
            subject = dataclasses.replace(
                subject, objective=summary_key(subject.objective, runs), swept=swept_keys(names, runs)
            )
            views = specification(subject, runs, best)
            ids = [_upsert(api, subject, view, id) for view, id in zip(views, found, strict=True)]
        except refusals() as error:
            raise TrackingError(f"W&B did not save the dashboard ({one_line(error)})") from None
    place = f"{app}/{quote(entity)}/{quote(subject.project)}"
    title = quote(views[1].title.replace(" ", "-"))
    return Saved(
        workspace=f"{place}?nw={NAME.removeprefix('nw-').removesuffix('-v')}",
        report=f"{place}/reports/{title}--{ids[1].rstrip('=')}",
        updated=all(found),
    )


def read_runs(api: "wandb.Api", subject: Subject) -> tuple[TrialRun, ...]:
    """Return the finished trials of the subject on the server, at most `RUNS`, the newest first."""
    filters = {"state": "finished", "jobType": "trial"} | ({"group": subject.sweep} if subject.sweep else {})
    place = f"{subject.entity}/{subject.project}"
    found = api.runs(place, filters=filters, order="-created_at", per_page=100, lazy=False)
    return tuple(
        TrialRun(run.id, run.name or run.id, dict(run.config), dict(run.summary_metrics), run.url)
        for run in itertools.islice(found, RUNS)
    )


def _views(subject: Subject) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("project-view", NAME), ("runs", report_name(subject))


def _find(api: "wandb.Api", subject: Subject, kind: str, name: str) -> str | None:
    """Return the id of the view of that name, None if there is none: without an id, W&B would make another one."""
    from wandb.apis.public.reports import Reports

    variables = {
        "project": subject.project,
        "entity": subject.entity,
        "reportLimit": 50,
        "viewType": kind,
        "viewName": name,
    }
    project = execute_graphql(api, Reports.QUERY, variables).get("project")
    if project is None:
        raise TrackingError(
            f"dashboard: no project {subject.entity}/{subject.project} on the server; send a trial there first "
            "(tracking=online, or reprolens sync)"
        )
    nodes = (edge["node"] for edge in (project.get("allViews") or {}).get("edges") or ())
    return next((str(node["id"]) for node in nodes if node["name"] == name), None)


def _upsert(api: "wandb.Api", subject: Subject, view: View, id: str | None) -> str:
    """Save the view under its name, in place of the one with the id if there is one; return its id."""
    variables: dict[str, Any] = {
        "entityName": subject.entity,
        "projectName": subject.project,
        "type": view.type,
        "name": view.name,
        "displayName": view.title,
        "description": view.description,
        "spec": view.spec,
    }
    answer = execute_graphql(api, gql.upsert_view, variables | ({"id": id} if id else {}))
    return str(answer["upsertView"]["view"]["id"])


def to_json(views: Sequence[View]) -> str:
    """Return the views as readable JSON, their specifications parsed."""
    shown = [dataclasses.asdict(view) | {"spec": json.loads(view.spec)} for view in views]
    return json.dumps(dict(zip(("workspace", "report"), shown, strict=True)), indent=2, ensure_ascii=False)
