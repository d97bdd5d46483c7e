"""GraphQL operations on runs as the client sends them while it logs."""

import json
from collections.abc import Callable
from urllib.parse import quote

from tracking.server.state import (
    CONSOLE,
    EVENTS,
    HISTORY,
    SUMMARY,
    Answer,
    RefusalError,
    ServedRun,
    State,
    Variables,
    identifier,
    project_node,
)

FIELDS = {
    "displayName": "display_name",
    "display_name": "display_name",
    "groupName": "group",
    "jobType": "job_type",
    "notes": "notes",
    "commit": "commit",
    "sweep": "sweep",
    "tags": "tags",
}
"""Variables of UpsertBucket and the fields of a run that they set."""


def find_run(state: State, variables: Variables) -> ServedRun | None:
    """Return the run that the variables name in one of the client's ways, or None."""
    entity = variables.get("entity") or variables.get("entityName")
    project = variables.get("project") or variables.get("projectName")
    name = variables.get("name") or variables.get("run") or variables.get("runName") or variables.get("runId")
    return state.runs.get(state.key(entity, project, str(name)))


def the_run(state: State, variables: Variables) -> ServedRun:
    """Return the run that the variables name.

    Raises:
        RefusalError: there is none.
    """
    run = find_run(state, variables)
    if run is None:
        raise RefusalError("run not found", 404)
    return run


def by_storage_id(state: State, storage_id: str) -> ServedRun | None:
    """Return the run of GraphQL's id, or None."""
    return next((run for run in state.runs.values() if run.storage_id == storage_id), None)


def upsert_bucket(state: State, variables: Variables) -> Answer:
    """Make a run or change one; what is not named stays, the history above all."""
    run = by_storage_id(state, variables["id"]) if variables.get("id") else None
    inserted = False
    if run is None:
        if not variables.get("name"):
            raise RefusalError("run not found", 404)
        key = state.key(variables.get("entity"), variables.get("project"), variables["name"])
        if key in state.deleted:
            raise RefusalError(f"run {key[2]} was previously created and deleted; try a new run name", 410)
        inserted = key not in state.runs
        run = state.runs.setdefault(key, ServedRun(*key))
    if variables.get("name"):  # a client that logs, not one that edits: the run goes on
        run.complete, run.exit_code = False, None
    run.upserts += 1
    for variable, attribute in FIELDS.items():
        if variables.get(variable) is not None:
            setattr(run, attribute, variables[variable])
    if variables.get("config"):
        run.raw_config = json.loads(variables["config"])
    if variables.get("summaryMetrics"):
        run.streams[SUMMARY] = {0: variables["summaryMetrics"]}
    return {"upsertBucket": {"bucket": run_node(run), "inserted": inserted}}


def run_resume_status(state: State, variables: Variables) -> Answer:
    """Tell where a run stands, so that the client goes on behind it."""
    run = find_run(state, variables)
    entity, project, _ = state.key(variables.get("entity"), variables.get("project"), variables["name"])
    model = project_node(entity, project)
    model["bucket"] = None
    if run is not None:
        own = run.raw_config.get("_wandb", {}).get("value", {})
        model["bucket"] = run_node(run) | {
            "logLineCount": len(run.lines(CONSOLE)),
            "eventsLineCount": len(run.lines(EVENTS)),
            "historyTail": json.dumps(run.lines(HISTORY)[-1:]),
            "eventsTail": json.dumps(run.lines(EVENTS)[-1:]),
            "wandbConfig": json.dumps({"t": own.get("t", {})}),
        }
    return {"model": model}


def run_stopped_status(state: State, variables: Variables) -> Answer:
    """Tell whether somebody asked the run to stop."""
    run = find_run(state, variables)
    return {"project": {"run": {"stopped": run.stopping if run else False}}}


def stop_run(state: State, variables: Variables) -> Answer:
    """Ask a run to stop."""
    run = by_storage_id(state, variables["id"])
    if run is None:
        raise RefusalError("run not found", 404)
    run.stopping = True
    return {"stopRun": {"success": True, "clientMutationId": None}}


def create_run_files(state: State, variables: Variables) -> Answer:
    """Give a place to upload each of a run's files to."""
    run = the_run(state, variables)
    base = f"{state.url}/upload/run/{quote(run.entity)}/{quote(run.project)}/{quote(run.id)}"
    files = [{"name": name, "uploadUrl": f"{base}/{quote(name)}"} for name in variables["files"]]
    return {"createRunFiles": {"runID": run.storage_id, "uploadHeaders": [], "files": files}}


def mark_run_files_uploaded(state: State, variables: Variables) -> Answer:
    """Take note that files were uploaded, as if they had not been noted already."""
    run = the_run(state, variables)
    return {"markRunFilesUploaded": {"success": all(name in run.files for name in variables["files"])}}


def notify_scriptable_run_alert(state: State, variables: Variables) -> Answer:
    """Keep an alert."""
    the_run(state, variables).alerts.append(variables)
    return {"notifyScriptableRunAlert": {"success": True}}


def delete_run(state: State, variables: Variables) -> Answer:
    """Delete a run; its id is refused from then on."""
    run = by_storage_id(state, variables["id"])
    if run is None:
        raise RefusalError("run not found", 404)
    key = (run.entity, run.project, run.id)
    del state.runs[key]
    state.deleted.add(key)
    return {"deleteRun": {"clientMutationId": None}}


def update_run_state(state: State, variables: Variables) -> Answer:
    """Mark a running run as failed."""
    run = by_storage_id(state, variables["input"]["id"])
    if run is None or variables["input"]["state"] != "failed" or run.complete:
        raise RefusalError("state transition not allowed", 400)
    run.complete, run.exit_code = True, 1
    return {"updateRunState": {"success": True}}


def run_node(run: ServedRun) -> Answer:
    """Return a run as GraphQL shows it."""
    history = run.history
    keys = {key: {"typeCounts": [{"type": "number", "count": 1}]} for row in history for key in row}
    return {
        "__typename": "Run",
        "id": run.storage_id,
        "projectId": 1,
        "internalId": identifier("RunInternalId", run.id),
        "name": run.id,
        "displayName": run.display_name or run.id,
        "description": "",
        "notes": run.notes,
        "tags": run.tags,
        "group": run.group,
        "jobType": run.job_type,
        "sweepName": run.sweep,
        "commit": run.commit,
        "state": run.state,
        "readOnly": False,
        "createdAt": "2026-01-01T00:00:00Z",
        "heartbeatAt": "2026-01-01T00:00:00Z",
        "config": json.dumps(run.raw_config),
        "summaryMetrics": json.dumps(run.summary),
        "systemMetrics": "{}",
        "historyLineCount": len(history),
        "historyKeys": {"keys": keys, "lastStep": run.last_step, "sets": []},
        "fileCount": len(run.files),
        "user": {"name": run.entity, "username": run.entity},
        "project": project_node(run.entity, run.project),
    }


OPERATIONS: dict[str, Callable[[State, Variables], Answer]] = {
    "CreateRunFiles": create_run_files,
    "DeleteRun": delete_run,
    "MarkRunFilesUploaded": mark_run_files_uploaded,
    "NotifyScriptableRunAlert": notify_scriptable_run_alert,
    "RunResumeStatus": run_resume_status,
    "RunStoppedStatus": run_stopped_status,
    "StopRun": stop_run,
    "UpdateRunState": update_run_state,
    "UpsertBucket": upsert_bucket,
}
