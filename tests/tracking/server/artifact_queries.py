"""GraphQL operations that find artifacts and read them."""

import json
from collections.abc import Callable
from urllib.parse import quote

from tracking.server.runs import find_run, run_node
from tracking.server.state import COMMITTED, Answer, ServedArtifact, State, Variables, connection, project_node


def versions(state: State, collection: tuple[str, str, str]) -> list[ServedArtifact]:
    """Return the committed versions of a collection, oldest first."""
    found = [one for one in state.artifacts if one.collection == collection and one.state == COMMITTED]
    return sorted(found, key=lambda one: one.version or 0)


def find_artifact(state: State, entity: str | None, project: str | None, name: str) -> ServedArtifact | None:
    """Return a version by `NAME:VERSION`, VERSION being a number such as v0, an alias or a digest; or None."""
    name, _, wanted = name.rpartition("/")[2].partition(":")
    known = versions(state, (entity or state.entity, project or "uncategorized", name))
    if wanted in ("", "latest") and known and not any("latest" in one.aliases for one in known):
        return known[-1]
    matches = [one for one in known if (wanted or "latest") in (f"v{one.version}", one.digest, *one.aliases)]
    return matches[-1] if matches else None


def artifact_node(state: State, artifact: ServedArtifact) -> Answer:
    """Return an artifact as GraphQL shows it."""
    manifest = None
    if artifact.manifest:
        url = f"{state.url}/download/manifest/{quote(artifact.manifest_id or '')}"
        manifest = {"__typename": "ArtifactManifest", "id": artifact.manifest_id, "file": {"directUrl": url}}
    contents = artifact.manifest.get("contents", {})
    return {
        "__typename": "Artifact",
        "id": artifact.id,
        "artifactSequence": _collection_node(artifact),
        "artifactType": {"name": artifact.type},
        "versionIndex": artifact.version,
        "description": artifact.description,
        "metadata": json.dumps(artifact.metadata),
        "ttlDurationSeconds": -1,
        "ttlIsInherited": False,
        "tags": [{"__typename": "Tag", "id": tag, "name": tag} for tag in artifact.tags],
        "historyStep": None,
        "state": artifact.state,
        "size": sum(entry.get("size") or 0 for entry in contents.values()),
        "digest": artifact.digest,
        "digestAlgorithm": "MANIFEST_MD5",
        "commitHash": artifact.digest[:8],
        "fileCount": len(contents),
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": None,
        "currentManifest": manifest,
        "aliases": [
            _alias_node(alias) | {"artifactCollection": _collection_node(artifact)} for alias in artifact.aliases
        ],
    }


def membership_node(state: State, artifact: ServedArtifact) -> Answer:
    """Return a version's place in its collection as GraphQL shows it."""
    return {
        "__typename": "ArtifactCollectionMembership",
        "id": f"membership-{artifact.id}",
        "versionIndex": artifact.version,
        "createdAt": "2026-01-01T00:00:00Z",
        "aliases": [_alias_node(alias) for alias in artifact.aliases],
        "artifactCollection": _collection_node(artifact),
        "artifact": artifact_node(state, artifact),
    }


def artifact_by_id(state: State, variables: Variables) -> Answer:
    """Return an artifact, its manifest included."""
    return {"artifact": artifact_node(state, state.artifact(variables.get("id") or variables.get("artifact_id")))}


def artifact_by_name(state: State, variables: Variables) -> Answer:
    """Return an artifact in each of the ways that the client asks for it by name."""
    found = find_artifact(state, variables.get("entity"), variables.get("project"), variables["name"])
    if found is None:
        return {"project": {"artifact": None, "artifactCollectionMembership": None}}
    answer = {"artifact": artifact_node(state, found), "artifactCollectionMembership": membership_node(state, found)}
    return {"project": answer}


def file_urls(state: State, variables: Variables) -> Answer:
    """Return where an artifact's files can be downloaded."""
    files = _files(state, state.artifact(variables["id"]))
    return {"artifact": {"files": files, "filesByManifestEntries": files}}


