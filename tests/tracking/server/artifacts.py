"""GraphQL operations that make artifacts, use them and change them."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from tracking.server.artifact_queries import artifact_node, membership_node, versions
from tracking.server.runs import find_run
from tracking.server.state import (
    COMMITTED,
    DELETED,
    Answer,
    RefusalError,
    ServedArtifact,
    State,
    Variables,
    identifier,
)


def create_artifact(state: State, variables: Variables) -> Answer:
    """Begin a version, or return the collection's version of that digest."""
    wanted = variables.get("input") or variables  # the client has two mutations of this name
    name = wanted.get("artifactCollectionName") or wanted["artifactCollectionNames"][0]
    collection = (wanted["entityName"] or state.entity, wanted["projectName"], name)
    aliases = [item["alias"] for item in wanted.get("aliases") or []]
    committed = versions(state, collection)
    same = [artifact for artifact in committed if artifact.digest == wanted["digest"]]
    if same and wanted.get("enableDigestDeduplication", True):
        artifact = same[-1]
        give_aliases(state, artifact, aliases)
    else:
        artifact = ServedArtifact(
            identifier("Artifact", str(len(state.artifacts) + 1)),
            *collection,
            type=wanted["artifactTypeName"],
            digest=wanted["digest"],
            client_id=wanted.get("clientID"),
            description=wanted.get("description"),
            metadata=json.loads(wanted.get("metadata") or "{}") or {},
            aliases=aliases,
            tags=[item["tagName"] for item in wanted.get("tags") or []],
            made_by=wanted.get("runName"),
        )
        state.artifacts.append(artifact)
    latest = {"id": committed[-1].id, "versionIndex": committed[-1].version} if committed else None
    sequence = {"id": identifier("ArtifactSequence", name), "latestArtifact": latest}
    return {"createArtifact": {"artifact": artifact_node(state, artifact) | {"artifactSequence": sequence}}}


def create_artifact_manifest(state: State, variables: Variables) -> Answer:
    """Give a place to upload the artifact's list of files to."""
    artifact = state.artifact(variables["artifactID"])
    artifact.manifest_id = identifier("Manifest", artifact.id)
    return {"createArtifactManifest": _manifest_upload(state, artifact.manifest_id)}


def update_artifact_manifest(state: State, variables: Variables) -> Answer:
    """Give a place to upload a newer list of files to."""
    return {"updateArtifactManifest": _manifest_upload(state, variables["artifactManifestID"])}


def create_artifact_files(state: State, variables: Variables) -> Answer:
    """Give a place to upload each of an artifact's files to."""
    edges = []
    for wanted in variables["input"]["artifactFiles"]:
        artifact = state.artifact(wanted["artifactID"])
        node = {
            "name": wanted["name"],
            "displayName": wanted["name"],
            "storagePath": wanted["name"],
            "uploadUrl": f"{state.url}/upload/artifact/{quote(artifact.id)}/{quote(wanted['name'])}",
            "uploadHeaders": [],
            "uploadMultipartUrls": None,
            "artifact": {"id": artifact.id},
        }
        edges.append({"node": node})
    return {"createArtifactFiles": {"files": {"edges": edges}}}


def commit_artifact(state: State, variables: Variables) -> Answer:
    """Make a version of a collection out of an artifact: it gets its number, and its aliases are its own."""
    artifact = state.artifact(variables["artifactID"])
    if artifact.state != COMMITTED:
        every = [other for other in state.artifacts if other.collection == artifact.collection]
        artifact.version = sum(other.version is not None for other in every)  # a deleted version's number is not reused
        artifact.state = COMMITTED
    give_aliases(state, artifact, artifact.aliases)
    return {"commitArtifact": {"artifact": artifact_node(state, artifact)}}


def use_artifact(state: State, variables: Variables) -> Answer:
    """Note that a run uses an artifact."""
    wanted = variables.get("input") or variables
    artifact = state.artifact(wanted["artifactID"])
    run = find_run(state, wanted)
    if run is None:
        raise RefusalError("run not found", 404)
    if artifact.id not in run.used:
        run.used.append(artifact.id)
    if run.id not in artifact.used_by:
        artifact.used_by.append(run.id)
    return {"useArtifact": {"artifact": artifact_node(state, artifact)}}


