"""What the server holds: runs, artifacts and saved views."""

import base64
import json
import threading
from dataclasses import dataclass, field
from typing import Any

from tracking.server.faults import Lag

HISTORY, SUMMARY, CONSOLE, EVENTS = "wandb-history.jsonl", "wandb-summary.json", "output.log", "wandb-events.jsonl"
PENDING, COMMITTED, DELETED = "PENDING", "COMMITTED", "DELETED"

Variables = dict[str, Any]
"""The variables of a GraphQL operation."""

Answer = dict[str, Any]
"""The data of a GraphQL answer. It may hold more than the operation asked for; the client takes what it knows."""


class RefusalError(Exception):
    """A request that the real server would refuse too; becomes a GraphQL error with this status."""

    def __init__(self, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class ServedRun:
    """A run as the server holds it.

    `streams` has the lines that file_stream brought, by file and offset; `raw_config` the configuration as it is sent,
    `{"lr": {"value": 0.1}}`, with wandb's own notes under `_wandb`.
    """

    entity: str
    project: str
    id: str
    raw_config: dict[str, Any] = field(default_factory=dict)
    streams: dict[str, dict[int, str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None
    complete: bool = False
    upserts: int = 0
    display_name: str | None = None
    group: str | None = None
    job_type: str | None = None
    notes: str | None = None
    commit: str | None = None
    sweep: str | None = None
    tags: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    stopping: bool = False

    @property
    def storage_id(self) -> str:
        """The id that GraphQL knows the run by."""
        return identifier("Run:v1", f"{self.id}:{self.project}:{self.entity}")

    @property
    def config(self) -> dict[str, Any]:
        """The configuration in plain values, without wandb's own notes."""
        return {name: item["value"] for name, item in self.raw_config.items() if name != "_wandb"}

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows of the history in the order of their offsets."""
        return [json.loads(line) for line in self.lines(HISTORY)]

    @property
    def summary(self) -> dict[str, Any]:
        """The summary as it was last sent."""
        lines = self.lines(SUMMARY)
        return json.loads(lines[-1]) if lines else {}

    @property
    def state(self) -> str:
        """`running`, `finished` or `failed`; the real server says `crashed` some minutes after the last heartbeat."""
        if not self.complete:
            return "running"
        return "failed" if self.exit_code else "finished"

    @property
    def last_step(self) -> int:
        """The highest `_step` of the history; -1 if it is empty."""
        return max((row.get("_step", -1) for row in self.history), default=-1)

    def lines(self, name: str) -> list[str]:
        """Return the lines of a stream in the order of their offsets."""
        stream = self.streams.get(name, {})
        return [stream[offset] for offset in sorted(stream)]


@dataclass
class ServedArtifact:
    """A version of an artifact; it has its number once it is committed. `made_by` and `used_by` are ids of runs."""

    id: str
    entity: str
    project: str
    name: str
    type: str
    digest: str
    client_id: str | None = None
    description: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    state: str = PENDING
    version: int | None = None
    aliases: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    manifest_id: str | None = None
    manifest: dict[str, Any] = field(default_factory=dict)
    made_by: str | None = None
    used_by: list[str] = field(default_factory=list)

    @property
    def collection(self) -> tuple[str, str, str]:
        """The collection whose versions share one numbering and one set of aliases."""
        return self.entity, self.project, self.name


@dataclass
class ServedView:
    """A saved workspace (type `project-view`) or report (`runs`, a draft `runs/draft`); `spec` is its parsed JSON."""

    id: str
    entity: str
    project: str
    type: str
    name: str
    display_name: str | None = None
    description: str | None = None
    spec: dict[str, Any] = field(default_factory=dict)
    upserts: int = 0


@dataclass
class State:
    """All that the server holds; who reads or changes it while the server runs holds `lock`."""

    entity: str
    url: str = ""
    projects: set[tuple[str, str]] = field(default_factory=set)
    runs: dict[tuple[str, str, str], ServedRun] = field(default_factory=dict)
    deleted: set[tuple[str, str, str]] = field(default_factory=set)
    artifacts: list[ServedArtifact] = field(default_factory=list)
    views: dict[str, ServedView] = field(default_factory=dict)
    views_made: int = 0
    lag: Lag | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def key(self, entity: str | None, project: str | None, run: str) -> tuple[str, str, str]:
        """Return where a run lies; entity and project have the server's defaults."""
        return entity or self.entity, project or "uncategorized", run

    def shown(self, run: ServedRun) -> list[str]:
        """Return the lines of a run's history as those see them who read it back; its writers know better."""
        lines = run.lines(HISTORY)
        return self.lag.shown(lines) if self.lag else lines

    def artifact(self, artifact_id: str | None = None, client_id: str | None = None) -> ServedArtifact:
        """Return an artifact by one of its ids.

        Raises:
            RefusalError: there is none.
        """
        for artifact in self.artifacts:
            if (artifact_id and artifact.id == artifact_id) or (client_id and artifact.client_id == client_id):
                return artifact
        raise RefusalError(f"artifact {artifact_id or client_id} not found")


def identifier(kind: str, value: str) -> str:
    """Return an opaque id in the form of the real server's."""
    return base64.b64encode(f"{kind}:{value}".encode()).decode()


def project_node(entity: str, project: str) -> Answer:
    """Return a project as GraphQL shows it."""
    return {
        "__typename": "Project",
        "id": identifier("Project", project),
        "internalId": identifier("ProjectInternalId", "1"),
        "name": project,
        "entityName": entity,
        "createdAt": "2026-01-01T00:00:00Z",
        "isBenchmark": False,
        "user": None,
        "description": None,
        "readOnly": False,
        "tags": [],
        "entity": {"id": identifier("Entity", entity), "name": entity},
    }


def connection(nodes: list[Answer], first: int | None = None, after: str | None = None) -> Answer:
    """Return a page of nodes as GraphQL's connections have it; a cursor is the number of nodes before it."""
    start = int(after or 0)
    end = len(nodes) if first is None else min(start + first, len(nodes))
    edges = [{"node": node, "cursor": str(start + index + 1)} for index, node in enumerate(nodes[start:end])]
    page = {"__typename": "PageInfo", "endCursor": str(end) if edges else None, "hasNextPage": end < len(nodes)}
    return {"totalCount": len(nodes), "edges": edges, "pageInfo": page}
