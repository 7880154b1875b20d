"""People's rights as plain values, the same for `--json` and the API.

Owns the keys, which are promised to scripts. Times are RFC 3339.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fossilrepo.models import AccessKey, iso
from fossilrepo.rights import Effective, Organization

if TYPE_CHECKING:  # the command line needs none of these to start
    from fossilrepo.services.grants import AccessReport
    from fossilrepo.services.natives import NativeView
    from fossilrepo.services.organizations import GrantView


def organization(org: Organization) -> dict[str, Any]:
    return {
        "name": org.name,
        "title": org.title,
        "default_role": org.default_role,
        "members_create": org.members_create,
        "skin": org.skin,
        "created_at": iso(org.created_at),
    }


def grant(one: GrantView) -> dict[str, Any]:
    return {
        "holder": one.holder,
        "is_team": one.is_team,
        "place": one.place,
        "role": one.grant.role,
        "granted_by": one.grant.granted_by,
        "granted_at": iso(one.grant.granted_at),
    }


def effective(what: Effective) -> dict[str, Any]:
    reasons = [{"role": reason.role, "why": reason.why} for reason in what.reasons]
    return {"role": what.role, "reasons": reasons}


def native(one: NativeView) -> dict[str, Any]:
    return {
        "login": one.login,
        "capabilities": one.capabilities,
        "original": one.original,
        "role": one.role,
        "info": one.info,
        "has_password": one.has_password,
        "collides": one.collides,
        "adopted_by": one.adopted_by,
    }


def access_key(key: AccessKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "login": key.login,
        "label": key.label,
        "role": key.role,
        "created_by": key.created_by,
        "created_at": iso(key.created_at),
        "expires_at": iso(key.expires_at),
        "last_used": iso(key.last_used),
    }


def access(report: AccessReport) -> dict[str, Any]:
    """Who can do what in one repository, and why."""
    return {
        "repository": report.repository.label,
        "visibility": report.repository.visibility,
        "people": [
            {"login": user.login, "name": user.name, **effective(what)}
            for user, what in report.people
        ],
        "grants": [grant(one) for one in report.grants],
        "natives": [native(one) for one in report.natives],
        "keys": [access_key(key) for key in report.keys],
        "elevated": [{"login": login, "until": iso(until)} for login, until in report.elevated],
        "drifts": [
            {
                "login": drift.login,
                "at": iso(drift.at),
                "found": drift.found,
                "repaired": drift.repaired,
            }
            for drift in report.drifts
        ],
    }
