"""GitLab's REST API: https://docs.gitlab.com/api/rest.

Owns its addresses and the form of its values. A project is named by its whole path, escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fossilrepo.bridge import ForgeKind
from fossilrepo.errors import Conflict, InvalidInput
from fossilrepo.tools.forge import (
    Api,
    RemoteComment,
    RemoteIssue,
    RemoteRepository,
    TokenFacts,
    moment,
    segment,
)

DEVELOPER = 30  # the access level that may push
_WRITING = {"api", "write_repository"}


class GitLab:
    kind = ForgeKind.GITLAB

    def __init__(self, api_url: str, token: str, networks: Sequence[str]) -> None:
        headers = {"PRIVATE-TOKEN": token} if token else {}
        self._api = Api(api_url, token, networks, headers)

    async def token(self) -> TokenFacts:
        reply = await self._api.ask("GET", "/personal_access_tokens/self", may_fail=(404,))
        value = reply.value if isinstance(reply.value, dict) and reply.status == 200 else {}
        user = (await self._api.ask("GET", "/user")).value
        scopes = tuple(str(one) for one in value.get("scopes") or ())
        return TokenFacts(
            login=str(user.get("username", "")),
            scopes=scopes,
            expires_at=moment(value.get("expires_at")),
            can_push=bool(_WRITING & set(scopes)) if scopes else None,
            can_create="api" in scopes if scopes else None,
            can_write_issues="api" in scopes if scopes else None,
        )

    async def repository(self, path: str) -> RemoteRepository | None:
        reply = await self._api.ask("GET", f"/projects/{segment(path)}", may_fail=(404,))
        return None if reply.status == 404 else _repository(reply.value)

    async def owned_by(self, owner: str) -> list[RemoteRepository]:
        """Those of a group, with its subgroups, or of a user."""
        name = segment(owner)
        known = await self._api.ask("GET", f"/groups/{name}", may_fail=(404,))
        where = f"/groups/{name}/projects?include_subgroups=true"
        if known.status == 404:
            where = f"/users/{name}/projects"
        return [_repository(one) for one in await self._api.pages(where)]

    async def create(
        self, path: str, *, private: bool, description: str, default_branch: str
    ) -> RemoteRepository:
        owner, _, name = path.rpartition("/")
        found = await self._api.ask("GET", f"/namespaces/{segment(owner)}", may_fail=(404,))
        if found.status == 404:
            raise InvalidInput(
                f"{self._api.host} has no group or user {owner}, or the token may not see it",
                field="url",
            )
        body = {
            "name": name,
            "path": name,
            "namespace_id": found.value["id"],
            "visibility": "private" if private else "public",
            "description": description[:350],
            "default_branch": default_branch,
            "initialize_with_readme": False,
        }
        return _repository((await self._api.ask("POST", "/projects", body)).value)

    async def describe(
        self, path: str, *, description: str, homepage: str = "", default_branch: str = ""
    ) -> None:
        told = f"{description} {homepage}".strip()
        body: dict[str, Any] = {"description": told[:350]}
        if default_branch:
            body["default_branch"] = default_branch
        await self._api.ask("PUT", f"/projects/{segment(path)}", body)

    async def add_deploy_key(self, path: str, *, title: str, public_key: str) -> None:
        body = {"title": title, "key": public_key, "can_push": True}
        try:
            await self._api.ask("POST", f"/projects/{segment(path)}/deploy_keys", body)
        except Conflict as error:
            if "already been taken" not in error.message:
                raise

    # Issues

    async def issues(self, path: str, *, marker: str) -> list[RemoteIssue]:
        """Those that carry the marker, open and closed."""
        found = await self._api.pages(f"/projects/{segment(path)}/issues?scope=all")
        return [_issue(one) for one in found if marker in (one.get("description") or "")]

    async def create_issue(
        self, path: str, *, title: str, body: str, labels: Sequence[str] = ()
    ) -> RemoteIssue:
        given = {"title": title, "description": body, "labels": ",".join(labels)}
        where = f"/projects/{segment(path)}/issues"
        return _issue((await self._api.ask("POST", where, given)).value)

    async def update_issue(
        self,
        path: str,
        number: int,
        *,
        title: str | None = None,
        body: str | None = None,
        closed: bool | None = None,
    ) -> None:
        event = None if closed is None else "close" if closed else "reopen"
        given = {"title": title, "description": body, "state_event": event}
        given = {key: value for key, value in given.items() if value is not None}
        await self._api.ask("PUT", f"/projects/{segment(path)}/issues/{number}", given)

    async def comments(self, path: str, number: int) -> list[RemoteComment]:
        found = await self._api.pages(f"/projects/{segment(path)}/issues/{number}/notes")
        return [
            RemoteComment(str(one["id"]), one.get("body") or "")
            for one in found
            if not one.get("system")
        ]

    async def add_comment(self, path: str, number: int, body: str) -> RemoteComment:
        where = f"/projects/{segment(path)}/issues/{number}/notes"
        made = (await self._api.ask("POST", where, {"body": body})).value
        return RemoteComment(str(made["id"]), body)

    async def update_comment(self, path: str, number: int, comment_id: str, body: str) -> None:
        where = f"/projects/{segment(path)}/issues/{number}/notes/{comment_id}"
        await self._api.ask("PUT", where, {"body": body})


def _repository(value: dict[str, Any]) -> RemoteRepository:
    rights = value.get("permissions") or {}
    levels = [
        int(one["access_level"])
        for key in ("project_access", "group_access")
        if (one := rights.get(key)) and one.get("access_level") is not None
    ]
    return RemoteRepository(
        path=value["path_with_namespace"],
        https_url=value.get("http_url_to_repo", ""),
        ssh_url=value.get("ssh_url_to_repo", ""),
        web_url=value.get("web_url", ""),
        default_branch=value.get("default_branch") or "",
        private=value.get("visibility") != "public",
        can_push=max(levels) >= DEVELOPER if levels else None,
        description=value.get("description") or "",
    )


def _issue(value: dict[str, Any]) -> RemoteIssue:
    return RemoteIssue(
        number=int(value["iid"]),
        title=value.get("title") or "",
        body=value.get("description") or "",
        closed=value.get("state") == "closed",
        url=value.get("web_url") or "",
    )
