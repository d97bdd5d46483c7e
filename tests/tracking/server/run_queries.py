"""GraphQL operations that read runs back, as wandb.Api sends them."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from tracking.server.filters import matches
from tracking.server.runs import find_run, run_node, the_run
from tracking.server.state import Answer, ServedRun, State, Variables, connection, identifier


def one_run(state: State, variables: Variables) -> Answer:
    """Return a run, or None in its place."""
    run = find_run(state, variables)
    return {"project": {"run": _node(state, run) if run else None}}


def many_runs(state: State, variables: Variables) -> Answer:
    """Return a page of a project's runs that pass the filters, in the order in which they were made or its reverse.

    Raises:
        ValueError: an order or a filter that this server does not know.
    """
    place = (variables.get("entity") or state.entity, variables["project"])
    filters = json.loads(variables.get("filters") or "{}")
    found = [run for key, run in state.runs.items() if key[:2] == place and matches(run, filters)]
    order = variables.get("order") or "+created_at"
    if order.lstrip("+-") not in ("created_at", "createdAt"):
        raise ValueError(f"order {order}")
    if order.startswith("-"):
        found.reverse()
    nodes = [_node(state, run) for run in found]
    page = connection(nodes, variables.get("perPage"), variables.get("cursor"))
    internal = identifier("ProjectInternalId", "1")
    return {"project": {"internalId": internal, "runCount": len(nodes), "readOnly": False, "runs": page}}


def full_history(state: State, variables: Variables) -> Answer:
    """Return the lines of the history, all of them."""
    return {"project": {"run": {"history": state.shown(the_run(state, variables))}}}


def history_page(state: State, variables: Variables) -> Answer:
    """Return the lines of the history whose steps lie in a range, the upper end excluded."""
    steps = range(int(variables["minStep"]), int(variables["maxStep"]))
    lines = state.shown(the_run(state, variables))
    return {"project": {"run": {"history": [line for line in lines if json.loads(line)["_step"] in steps]}}}


def sampled_history(state: State, variables: Variables) -> Answer:
    """Return for each specification the rows that have all of its keys; none are left out, however many there are."""
    run = the_run(state, variables)
    given = variables.get("specs") or [variables["spec"]]
    specs = [json.loads(spec) for spec in given]
    return {"project": {"run": {"sampledHistory": [_sample(state, run, spec) for spec in specs]}}}


def parquet_history(state: State, variables: Variables) -> Answer:
    """Return the history as not yet exported to Parquet files: all of it is live."""
    rows = _rows_with(state, the_run(state, variables), variables["liveKeys"])
    return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": rows}}}}


def run_files(state: State, variables: Variables) -> Answer:
    """Return a page of a run's files."""
    run = the_run(state, variables)
    names = variables.get("fileNames") or sorted(run.files)
    base = f"{state.url}/download/run/{quote(run.entity)}/{quote(run.project)}/{quote(run.id)}"
    nodes = [
        {
            "id": identifier("File", name),
            "name": name,
            "url": f"{base}/{quote(name)}",
            "directUrl": f"{base}/{quote(name)}",
            "sizeBytes": len(run.files[name]),
            "mimetype": None,
            "updatedAt": "2026-01-01T00:00:00Z",
            "md5": None,
        }
        for name in names
        if name in run.files
    ]
    page = connection(nodes, variables.get("fileLimit"), variables.get("fileCursor"))
    answer = {"fileCount": len(run.files), "files": page}
    return {"project": {"internalId": identifier("ProjectInternalId", "1"), "run": answer}}


def _node(state: State, run: ServedRun) -> Answer:
    return run_node(run) | {"historyLineCount": len(state.shown(run))}


def _sample(state: State, run: ServedRun, spec: dict[str, Any]) -> list[dict[str, Any]]:
    low, high = spec.get("minStep", 0), spec.get("maxStep", run.last_step)  # both included, unlike a page's
    return [row for row in _rows_with(state, run, spec.get("keys") or []) if low <= row.get("_step", 0) <= high]


def _rows_with(state: State, run: ServedRun, keys: list[str]) -> list[dict[str, Any]]:
    rows = [row for row in map(json.loads, state.shown(run)) if all(key in row for key in keys)]
    return [{key: row[key] for key in row if key == "_step" or key in keys} for row in rows] if keys else rows


OPERATIONS: dict[str, Callable[[State, Variables], Answer]] = {
    "HistoryPage": history_page,
    "QueryRunInfo": one_run,
    "Run": one_run,
    "RunFiles": run_files,
    "RunFullHistory": full_history,
    "RunHistoryKeys": one_run,
    "RunParquetHistory": parquet_history,
    "RunSampledHistory": sampled_history,
    "RunState": one_run,
    "Runs": many_runs,
    "SampledHistoryPage": sampled_history,
}
