"""Rules by which all repositories of an organization are mirrored, and the badge of a mirror.

Owns the page of the rules and the picture.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web
from markupsafe import escape

from fossilrepo.bridge import ForgeKind, Mirror, MirrorState
from fossilrepo.errors import FossilrepoError, InvalidInput, NotFound
from fossilrepo.web import forms, render
from fossilrepo.web.visit import Form, Route, Visit, Who

_RULES = "/orgs/{org}/mirrors"
# Worst first: a badge tells of the worst of them.
_WORST = (
    MirrorState.STOPPED,
    MirrorState.FAILING,
    MirrorState.PAUSED,
    MirrorState.BEHIND,
    MirrorState.RUNNING,
    MirrorState.NEW,
    MirrorState.IN_SYNC,
)
_COLOURS = {
    MirrorState.IN_SYNC: "#1a7f37",
    MirrorState.FAILING: "#b42318",
    MirrorState.STOPPED: "#b42318",
}
_WIDTH = 6.6  # of a character, in pixels
_BADGE = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" \
aria-label="mirror: {word}"><title>mirror: {word}</title>\
<rect width="{width}" height="20" rx="3" fill="#555"/>\
<rect x="48" width="{right}" height="20" rx="3" fill="{colour}"/>\
<rect x="48" width="4" height="20" fill="{colour}"/>\
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">\
<text x="7" y="14">mirror</text><text x="54" y="14">{word}</text></g></svg>
"""


async def rules(visit: Visit) -> web.StreamResponse:
    return render.page(visit, "mirror_rules.html", **await _known(visit))


async def _known(visit: Visit) -> dict[str, Any]:
    org, services = visit.path("org"), visit.services
    found = await services.mirror_rules.list(visit.actor, org)
    counts = {
        rule.id: len(await services.mirror_rules.mirrors(visit.actor, rule.id)) for rule in found
    }
    return {"org": org, "rules": found, "counts": counts, "kinds": list(ForgeKind), "at": ""}


async def add(visit: Visit) -> web.StreamResponse:
    form, org = await forms.fields(visit), visit.path("org")
    try:
        kind = ForgeKind(form["kind"]) if form["kind"] in set(ForgeKind) else None
        await visit.services.mirror_rules.add(
            visit.actor,
            org,
            form["url"],
            kind=kind,
            api_url=form["api_url"],
            user=form["user"],
            token=form.raw("token").strip(),
            branches=form["branches"] or "*",
            schedule=form["schedule"],
            on_change=bool(form["on_change"]),
            create=bool(form["create"]),
        )
    except FossilrepoError as error:
        known = await _known(visit) | {"at": "add"}
        return render.again(visit, "mirror_rules.html", error, form, **known)
    return render.see(f"/orgs/{org}/mirrors", "rule-added")


async def set_token(visit: Visit) -> web.StreamResponse:
    form, org = await forms.fields(visit), visit.path("org")
    try:
        token = form.raw("token").strip()
        if not token:
            raise InvalidInput("no token was typed", field="token")
        await visit.services.mirror_rules.set_token(visit.actor, form["rule"], token)
    except FossilrepoError as error:
        known = await _known(visit) | {"at": "token"}
        return render.again(visit, "mirror_rules.html", error, form, **known)
    return render.see(f"/orgs/{org}/mirrors", "rule-changed")


async def remove(visit: Visit) -> web.StreamResponse:
    form, org = await forms.fields(visit), visit.path("org")
    await visit.services.mirror_rules.remove(
        visit.actor, form["rule"], mirrors=bool(form["mirrors"])
    )
    return render.see(f"/orgs/{org}/mirrors", "rule-removed")


# The badge


async def badge(visit: Visit) -> web.StreamResponse:
    """The worst state of the mirrors of a public repository."""
    mirrors = await visit.services.mirrors.shown_outside(visit.reader, visit.path("name"))
    if not mirrors:
        raise NotFound("there is no such badge")
    word, colour = _worst(mirrors)
    right = 12 + _WIDTH * len(word)
    text = _BADGE.format(
        width=round(48 + right), right=round(right), word=escape(word), colour=colour
    )
    return web.Response(
        text=text,
        content_type="image/svg+xml",
        headers={"Cache-Control": "no-cache", "Cross-Origin-Resource-Policy": "cross-origin"},
    )


def _worst(mirrors: list[Mirror]) -> tuple[str, str]:
    states = {mirror.standing.state for mirror in mirrors}
    worst = next(state for state in _WORST if state in states)
    behind = max(mirror.standing.lag_checkins for mirror in mirrors)
    word = "in sync" if worst is MirrorState.IN_SYNC else str(worst)
    if worst is MirrorState.BEHIND and behind:
        word = f"{behind} behind"
    return word, _COLOURS.get(worst, "#9a6700")


_IN = Who.SIGNED_IN
ROUTES = (
    Route("GET", _RULES, _IN, rules),
    Route("POST", _RULES, _IN, add),
    Route("POST", _RULES + "/token", _IN, set_token),
    Route("POST", _RULES + "/remove", _IN, remove),
    Route("GET", "/badge/{name}/mirror.svg", Who.PUBLIC, badge, Form.TEXT),
)
