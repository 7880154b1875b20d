"""The API of Gitea and Forgejo: https://docs.gitea.com/api. Much of it is as GitHub's.

Owns where it differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fossilrepo.bridge import ForgeKind
from fossilrepo.tools.forge import Api, RemoteRepository, TokenFacts
from fossilrepo.tools.forge_github import GitHub, _repository


class Gitea(GitHub):
    kind = ForgeKind.GITEA

    def __init__(self, api_url: str, token: str, networks: Sequence[str]) -> None:
        headers = {"Authorization": f"token {token}"} if token else {}
        self._api = Api(api_url, token, networks, headers)

    async def token(self) -> TokenFacts:
        """The API tells neither scopes nor an end."""
        reply = await self._api.ask("GET", "/user")
        return TokenFacts(login=str(reply.value.get("login", "")))

    async def create(
        self, path: str, *, private: bool, description: str, default_branch: str
    ) -> RemoteRepository:
        owner, _, name = path.partition("/")
        mine = (await self._api.ask("GET", "/user")).value.get("login", "")
        where = "/user/repos" if owner.lower() == str(mine).lower() else f"/orgs/{owner}/repos"
        body = {
            "name": name,
            "private": private,
            "description": description[:350],
            "default_branch": default_branch,
        }
        return _repository((await self._api.ask("POST", where, body)).value)

    async def describe(
        self, path: str, *, description: str, homepage: str = "", default_branch: str = ""
    ) -> None:
        body: dict[str, Any] = {"description": description[:350], "website": homepage}
        if default_branch:
            body["default_branch"] = default_branch
        await self._api.ask("PATCH", f"/repos/{path}", body)
