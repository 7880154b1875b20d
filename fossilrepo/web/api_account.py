"""The API's calls for one's own account: who one is, sessions, tokens.

Owns its table of routes. Passwords and the second factor are changed in a browser only.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fossilrepo.services.api_tokens import Scope
from fossilrepo.web.api_call import Call
from fossilrepo.web.api_models import Answer, Body
from fossilrepo.web.visit import Visit, Who


class AccountAnswer(Answer):
    login: str
    name: str
    email: str
    is_admin: bool
    second_factor: bool


class NewToken(Body):
    """`login`: somebody else's, by administrators of the site. `days` null: no end."""

    login: str | None = None
    label: str = ""
    days: int | None = None
    scope: Scope = Scope.READ


class TokenMade(Answer):
    """`token` is shown this once."""

    id: str
    login: str
    scope: Scope
    token: str


class TokenAnswer(Answer):
    id: str
    login: str
    label: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None
    last_used: datetime | None


class TokensAnswer(Answer):
    tokens: list[TokenAnswer]


class SessionAnswer(Answer):
    """`this`: the session that asks."""

    id: str
    created_at: datetime
    last_seen: datetime | None
    address: str
    agent: str
    this: bool


class SessionsAnswer(Answer):
    sessions: list[SessionAnswer]


async def account(visit: Visit, _body: None) -> object:
    user = await visit.services.accounts.user(visit.actor.login)
    return {
        "login": user.login,
        "name": user.name,
        "email": user.email,
        "is_admin": user.is_admin,
        "second_factor": user.has_totp,
    }


async def sessions(visit: Visit, _body: None) -> object:
    user = await visit.services.accounts.user(visit.actor.login)
    found = await visit.services.accounts.sessions(user)
    this = visit.session.id if visit.session else ""
    shown: list[dict[str, Any]] = [
        {
            "id": one.id,
            "created_at": one.created_at,
            "last_seen": one.last_seen,
            "address": one.address,
            "agent": one.agent,
            "this": bool(this) and one.id == this,
        }
        for one in found
    ]
    return {"sessions": shown}


async def end_session(visit: Visit, _body: None) -> object:
    await visit.services.accounts.end_session(visit.actor, visit.path("id"))
    return None


async def tokens(visit: Visit, _body: None) -> object:
    return {"tokens": await visit.services.api_tokens.list(visit.actor, visit.query("login"))}


async def create_token(visit: Visit, body: NewToken) -> object:
    login = body.login or visit.actor.login
    token_id, token = await visit.services.api_tokens.create(
        visit.actor, login, body.label, body.days, body.scope
    )
    return {"id": token_id, "login": login, "scope": body.scope, "token": token}


async def revoke_token(visit: Visit, _body: None) -> object:
    await visit.services.api_tokens.revoke(visit.actor, visit.path("id"))
    return None


_IN = Who.SIGNED_IN
CALLS = (
    Call("GET", "/account", _IN, account, "Who you are", answer=AccountAnswer),
    Call("GET", "/account/sessions", _IN, sessions, "Your sessions", answer=SessionsAnswer),
    Call("DELETE", "/account/sessions/{id}", _IN, end_session, "End a session", status=204),
    Call("GET", "/tokens", _IN, tokens, "Tokens", answer=TokensAnswer, query=("login",)),
    Call("POST", "/tokens", _IN, create_token, "Make a token", NewToken, TokenMade, 201),
    Call("DELETE", "/tokens/{id}", _IN, revoke_token, "End a token", status=204),
)
