"""The GraphQL end point: an operation is known by its name and answered with the data that the client reads from it."""

import re
from typing import Any

from tracking.server import account, artifact_queries, artifacts, run_queries, runs, views
from tracking.server.state import Answer, RefusalError, State

OPERATIONS = {
    **account.OPERATIONS,
    **runs.OPERATIONS,
    **run_queries.OPERATIONS,
    **artifacts.OPERATIONS,
    **artifact_queries.OPERATIONS,
    **views.OPERATIONS,
}

_NAME = re.compile(r"^\s*(?:query|mutation)\s+(\w+)", re.MULTILINE)
_RENAMED = re.compile(r"(\w+)\s*:\s*(\w+)\s*\(")


def operation_name(request: dict[str, Any]) -> str:
    """Return the name of a request's operation; `?` if it has none."""
    found = _NAME.search(request.get("query") or "")
    return request.get("operationName") or (found[1] if found else "?")


def execute(state: State, request: dict[str, Any]) -> tuple[int, Answer, str | None]:
    """Return the status and the body of the answer, and what this server did not know or understand, if anything.

    Whatever goes wrong is answered as a GraphQL error: a client whose connection is dropped tries again for minutes.
    """
    name = operation_name(request)
    operation = OPERATIONS.get(name)
    if operation is None:
        return 200, error(f"unknown operation {name}"), name
    try:
        with state.lock:
            data = operation(state, request.get("variables") or {})
        renamed = {new: data[old] for new, old in _RENAMED.findall(request["query"]) if old in data}
        return 200, {"data": data | renamed}, None
    except RefusalError as refusal:
        return refusal.status, error(str(refusal)), None
    except Exception as problem:
        return 200, error(f"{name}: {problem!r}"), f"{name}: {problem!r}"


def error(message: str) -> Answer:
    """Return the body of an answer that refuses."""
    return {"data": None, "errors": [{"message": message}]}
