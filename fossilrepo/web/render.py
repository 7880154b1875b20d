"""Pages, redirects and notices.

Owns the template environment, what every page needs (who is signed in, the CSRF
token, warnings), and the notice that a redirect leaves for the next page. A
notice is a word of the list here, never free text.
"""

from __future__ import annotations

from typing import Any

import aiohttp_jinja2
import jinja2
from aiohttp import web

from fossilrepo import __version__, resources
from fossilrepo.errors import FossilrepoError
from fossilrepo.services.passwords import MIN_PASSWORD
from fossilrepo.traces import span
from fossilrepo.web import auth
from fossilrepo.web.filters import FILTERS
from fossilrepo.web.static_files import StaticFiles
from fossilrepo.web.visit import Visit

NOTICE_COOKIE = "fossilrepo-notice"
NOTICES = {
    "set-up": "Welcome. You are the administrator of this site; create the first repository.",
    "created": "The repository is ready: clone it with the command below.",
    "configured": "The settings are saved.",
    "renamed": "The repository has its new name; the old one leads to it for 90 days.",
    "moved": "The repository belongs to that organization now.",
    "archived": "The repository is archived: who could read still can, nobody can write.",
    "unarchived": "The repository is active again.",
    "deleted": "The repository is in the trash. Nothing of it is lost until it is purged.",
    "restored": "The repository is back.",
    "purged": "The repository is purged. Its replica is kept for a while: see Backups.",
    "preview-ended": "The preview has ended.",
    "joined": "Welcome. This is your account; the repositories that you can go to are below.",
    "password-reset": "Your new password is set: sign in with it.",
    "invitation-ended": "The invitation has ended; its link is worth nothing now.",
    "person-configured": "Name and e-mail address are saved.",
    "person-renamed": "The person has the new login, here and in every repository.",
    "person-deleted": "The person is gone, here and from every repository.",
    "admin-made": "The person is an administrator of this site now.",
    "admin-unmade": "The person is no administrator of this site any more.",
    "second-factor-off": "The second factor is off: the password alone signs in.",
    "person-created": "The person can sign in now.",
    "person-disabled": "The person is disabled, here and in every repository.",
    "person-enabled": "The person is enabled again.",
    "password-set": "The new password is set; their other sessions have ended.",
    "own-password-set": "Your new password is set; your other sessions have ended.",
    "org-created": "The organization is there.",
    "org-saved": "The changes are saved.",
    "org-deleted": "The organization is gone.",
    "team-created": "The team is there: add members, then grant it a role somewhere.",
    "team-deleted": "The team is gone, and what was granted to it.",
    "member-set": "The change counts from now on.",
    "member-removed": "The person is no longer in it; what came from it is taken back everywhere.",
    "granted": "The role is given; it counts from the next request on.",
    "revoked": "The grant is taken away.",
    "adopted": "The user of the repository is that person now. Roles come from grants.",
    "key-ended": "The key opens nothing any more.",
    "elevated": "You have Fossil's setup right here for 15 minutes. It is in the audit log.",
    "elevation-ended": "The setup right is gone.",
    "own-saved": "Your name and e-mail address are saved.",
    "second-factor-ended": "The second factor is off: your password alone signs you in.",
    "session-ended": "That session has ended.",
    "sessions-ended": "All your other sessions have ended.",
    "token-ended": "The token has ended.",
    "mirror-added": "The mirror is there. Its first run is below.",
    "mirror-saved": "The settings of the mirror are saved; it is tried with them now.",
    "mirror-runs": "A run was asked for.",
    "mirror-taken-over": "The mirror may overwrite what was found there; it runs now.",
    "mirror-trusts": "The next key that the server shows is trusted.",
    "mirror-paused": "The mirror rests until it is resumed.",
    "mirror-resumed": "The mirror runs again.",
    "mirror-removed": "The mirror is gone; the remote stays as it is.",
    "author-set": "The author is called so in Git.",
    "rule-added": "The rule is there, and every repository has its mirror.",
    "rule-changed": "The rule has the new token, and its mirrors are tried with it.",
    "rule-removed": "The rule is gone.",
    "upstream-set": "The upstream is set.",
    "upstream-runs": "A run was asked for.",
    "upstream-paused": "The upstream rests until it is resumed.",
    "upstream-resumed": "The upstream runs again.",
    "upstream-removed": "The upstream is forgotten; all content stays.",
    "webhook-changed": "The webhook is changed.",
    "webhook-removed": "The webhook is gone.",
    "webhook-sent": "The message was delivered.",
    "webhook-not-sent": "The message was not delivered: see below why.",
    "rotated": "There are new Fossil passwords for every repository.",
}


def set_up(app: web.Application, static: StaticFiles) -> None:
    """The template environment of the site."""
    env = aiohttp_jinja2.setup(
        app,
        loader=jinja2.FileSystemLoader(str(resources.templates())),
        autoescape=True,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        filters=FILTERS,
    )
    env.globals.update(static=static.url, version=__version__, MIN_PASSWORD=MIN_PASSWORD)


def page(visit: Visit, template: str, *, status: int = 200, **context: Any) -> web.Response:
    """The template as a page."""
    known = _context(visit, context)
    with span("template"):
        text = aiohttp_jinja2.render_string(template, visit.request, known)
    response = web.Response(status=status, text=text, content_type="text/html")
    if known["notice"]:
        response.del_cookie(NOTICE_COOKIE, path="/")
    return response


def piece(visit: Visit, template: str, **context: Any) -> str:
    """The template as text, for a page that is there already."""
    return aiohttp_jinja2.render_string(template, visit.request, _context(visit, context))


def _context(visit: Visit, given: dict[str, Any]) -> dict[str, Any]:
    """What every page has. `error` and `form` are there for its forms when not given."""
    return {
        "error": None,
        "form": {},
        "visit": visit,
        "user": visit.user,
        "csrf": visit.csrf,
        "notice": NOTICES.get(visit.request.cookies.get(NOTICE_COOKIE, ""), ""),
        "insecure": auth.is_insecure(visit.request),
        "read_only": visit.services.health.read_only_reason() if visit.user else None,
        "links": visit.services.links,
        "has_orgs": visit.services.access.is_shared,
        **given,
    }


def again(
    visit: Visit, template: str, error: FossilrepoError, form: Any, **context: Any
) -> web.Response:
    """The page with a form once more, what was typed still in it, and what is wrong with it."""
    response = page(visit, template, status=error.status, error=error, form=form, **context)
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        response.headers["Retry-After"] = str(int(retry_after))
    return response


def see(path: str, notice: str = "") -> web.Response:
    """On to another page after something was done (303), with a notice from the list."""
    response = web.Response(status=303, headers={"Location": path})
    if notice:
        if notice not in NOTICES:
            raise KeyError(notice)
        response.set_cookie(
            NOTICE_COOKIE, notice, max_age=60, path="/", httponly=True, samesite="Lax"
        )
    return response