def update_artifact(state: State, variables: Variables) -> Answer:
    """Change an artifact's description, metadata, aliases or tags."""
    wanted = variables.get("input") or variables  # the client has two mutations of this name
    artifact = state.artifact(wanted["artifactID"])
    if wanted.get("description") is not None:
        artifact.description = wanted["description"]
    if wanted.get("metadata") is not None:
        artifact.metadata = json.loads(wanted["metadata"])
    if wanted.get("aliases") is not None:
        artifact.aliases = []
        give_aliases(state, artifact, [item["alias"] for item in wanted["aliases"]])
    removed = [item["tagName"] for item in wanted.get("tagsToDelete") or []]
    added = [item["tagName"] for item in wanted.get("tagsToAdd") or []]
    artifact.tags = [tag for tag in artifact.tags if tag not in removed + added] + added
    return {"updateArtifact": {"artifact": artifact_node(state, artifact)}}


def add_aliases(state: State, variables: Variables) -> Answer:
    """Give a version aliases, which its collection's other versions lose."""
    wanted = variables["input"]
    give_aliases(state, state.artifact(wanted["artifactID"]), [item["alias"] for item in wanted["aliases"]])
    return {"addAliases": {"success": True}}


def delete_aliases(state: State, variables: Variables) -> Answer:
    """Take aliases from a version."""
    wanted = variables["input"]
    artifact = state.artifact(wanted["artifactID"])
    gone = {item["alias"] for item in wanted["aliases"]}
    artifact.aliases[:] = [alias for alias in artifact.aliases if alias not in gone]
    return {"deleteAliases": {"success": True}}


def delete_artifact(state: State, variables: Variables) -> Answer:
    """Delete a version; one with aliases only if these may be deleted with it."""
    wanted = variables["input"]
    artifact = state.artifact(wanted["artifactID"])
    if artifact.aliases and not wanted.get("deleteAliases"):
        raise RefusalError("cannot delete an artifact that has aliases", 409)
    artifact.state, artifact.aliases = DELETED, []
    return {"deleteArtifact": {"artifact": artifact_node(state, artifact), "success": True}}


def link_artifact(state: State, variables: Variables) -> Answer:
    """Link a version into a portfolio; only its aliases there are kept, as aliases of the version."""
    wanted = variables.get("input") or variables
    artifact = state.artifact(
        wanted.get("artifactID") or wanted.get("artifactId"), wanted.get("clientID") or wanted.get("clientId")
    )
    give_aliases(state, artifact, [item["alias"] for item in wanted.get("aliases") or []])
    answer = {"versionIndex": artifact.version, "artifactMembership": membership_node(state, artifact)}
    return {"linkArtifact": answer}


def client_id_mapping(state: State, variables: Variables) -> Answer:
    """Return the server's id of an artifact that the client knows by its own."""
    known = [artifact for artifact in state.artifacts if artifact.client_id == variables["clientID"]]
    return {"clientIDMapping": {"serverID": known[-1].id} if known else None}


def give_aliases(state: State, artifact: ServedArtifact, aliases: list[str]) -> None:
    """Give a version aliases, each of which another version of the collection loses."""
    for other in state.artifacts:
        if other is not artifact and other.collection == artifact.collection and other.state == COMMITTED:
            other.aliases[:] = [alias for alias in other.aliases if alias not in aliases]
    artifact.aliases.extend(alias for alias in dict.fromkeys(aliases) if alias not in artifact.aliases)


def _manifest_upload(state: State, manifest_id: str) -> dict[str, Any]:
    url = f"{state.url}/upload/manifest/{quote(manifest_id)}"
    return {"artifactManifest": {"id": manifest_id, "file": {"id": manifest_id, "uploadUrl": url, "uploadHeaders": []}}}


OPERATIONS: dict[str, Callable[[State, Variables], Answer]] = {
    "AddAliases": add_aliases,
    "ClientIDMapping": client_id_mapping,
    "CommitArtifact": commit_artifact,
    "CreateArtifact": create_artifact,
    "CreateArtifactFiles": create_artifact_files,
    "CreateArtifactManifest": create_artifact_manifest,
    "DeleteAliases": delete_aliases,
    "DeleteArtifact": delete_artifact,
    "LinkArtifact": link_artifact,
    "UpdateArtifact": update_artifact,
    "UpdateArtifactManifest": update_artifact_manifest,
    "UseArtifact": use_artifact,
}
