"""GraphQL operations on saved views: workspaces and reports."""

import json
from collections.abc import Callable

from tracking.server.state import (
    Answer,
    RefusalError,
    ServedView,
    State,
    Variables,
    connection,
    identifier,
    project_node,
)


def upsert_view(state: State, variables: Variables) -> Answer:
    """Change the view of the id, or else the one of the project, type and name, or else make a new one."""
    view = _existing(state, variables)
    inserted = view is None
    if view is None:
        state.views_made += 1
        number = identifier("View", str(state.views_made))
        entity = variables.get("entityName") or state.entity
        view = ServedView(number, entity, variables["projectName"], variables["type"], variables["name"])
        state.views[number] = view
    view.upserts += 1
    view.type = variables.get("type") or view.type
    view.name = variables.get("name") or view.name
    if variables.get("displayName") is not None:
        view.display_name = variables["displayName"]
    if variables.get("description") is not None:
        view.description = variables["description"]
    if variables.get("spec") is not None:
        view.spec = json.loads(variables["spec"])
    return {"upsertView": {"view": view_node(view), "inserted": inserted}}


def one_view(state: State, variables: Variables) -> Answer:
    """Return a view by its id, or None in its place; no view has access tokens."""
    view = state.views.get(variables["reportId"])
    return {"view": view_node(view) | {"accessTokens": []} if view else None}


def project_views(state: State, variables: Variables) -> Answer:
    """Return a page of a project's views of a type, and of a name if one is given."""
    entity = variables.get("entityName") or variables.get("entity") or state.entity
    project = variables.get("projectName") or variables.get("project") or variables.get("name")
    kind, name = variables.get("viewType") or "runs", variables.get("viewName")
    found = [
        view_node(view)
        for view in state.views.values()
        if (view.entity, view.project, view.type) == (entity, project, kind) and name in (None, view.name)
    ]
    return {"project": {"allViews": connection(found, variables.get("reportLimit"), variables.get("reportCursor"))}}


def delete_view(state: State, variables: Variables) -> Answer:
    """Delete a view."""
    if state.views.pop(variables["id"], None) is None:
        raise RefusalError("view not found", 404)
    return {"deleteView": {"success": True, "pendingDrafts": None, "__typename": "DeleteViewPayload"}}


def view_node(view: ServedView) -> Answer:
    """Return a view as GraphQL shows it."""
    return {
        "id": view.id,
        "type": view.type,
        "name": view.name,
        "displayName": view.display_name,
        "description": view.description,
        "spec": json.dumps(view.spec),
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-01T00:00:00Z",
        "project": project_node(view.entity, view.project),
        "user": {"username": view.entity, "photoUrl": None, "email": f"{view.entity}@localhost"},
    }


def _existing(state: State, variables: Variables) -> ServedView | None:
    if variables.get("id"):
        if variables["id"] not in state.views:
            raise RefusalError(f"view {variables['id']} not found", 404)
        return state.views[variables["id"]]
    place = (
        variables.get("entityName") or state.entity,
        variables["projectName"],
        variables["type"],
        variables["name"],
    )
    return next(
        (view for view in state.views.values() if (view.entity, view.project, view.type, view.name) == place), None
    )


OPERATIONS: dict[str, Callable[[State, Variables], Answer]] = {
    "ProjectViews": project_views,
    "SpecificReport": one_view,
    "UpsertView2": upsert_view,
    "View": project_views,
    "ViewAccessTokens": one_view,
    "deleteView": delete_view,
    "upsertView": upsert_view,
}