def membership_file_urls(state: State, variables: Variables) -> Answer:
    """Return where the files of a collection's version can be downloaded."""
    name = f"{variables['collection']}:{variables['alias']}"
    found = find_artifact(state, variables["entity"], variables["project"], name)
    files = _files(state, found) if found else connection([])
    collection = {"__typename": "ArtifactSequence", "artifactMembership": {"files": files}}
    return {"project": {"artifactCollection": collection}}


def run_outputs(state: State, variables: Variables) -> Answer:
    """Return a page of the artifacts that a run made."""
    return _run_artifacts(state, variables, used=False)


def run_inputs(state: State, variables: Variables) -> Answer:
    """Return a page of the artifacts that a run used."""
    return _run_artifacts(state, variables, used=True)


def used_by(state: State, variables: Variables) -> Answer:
    """Return the runs that used an artifact."""
    artifact = state.artifact(variables["id"])
    runs = [run for run in state.runs.values() if artifact.id in run.used]
    return {"artifact": {"usedBy": connection([run_node(run) for run in runs])}}


def created_by(state: State, variables: Variables) -> Answer:
    """Return the run that made an artifact."""
    artifact = state.artifact(variables["id"])
    run = find_run(state, {"entity": artifact.entity, "project": artifact.project, "name": artifact.made_by})
    return {"artifact": {"createdBy": run_node(run) if run else None}}


def linked_artifacts(state: State, variables: Variables) -> Answer:
    """Return the collections that a version is in: its own."""
    artifact = state.artifact(variables["artifactID"])
    return {"artifact": {"artifactMemberships": connection([membership_node(state, artifact)])}}


def project_artifacts(state: State, variables: Variables) -> Answer:
    """Return a page of a collection's versions, newest first."""
    collection = (variables["entity"], variables["project"], variables["collection"])
    found = versions(state, collection)[::-1]
    page = connection([artifact_node(state, one) for one in found], variables.get("perPage"), variables.get("cursor"))
    for edge in page["edges"]:
        edge["version"] = f"v{edge['node']['versionIndex']}"
    return {"project": {"artifactType": {"artifactCollection": {"__typename": "ArtifactSequence", "artifacts": page}}}}


def _run_artifacts(state: State, variables: Variables, used: bool) -> Answer:
    run = find_run(state, variables)
    if run is None:
        return {"project": {"run": None}}
    place = (run.entity, run.project, run.id)
    made = [
        one for one in state.artifacts if (one.entity, one.project, one.made_by) == place and one.state == COMMITTED
    ]
    found = [state.artifact(one) for one in run.used] if used else made
    nodes = [artifact_node(state, one) for one in found]
    return {"project": {"run": {"artifacts": connection(nodes, variables.get("perPage"), variables.get("cursor"))}}}


def _files(state: State, artifact: ServedArtifact) -> Answer:
    base = f"{state.url}/download/artifact/{quote(artifact.id)}"
    return connection(
        [{"__typename": "File", "name": name, "directUrl": f"{base}/{quote(name)}"} for name in artifact.files]
    )


def _collection_node(artifact: ServedArtifact) -> Answer:
    project = project_node(artifact.entity, artifact.project)
    return {"__typename": "ArtifactSequence", "name": artifact.name, "project": project}


def _alias_node(alias: str) -> Answer:
    return {"__typename": "ArtifactAlias", "id": alias, "alias": alias}


OPERATIONS: dict[str, Callable[[State, Variables], Answer]] = {
    "ArtifactByID": artifact_by_id,
    "ArtifactByName": artifact_by_name,
    "ArtifactCreatedBy": created_by,
    "ArtifactFileURLs": file_urls,
    "ArtifactFileURLsByManifestEntries": file_urls,
    "ArtifactManifest": artifact_by_id,
    "ArtifactMembershipByName": artifact_by_name,
    "ArtifactType": artifact_by_name,
    "ArtifactUsedBy": used_by,
    "FetchArtifactManifest": artifact_by_id,
    "FetchLinkedArtifacts": linked_artifacts,
    "GetArtifactMembershipFileUrls": membership_file_urls,
    "ProjectArtifacts": project_artifacts,
    "RunInputArtifacts": run_inputs,
    "RunOutputArtifacts": run_outputs,
}
