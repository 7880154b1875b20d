"""The API's calls for who is inside repositories: native users, access keys, the setup right.

Owns its table of routes. Checks nothing itself.
"""

from __future__ import annotations

from fossilrepo.models import iso
from fossilrepo.rights import Role
from fossilrepo.services import people_json
from fossilrepo.web import api_access_models as m
from fossilrepo.web.api_call import Call
from fossilrepo.web.visit import Visit, Who

# Native users


async def natives(visit: Visit, _body: None) -> object:
    found = await visit.services.natives.list(visit.actor, visit.path("name"))
    shown = [people_json.native(native) for native in found]
    return {"natives": shown}


async def natives_everywhere(visit: Visit, _body: None) -> object:
    found = await visit.services.natives.everywhere(visit.actor)
    return {
        "natives": [
            {"login": login, "repositories": list(names), "suggestion": suggestion}
            for login, names, suggestion in found
        ]
    }


async def adopt(visit: Visit, body: m.Adoption) -> object:
    return await _adopt(visit, visit.path("name"), body)


async def adopt_everywhere(visit: Visit, body: m.Adoption) -> object:
    return await _adopt(visit, None, body)


async def _adopt(visit: Visit, name: str | None, body: m.Adoption) -> object:
    count = await visit.services.natives.adopt(visit.actor, name, body.native, body.person)
    return {"native": body.native, "person": body.person, "repositories": count}


# Access keys


async def access_keys(visit: Visit, _body: None) -> object:
    found = await visit.services.access_keys.list(visit.actor, visit.path("name"))
    return {"access_keys": [people_json.access_key(key) for key in found]}


async def create_access_key(visit: Visit, body: m.NewAccessKey) -> object:
    name = visit.path("name")
    key, password = await visit.services.access_keys.create(
        visit.actor, name, Role(body.role), label=body.label, days=body.days
    )
    url = visit.services.links.clone_url(name, key.login)
    return {**people_json.access_key(key), "password": password, "clone_url": url}


async def access_key_password(visit: Visit, _body: None) -> object:
    name, key_id = visit.path("name"), visit.path("id")
    password = await visit.services.access_keys.reveal(visit.actor, name, key_id)
    known = await visit.services.access_keys.list(visit.actor, name)
    login = next((key.login for key in known if key_id in (key.id, key.login)), key_id)
    return {"login": login, "password": password}


async def revoke_access_key(visit: Visit, _body: None) -> object:
    await visit.services.access_keys.revoke(visit.actor, visit.path("name"), visit.path("id"))
    return None


# The setup right


async def elevations(visit: Visit, _body: None) -> object:
    found = await visit.services.elevation.list(visit.actor)
    return {
        "elevations": [
            {"repository": one.repository, "login": one.login, "until": iso(one.until)}
            for one in found
        ]
    }


async def elevate(visit: Visit, _body: None) -> object:
    name = visit.path("name")
    until = await visit.services.elevation.elevate(visit.actor, name)
    return {"repository": name, "login": visit.actor.login, "until": iso(until)}


async def end_elevation(visit: Visit, _body: None) -> object:
    await visit.services.elevation.end(visit.actor, visit.path("name"))
    return None


_ONE = "/repositories/{name}"
_KEYS, _KEY = _ONE + "/access-keys", _ONE + "/access-keys/{id}"
_IN, _ADMIN = Who.SIGNED_IN, Who.ADMIN
CALLS = (
    Call("GET", _ONE + "/natives", _IN, natives, "Its native users", answer=m.NativesAnswer),
    Call("POST", _ONE + "/natives", _IN, adopt, "Adopt one", m.Adoption, m.Adopted),
    Call(
        "GET",
        "/natives",
        _ADMIN,
        natives_everywhere,
        "Native users that nobody has adopted",
        answer=m.NativesEverywhere,
    ),
    Call(
        "POST",
        "/natives",
        _ADMIN,
        adopt_everywhere,
        "Adopt all of one login",
        m.Adoption,
        m.Adopted,
    ),
    Call("GET", _KEYS, _IN, access_keys, "Its access keys", answer=m.AccessKeysAnswer),
    Call(
        "POST",
        _KEYS,
        _IN,
        create_access_key,
        "Make an access key",
        m.NewAccessKey,
        m.NewAccessKeyAnswer,
        201,
    ),
    Call(
        "POST",  # a token that may only read does not get at a secret that may write
        _KEY + "/password",
        _IN,
        access_key_password,
        "The key's password",
        answer=m.AccessKeyPassword,
    ),
    Call("DELETE", _KEY, _IN, revoke_access_key, "Revoke", status=204),
    Call("GET", "/elevations", _ADMIN, elevations, "Who may set up", answer=m.ElevationsAnswer),
    Call(
        "POST",
        _ONE + "/elevation",
        _IN,
        elevate,
        "Take the setup right for 15 minutes",
        answer=m.ElevationAnswer,
    ),
    Call("DELETE", _ONE + "/elevation", _IN, end_elevation, "Give it back", status=204),
)
