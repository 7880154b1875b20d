"""Many people at once, from a CSV file: an account, memberships and a link for each.

Owns the form of the file and its checks. Everything is checked before anything is done, and
all of it is one transaction: a file is taken whole or not at all.
"""

from __future__ import annotations

import asyncio
import csv
import io
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from fossilrepo.db.logins import LoginStore, Newcomer
from fossilrepo.errors import FossilrepoError, InvalidInput
from fossilrepo.models import Actor, check_login, check_text, now
from fossilrepo.rights import Directory
from fossilrepo.services.access import Access
from fossilrepo.services.audit import Audit
from fossilrepo.services.keys import Keys
from fossilrepo.services.links import Links
from fossilrepo.services.mail import Mail, check_address
from fossilrepo.services.natives import Natives
from fossilrepo.services.resets import Resets, new_token

log = logging.getLogger(__name__)

COLUMNS = ("login", "name", "email", "org", "teams")
LIFE = timedelta(days=7)
MOST_ROWS = 1000
MOST_BYTES = 2**20
MOST_TOLD = 8  # wrong rows that one error names
MAILS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Imported:
    """One person; by the link they set their password. `collides`: see `People.collisions`."""

    login: str
    email: str
    url: str
    mailed: bool = False
    mail_error: str = ""
    collides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    login: str
    name: str
    email: str
    org_id: int | None
    team_ids: tuple[int, ...]


class PeopleImport:
    def __init__(
        self,
        logins: LoginStore,
        access: Access,
        natives: Natives,
        resets: Resets,
        keys: Keys,
        mail: Mail,
        links: Links,
        audit: Audit,
    ) -> None:
        self._logins = logins
        self._access = access
        self._natives = natives
        self._resets = resets
        self._keys = keys
        self._mail = mail
        self._links = links
        self._audit = audit

    async def run(self, actor: Actor, text: str, *, mail: bool) -> list[Imported]:
        """Administrators of the site only, which the caller has checked."""
        rows = await self._checked(text)
        newcomers, made, at = [], [], now()
        for row in rows:
            token, waiting = new_token(actor, LIFE)
            values = {
                "login": row.login,
                "name": row.name,
                "email": row.email,
                "is_admin": False,
                "disabled": False,
                "password_hash": "",
                "sync_secret": self._keys.new_sync_secret(),
                "created_at": at,
            }
            newcomers.append(Newcomer(values, row.org_id, team_ids=row.team_ids, token=waiting))
            made.append(Imported(row.login, row.email, self._resets.url(token)))
        await self._logins.admit(newcomers)
        for one in made:
            await self._audit.record(actor, "person.create", one.login, imported=True)
        held = {login: names for login, names, _ in await self._natives.everywhere(actor)}
        made = [replace(one, collides=held.get(one.login, ())) for one in made]
        return await self._mailed(actor, made) if mail and self._mail.configured else made

    async def _mailed(self, actor: Actor, made: list[Imported]) -> list[Imported]:
        places = asyncio.Semaphore(MAILS_AT_ONCE)

        async def one(person: Imported) -> Imported:
            if not person.email:
                return person
            text = (
                f"Hello,\n\n{actor.login} made an account for you at {self._links.public_url}, "
                f"with the login {person.login}. Set your password here:\n\n{person.url}\n\n"
                f"The link works once, within {LIFE.days} days.\n"
            )
            try:
                async with places:
                    subject = f"Your account at {self._links.domain}"
                    await self._mail.send(person.email, subject, text)
            except FossilrepoError as error:
                return replace(person, mail_error=error.message)
            return replace(person, mailed=True)

        return list(await asyncio.gather(*map(one, made)))

    async def _checked(self, text: str) -> list[_Row]:
        directory = await self._access.directory()
        rows: list[_Row] = []
        wrong: list[str] = []
        for line, values in _records(text):
            try:
                rows.append(_row(line, values, directory))
            except InvalidInput as error:
                wrong.append(f"line {line}: {error.message}")
        taken = await self._logins.taken([row.login for row in rows])
        seen: set[str] = set()
        for row in rows:
            if row.login in taken:
                wrong.append(f"line {row.line}: the login {row.login!r} is taken")
            if row.login in seen:
                wrong.append(f"line {row.line}: the login {row.login!r} is there twice")
            seen.add(row.login)
        if wrong:
            more = len(wrong) - MOST_TOLD
            told = "; ".join(wrong[:MOST_TOLD]) + (f"; and {more} more" if more > 0 else "")
            raise InvalidInput(told, hint="nobody was made: correct the file", field="file")
        if not rows:
            raise InvalidInput("there is nobody in the file", field="file")
        return rows


def _records(text: str) -> list[tuple[int, Mapping[str, str]]]:
    """(line, values) of each row that is not empty."""
    if len(text) > MOST_BYTES:
        raise InvalidInput(f"the file has more than {MOST_BYTES:,} characters", field="file")
    lines = text.removeprefix("\ufeff")
    head = lines.partition("\n")[0]
    separator = ";" if ";" in head and "," not in head else ","
    reader = csv.DictReader(io.StringIO(lines, newline=""), delimiter=separator, strict=True)
    found: list[tuple[int, Mapping[str, str]]] = []
    try:
        names = [(name or "").strip().lower() for name in reader.fieldnames or ()]
        unknown = [name for name in names if name not in COLUMNS]
        if "login" not in names or unknown or len(set(names)) != len(names):
            raise InvalidInput(
                "the first line must name the columns: login and, if wanted, name, email, org, "
                "teams" + (f"; there is {unknown[0][:40]!r}" if unknown else ""),
                field="file",
            )
        reader.fieldnames = names
        for values in reader:
            if None in values or None in values.values():
                raise InvalidInput(
                    f"line {reader.line_num}: it needs {len(names)} values, one for each column",
                    field="file",
                )
            row = {key: value.strip() for key, value in values.items()}
            if any(row.values()):
                found.append((reader.line_num, row))
            if len(found) > MOST_ROWS:
                raise InvalidInput(f"there are more than {MOST_ROWS} people", field="file")
    except csv.Error as error:
        raise InvalidInput(f"line {reader.line_num}: {error}", field="file") from None
    return found


def _row(line: int, values: Mapping[str, str], directory: Directory) -> _Row:
    email, org_name = values.get("email", ""), values.get("org", "")
    org = directory.organizations.get(org_name)
    if org_name and org is None:
        raise InvalidInput(f"there is no organization {org_name[:80]!r}")
    known = {t.name: t.id for t in directory.teams.values() if org and t.org_id == org.id}
    teams = [name for name in re.split(r"[\s;,|]+", values.get("teams", "")) if name]
    for name in teams:
        if name not in known:
            where = f"in {org_name}" if org else "without an organization"
            raise InvalidInput(f"there is no team {name[:80]!r} {where}")
    return _Row(
        line=line,
        login=check_login(values["login"]),
        name=check_text(values.get("name", ""), what="name", most=100),
        email=check_address(email) if email else "",
        org_id=org.id if org else None,
        team_ids=tuple(dict.fromkeys(known[name] for name in teams)),
    )
