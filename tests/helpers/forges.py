"""GitHub, GitLab and Gitea in small: the shapes, codes and headers of their public documentation.

Owns the only servers of this project's tests that are not the real ones. Each keeps repositories,
issues and comments in memory, asks for the token, pages its lists, and can be told to limit
requests or to let the token end.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from aiohttp import web

TOKEN = "ghp-a-token-of-tests"
PER_PAGE = 2


@dataclass
class Fake:
    kind: str
    port: int = 0
    login: str = "acme"
    scopes: str | None = "repo, workflow"
    expires: str = ""
    repositories: dict[str, dict[str, Any]] = field(default_factory=dict)
    issues: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    keys: list[dict[str, Any]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    limit_after: int | None = None  # requests that change something, then no more
    can_push: bool = True
    git_url: str = ""  # with {path} in it
    _number: int = 0

    @property
    def url(self) -> str:
        base = {"github": "/api/v3", "gitlab": "/api/v4", "gitea": "/api/v1"}[self.kind]
        return f"http://127.0.0.1:{self.port}{base}"

    def all_issues(self) -> list[dict[str, Any]]:
        return [one for found in self.issues.values() for one in found]

    def all_comments(self) -> list[dict[str, Any]]:
        return [one for found in self.comments.values() for one in found]

    # One door for all requests

    async def answer(self, request: web.Request) -> web.Response:
        path = request.raw_path.partition("?")[0].split("/", 3)[3]
        self.requests.append(f"{request.method} {path}")
        if not self._may(request):
            words = {"github": "Bad credentials", "gitlab": "401 Unauthorized"}
            return _json({"message": words.get(self.kind, "token is required")}, 401)
        if request.method != "GET" and self.limit_after is not None:
            if self.limit_after <= 0:
                return self._limited()
            self.limit_after -= 1
        body = json.loads(await request.read() or b"{}")
        parts = [unquote(part) for part in path.split("/")]
        handler = self._gitlab if self.kind == "gitlab" else self._hub
        return handler(request, parts, body)

    def _may(self, request: web.Request) -> bool:
        given = request.headers.get("PRIVATE-TOKEN") or request.headers.get("Authorization", "")
        return given in (TOKEN, f"Bearer {TOKEN}", f"token {TOKEN}")

    def _limited(self) -> web.Response:
        if self.kind == "github":
            headers = {"X-RateLimit-Remaining": "0", "Retry-After": "90"}
            return _json({"message": "API rate limit exceeded"}, 403, headers)
        return _json({"message": "Retry later"}, 429, {"Retry-After": "90"})

    def _page(self, request: web.Request, entries: list[Any]) -> web.Response:
        page = int(request.query.get("page", "1"))
        part = entries[(page - 1) * PER_PAGE : page * PER_PAGE]
        more = len(entries) > page * PER_PAGE
        link = f'<{self.url}/elsewhere?page={page + 1}>; rel="next"' if more else ""
        return _json(part, 200, {"Link": link} if link else {})

    def _owned(self, owner: str) -> list[str]:
        return [path for path in self.repositories if path.startswith(f"{owner}/")]

    def _next(self) -> int:
        self._number += 1
        return self._number

    # GitHub and Gitea

    def _hub(self, request: web.Request, parts: list[str], body: dict[str, Any]) -> web.Response:
        method = request.method
        if parts == ["user"]:
            headers = {}
            if self.kind == "github" and self.scopes is not None:
                headers["X-OAuth-Scopes"] = self.scopes
            if self.kind == "github" and self.expires:
                headers["github-authentication-token-expiration"] = self.expires
            return _json({"login": self.login}, 200, headers)
        if parts[0] == "orgs" and len(parts) == 2:
            is_org = parts[1] != self.login and self._owned(parts[1])
            return _json({"login": parts[1]}) if is_org else _json({"message": "Not Found"}, 404)
        if parts[-1] == "repos" and method == "GET":
            owner = self.login if parts[0] == "user" else parts[1]
            return self._page(request, [self._shown(path) for path in self._owned(owner)])
        if parts[0] in ("user", "orgs") and method == "POST":
            owner = self.login if parts[0] == "user" else parts[1]
            path = f"{owner}/{body['name']}"
            if path in self.repositories:
                errors = [{"message": "name already exists on this account"}]
                return _json({"message": "Repository creation failed.", "errors": errors}, 422)
            self.repositories[path] = {"private": body["private"], **body}
            return _json(self._shown(path), 201)
        path = "/".join(parts[1:3])
        if parts[0] != "repos" or path not in self.repositories:
            return _json({"message": "Not Found"}, 404)
        rest = parts[3:]
        if not rest:
            if method == "PATCH":
                self.repositories[path] |= body
            return _json(self._shown(path))
        return self._hub_issues(request, path, rest, body)

    def _hub_issues(
        self, request: web.Request, path: str, rest: list[str], body: dict[str, Any]
    ) -> web.Response:
        if rest in (["keys"], ["deploy_keys"]):
            self.keys.append(body)
            return _json({"id": self._next(), **body}, 201)
        found = self.issues.setdefault(path, [])
        if rest == ["issues"]:
            if request.method == "GET":
                return self._page(request, found)
            made = {"number": self._next(), "state": "open", **body}
            found.append(made)
            return _json(made, 201)
        if rest[:2] == ["issues", "comments"]:
            comment = next(one for one in self.all_comments() if str(one["id"]) == rest[2])
            comment |= body
            return _json(comment)
        number = int(rest[1])
        issue = next(one for one in found if one["number"] == number)
        if len(rest) == 2:
            issue |= body
            return _json(issue)
        comments = self.comments.setdefault(number, [])
        if request.method == "GET":
            return self._page(request, comments)
        made = {"id": 1000 + self._next(), **body}
        comments.append(made)
        return _json(made, 201)

    def _shown(self, path: str) -> dict[str, Any]:
        known = self.repositories[path]
        return {
            "full_name": path,
            "clone_url": self.git_url.format(path=path),
            "ssh_url": f"git@example.org:{path}.git",
            "html_url": f"https://example.org/{path}",
            "default_branch": known.get("default_branch", "main"),
            "private": known.get("private", True),
            "description": known.get("description"),
            "permissions": {"push": self.can_push},
        }

    # GitLab

    def _gitlab(self, request: web.Request, parts: list[str], body: dict[str, Any]) -> web.Response:
        method = request.method
        if parts == ["user"]:
            return _json({"username": self.login})
        if parts == ["personal_access_tokens", "self"]:
            return _json({"scopes": (self.scopes or "").split(", "), "expires_at": self.expires})
        if parts[0] == "groups" and len(parts) == 2:
            is_group = parts[1] != self.login and self._owned(parts[1])
            return _json({"id": 8}) if is_group else _json({"message": "404 Not found"}, 404)
        if parts[0] in ("groups", "users") and parts[2:] == ["projects"]:
            return self._page(request, [self._project(path) for path in self._owned(parts[1])])
        if parts[0] == "namespaces":
            known = parts[1] == self.login
            return _json({"id": 7}) if known else _json({"message": "404 Not found"}, 404)
        if parts == ["projects"]:
            path = f"{self.login}/{body['path']}"
            if path in self.repositories:
                return _json({"message": {"name": ["has already been taken"]}}, 400)
            self.repositories[path] = body
            return _json(self._project(path), 201)
        path = parts[1]
        if path not in self.repositories:
            return _json({"message": "404 Project Not Found"}, 404)
        rest = parts[2:]
        if not rest:
            if method == "PUT":
                self.repositories[path] |= body
            return _json(self._project(path))
        return self._gitlab_issues(request, path, rest, body)

    def _gitlab_issues(
        self, request: web.Request, path: str, rest: list[str], body: dict[str, Any]
    ) -> web.Response:
        if rest in (["keys"], ["deploy_keys"]):
            self.keys.append(body)
            return _json({"id": self._next(), **body}, 201)
        found = self.issues.setdefault(path, [])
        if rest == ["issues"]:
            if request.method == "GET":
                return self._page(request, found)
            made = {"iid": self._next(), "state": "opened", **body}
            found.append(made)
            return _json(made, 201)
        number = int(rest[1])
        issue = next(one for one in found if one["iid"] == number)
        if len(rest) == 2:
            event = body.pop("state_event", None)
            issue |= body
            if event:
                issue["state"] = {"close": "closed", "reopen": "opened"}[event]
            return _json(issue)
        comments = self.comments.setdefault(number, [])
        if len(rest) == 4:
            comment = next(one for one in comments if str(one["id"]) == rest[3])
            comment |= body
            return _json(comment)
        if request.method == "GET":
            return self._page(request, comments)
        made = {"id": 1000 + self._next(), "system": False, **body}
        comments.append(made)
        return _json(made, 201)

    def _project(self, path: str) -> dict[str, Any]:
        known = self.repositories[path]
        return {
            "path_with_namespace": path,
            "http_url_to_repo": self.git_url.format(path=path),
            "ssh_url_to_repo": f"git@example.org:{path}.git",
            "web_url": f"https://example.org/{path}",
            "default_branch": known.get("default_branch", "main"),
            "visibility": known.get("visibility", "private"),
            "description": known.get("description"),
            "permissions": {"project_access": {"access_level": 40 if self.can_push else 10}},
        }


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(value, status=status, headers=headers)


@asynccontextmanager
async def forge_server(kind: str) -> AsyncIterator[Fake]:
    fake = Fake(kind, scopes="api, write_repository" if kind == "gitlab" else "repo, workflow")
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", fake.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.port = runner.addresses[0][1]
    try:
        yield fake
    finally:
        await runner.cleanup()
