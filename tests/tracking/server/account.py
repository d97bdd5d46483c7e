"""GraphQL operations on who asks, on what the server can do, and on projects."""

from collections.abc import Callable

from tracking.server.state import Answer, State, Variables, connection, identifier, project_node


def viewer(state: State, variables: Variables) -> Answer:
    """Return whose key it is."""
    name = state.entity
    person = {
        "__typename": "User",
        "id": identifier("User", "1"),
        "name": name,
        "username": name,
        "entity": name,
        "email": f"{name}@localhost",
        "admin": False,
        "deletedAt": None,
        "flags": "{}",
        "teams": {"edges": [{"node": {"name": name}}]},
        "apiKeys": {"edges": []},
    }
    return {"viewer": person}


def server_info(state: State, variables: Variables) -> Answer:
    """Return the server's version; it names no features, so the client keeps to what every server has."""
    latest = {"outOfDate": False, "latestVersionString": "9.9.9", "versionOnThisInstanceString": "9.9.9"}
    versions = {"max_cli_version": "9.9.9"}
    return {"serverInfo": {"features": [], "cliVersionInfo": versions, "latestLocalVersionInfo": latest}}


def organization(state: State, variables: Variables) -> Answer:
    """Return no organization, and an entity without special settings."""
    return {"organization": None, "entity": {"xxhashDigestsEnabled": False, "organization": None, "user": None}}


def weave_organization(state: State, variables: Variables) -> Answer:
    """Return that the entity does not use Weave."""
    return {"entity": None}


def digest_algorithm(state: State, variables: Variables) -> Answer:
    """Return that the collection prescribes no algorithm of its own."""
    return {"project": None}


def project(state: State, variables: Variables) -> Answer:
    """Return a project, or None in its place."""
    entity = variables.get("entity") or variables.get("entityName") or state.entity
    name = variables.get("projectName") or variables["name"]
    known = {key[:2] for key in state.runs} | state.projects
    return {"project": project_node(entity, name) if (entity, name) in known else None}


def projects(state: State, variables: Variables) -> Answer:
    """Return a page of an entity's projects."""
    entity = variables.get("entity") or state.entity
    known = {key[:2] for key in state.runs} | state.projects
    nodes = [project_node(entity, name) for owner, name in sorted(known) if owner == entity]
    return {"models": connection(nodes, variables.get("perPage"), variables.get("cursor"))}


def upsert_model(state: State, variables: Variables) -> Answer:
    """Make a project."""
    wanted = variables.get("input") or variables
    entity = wanted.get("entityName") or wanted.get("entity") or state.entity
    new = (entity, wanted["name"]) not in state.projects
    state.projects.add((entity, wanted["name"]))
    node = project_node(entity, wanted["name"])
    return {"upsertModel": {"project": node, "model": node, "inserted": new}}


OPERATIONS: dict[str, Callable[[State, Variables], Answer]] = {
    "CreateProject": upsert_model,
    "FetchArtifactDigestAlgorithm": digest_algorithm,
    "FetchOrgInfoFromEntity": organization,
    "GetDefaultEntity": viewer,
    "GetProject": project,
    "GetProjects": projects,
    "GetViewer": viewer,
    "OrgFeatureFlags": organization,
    "OrganizationCoreWeaveOrganizationID": weave_organization,
    "ProjectInternalId": project,
    "ServerFeaturesQuery": server_info,
    "ServerInfo": server_info,
    "UpsertModel": upsert_model,
    "Viewer": viewer,
    "XXHashDigestsEnabled": organization,
    "upsertModel": upsert_model,
}
