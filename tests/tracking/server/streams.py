"""What does not go through GraphQL: file_stream, uploads and downloads."""

import json
import re
from typing import Any
from urllib.parse import unquote

from tracking.server.state import ServedArtifact, State

FILE_STREAM = re.compile(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream")


def file_stream(state: State, entity: str, project: str, run_id: str, request: dict[str, Any]) -> tuple[int, Any]:
    """Put each line at its offset, in the place of what lay there; take note of the run's end."""
    with state.lock:
        run = state.runs.get((entity, project, run_id))
        if run is None:
            return 404, {"error": "run not found"}
        for name, part in request.get("files", {}).items():
            lines = run.streams.setdefault(name, {})
            lines.update(enumerate(part["content"], part["offset"]))
        if request.get("complete"):
            run.complete, run.exit_code = True, request.get("exitcode")
        return 200, {"exitcode": None, "limits": {}, "stopped": run.stopping}


def put(state: State, path: str, body: bytes) -> bool:
    """Keep an upload; return whether the path is one that was given out."""
    _, kind, *rest = (unquote(part) for part in path.strip("/").split("/"))
    with state.lock:
        if kind == "run" and tuple(rest[:3]) in state.runs:
            state.runs[rest[0], rest[1], rest[2]].files["/".join(rest[3:])] = body
        elif kind == "artifact" and (artifact := _artifact(state, rest[0])):
            artifact.files["/".join(rest[1:])] = body
        elif kind == "manifest" and (artifact := _of_manifest(state, rest[0])):
            artifact.manifest = json.loads(body)
        else:
            return False
        return True


def get(state: State, path: str) -> bytes | None:
    """Return a file, or None where there is none."""
    _, kind, *rest = (unquote(part) for part in path.strip("/").split("/"))
    with state.lock:
        if kind == "run" and tuple(rest[:3]) in state.runs:
            return state.runs[rest[0], rest[1], rest[2]].files.get("/".join(rest[3:]))
        if kind == "artifact" and (artifact := _artifact(state, rest[0])):
            return artifact.files.get("/".join(rest[1:]))
        if kind == "manifest" and (artifact := _of_manifest(state, rest[0])):
            return json.dumps(artifact.manifest).encode()
        return None


def _artifact(state: State, artifact_id: str) -> ServedArtifact | None:
    return next((artifact for artifact in state.artifacts if artifact.id == artifact_id), None)


def _of_manifest(state: State, manifest_id: str) -> ServedArtifact | None:
    return next((artifact for artifact in state.artifacts if artifact.manifest_id == manifest_id), None)
