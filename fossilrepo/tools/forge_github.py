"""GitHub's REST API, and GitHub Enterprise's: https://docs.github.com/en/rest.

Owns its addresses and the form of its values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fossilrepo.bridge import ForgeKind
from fossilrepo.errors import Conflict
from fossilrepo.tools.forge import (
    Api,
    RemoteComment,
    RemoteIssue,
    RemoteRepository,
    TokenFacts,
    moment,
    segment,
)


class GitHub:
    kind = ForgeKind.GITHUB

    def __init__(self, api_url: str, token: str, networks: Sequence[str]) -> None:
        self._api = Api(
            api_url,
            token,
            networks,
            {
                **({"Authorization": f"Bearer {token}"} if token else {}),
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )

    async def token(self) -> TokenFacts:
        """Classic tokens tell their scopes; fine-grained ones only when they end."""
        reply = await self._api.ask("GET", "/user")
        listed = reply.headers.get("x-oauth-scopes")
        scopes = tuple(part.strip() for part in (listed or "").split(",") if part.strip())
        repo = "repo" in scopes or "public_repo" in scopes
        return TokenFacts(
            login=str(reply.value.get("login", "")),
            scopes=scopes,
            expires_at=moment(reply.headers.get("github-authentication-token-expiration")),
            can_push=None if listed is None else repo,
            can_create=None if listed is None else repo,
            can_write_issues=None if listed is None else repo,
        )

    async def repository(self, path: str) -> RemoteRepository | None:
        reply = await self._api.ask("GET", f"/repos/{path}", may_fail=(404,))
        return None if reply.status == 404 else _repository(reply.value)

    async def owned_by(self, owner: str) -> list[RemoteRepository]:
        """Those of an organization or a user that the token may see; of oneself the private too."""
        name = segment(owner)
        asked = await self._api.ask("GET", "/user", may_fail=(401,))  # without a token: nobody
        me = asked.value if asked.status == 200 else {}
        if str(me.get("login", "")).lower() == owner.lower():
            return [
                one
                for one in map(_repository, await self._api.pages("/user/repos"))
                if one.path.lower().startswith(f"{owner.lower()}/")
            ]
        known = await self._api.ask("GET", f"/orgs/{name}", may_fail=(404,))
        kind = "users" if known.status == 404 else "orgs"
        return [_repository(one) for one in await self._api.pages(f"/{kind}/{name}/repos")]

    async def create(
        self, path: str, *, private: bool, description: str, default_branch: str
    ) -> RemoteRepository:
        """For the token's own account or an organization; one that exists is a Conflict."""
        owner, _, name = path.partition("/")
        mine = (await self._api.ask("GET", "/user")).value.get("login", "")
        where = "/user/repos" if owner.lower() == str(mine).lower() else f"/orgs/{owner}/repos"
        body = {"name": name, "private": private, "description": description[:350]}
        reply = await self._api.ask("POST", where, body)
        return _repository(reply.value)

    async def describe(
        self, path: str, *, description: str, homepage: str = "", default_branch: str = ""
    ) -> None:
        body: dict[str, Any] = {"description": description[:350], "homepage": homepage}
        if default_branch:
            body["default_branch"] = default_branch
        await self._api.ask("PATCH", f"/repos/{path}", body)

    async def add_deploy_key(self, path: str, *, title: str, public_key: str) -> None:
        body = {"title": title, "key": public_key, "read_only": False}
        try:
            await self._api.ask("POST", f"/repos/{path}/keys", body)
        except Conflict as error:
            if "already in use" not in error.message:
                raise

    # Issues

    async def issues(self, path: str, *, marker: str) -> list[RemoteIssue]:
        """Those that carry the marker, open and closed."""
        found = await self._api.pages(f"/repos/{path}/issues?state=all")
        return [
            _issue(one)
            for one in found
            if "pull_request" not in one and marker in (one.get("body") or "")
        ]

    async def create_issue(
        self, path: str, *, title: str, body: str, labels: Sequence[str] = ()
    ) -> RemoteIssue:
        given = {"title": title, "body": body, "labels": list(labels)}
        return _issue((await self._api.ask("POST", f"/repos/{path}/issues", given)).value)

    async def update_issue(
        self,
        path: str,
        number: int,
        *,
        title: str | None = None,
        body: str | None = None,
        closed: bool | None = None,
    ) -> None:
        state = None if closed is None else "closed" if closed else "open"
        given = {"title": title, "body": body, "state": state}
        given = {key: value for key, value in given.items() if value is not None}
        await self._api.ask("PATCH", f"/repos/{path}/issues/{number}", given)

    async def comments(self, path: str, number: int) -> list[RemoteComment]:
        found = await self._api.pages(f"/repos/{path}/issues/{number}/comments")
        return [RemoteComment(str(one["id"]), one.get("body") or "") for one in found]

    async def add_comment(self, path: str, number: int, body: str) -> RemoteComment:
        where = f"/repos/{path}/issues/{number}/comments"
        made = (await self._api.ask("POST", where, {"body": body})).value
        return RemoteComment(str(made["id"]), body)

    async def update_comment(self, path: str, number: int, comment_id: str, body: str) -> None:
        where = f"/repos/{path}/issues/comments/{comment_id}"
        await self._api.ask("PATCH", where, {"body": body})


def _repository(value: dict[str, Any]) -> RemoteRepository:
    rights = value.get("permissions")
    return RemoteRepository(
        path=value["full_name"],
        https_url=value.get("clone_url", ""),
        ssh_url=value.get("ssh_url", ""),
        web_url=value.get("html_url", ""),
        default_branch=value.get("default_branch") or "",
        private=bool(value.get("private")),
        can_push=bool(rights.get("push")) if isinstance(rights, dict) else None,
        description=value.get("description") or "",
    )


def _issue(value: dict[str, Any]) -> RemoteIssue:
    return RemoteIssue(
        number=int(value["number"]),
        title=value.get("title") or "",
        body=value.get("body") or "",
        closed=value.get("state") == "closed",
        url=value.get("html_url") or "",
    )
