"""People's rights, projected into a repository's own `user` table.

Owns the rows of users that this program made, the pseudo-users of Fossil, and
the rule for users that a repository brought along (native users). Who may do
what is decided elsewhere and arrives as a `Plan`; this makes the file say the
same, in one transaction that writes only what differs.

Which users are ours is kept in a `config` row that the sync protocol cannot
write. What a native user could do before we took something away is kept beside
it, so that archiving can be undone from the file alone; and so is what we wrote
last: what differs from it was changed inside Fossil, whatever the plan is now.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fossilrepo.tools.fossil_db import PREFIX, config, reading, writing
from fossilrepo.tools.fossil_write import SETTINGS, differing, put_config

FIRST_USER = "fossilrepo"  # no person may have this login
PSEUDO_USERS = ("nobody", "anonymous", "reader", "developer")
# What an administrator may do without power over users and settings: those are a shell.
ADMIN_CAPABILITIES = "234567ACbcefghijklmnoqrtwxyz"
READ_CAPABILITIES = frozenset("2ghjoruvxz")  # u and v lend what `reader` and `developer` hold
# Reading that Fossil gives together with a letter for more (login_set_capabilities).
_IMPLIED = {"o": "i", "j": "fklm", "r": "cqw", "2": "3456"}
_SUPERUSER = frozenset("as")
OURS = f"{PREFIX}users"
_NATIVES = f"{PREFIX}natives"
_APPLIED = f"{PREFIX}applied"
_UNTRACKED = "-"  # in place of a password's digest: it is its owner's to change
NOTHING = "nothing"
NOT_TEXT = "(a login that is no text)"
_HASH = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Account:
    """One person on one repository; the password is that person's for this repository only."""

    password: str
    capabilities: str
    full_name: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the `user` table must say.

    `users` replaces everyone that we projected before: who is missing is disabled.
    `pseudo` sets the pseudo-users, `nobody` and `anonymous` by visibility; one that is
    missing follows the rule for native users.
    `archived`: native users keep reading only. `elevated` and `native_admins` are the
    logins that may hold `a` and `s` all the same. `adopted` are native logins that now
    belong to one of our people: the person of that name, or closed when it is another.
    """

    users: Mapping[str, Account] = field(default_factory=dict)
    pseudo: Mapping[str, str] = field(default_factory=dict)
    archived: bool = False
    elevated: frozenset[str] = frozenset()
    native_admins: frozenset[str] = frozenset()
    adopted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Native:
    """A user that the repository brought along; `original` is what Fossil's owner gave.

    `adopted`: the row is not its own any more, see `Plan.adopted`.
    """

    login: str
    original: str
    capabilities: str
    info: str
    has_password: bool = False
    adopted: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One row that was written: capabilities before (None: it is new) and after."""

    login: str
    before: str | None
    after: str
    password: bool  # it is another one now


@dataclass(frozen=True, slots=True)
class Drifted:
    """A row that is not as we left it: what was found, and what it was made to be. No hashes."""

    login: str
    found: str
    repaired: str


@dataclass(frozen=True, slots=True)
class Projected:
    """What was written, what others had changed before, the native users, and the collisions.

    A collision is a login of the plan that a native user has, who can sign in.
    """

    changes: tuple[Change, ...]
    drifts: tuple[Drifted, ...]
    natives: tuple[Native, ...]
    collisions: tuple[str, ...]

    @property
    def changed(self) -> tuple[str, ...]:
        """The logins of the rows that were written."""
        return tuple(change.login for change in self.changes)


def password_hash(project_code: str, login: str, password: str) -> str:
    """`user.pw` as Fossil computes it (sha1_shared_secret in its sha1.c)."""
    text = f"{project_code}/{login}/{password}"
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def project(path: Path, plan: Plan) -> Projected:
    """Make the repository's users equal to the plan.

    Raises InvalidInput for a file with a trigger, and ValueError for a plan that hands
    out `a` or `s` without saying so.
    """
    _check(plan)
    with reading(path) as db:
        trial = _Projection(db, plan, writes=False)
        done = trial.run()
    if not trial.pending:
        return done  # the usual case takes no lock
    with writing(path, ("user", "config")) as db:
        return _Projection(db, plan, writes=True).run()


def native_capabilities(original: str, plan: Plan, login: str) -> str:
    """What a native user may do here, given what its repository gave it."""
    letters = set(original)
    if letters & _SUPERUSER and login not in plan.native_admins:
        instead = "" if login in PSEUDO_USERS else ADMIN_CAPABILITIES
        letters = (letters - _SUPERUSER) | set(instead)
    if plan.archived:
        implied = {reading for reading, more in _IMPLIED.items() if letters & set(more)}
        letters = (letters | implied) & READ_CAPABILITIES
    if letters == set(original):
        return original
    return "".join(sorted(letters))


def _check(plan: Plan) -> None:
    for login, account in plan.users.items():
        if login in PSEUDO_USERS:
            raise ValueError(f"{login} is a pseudo-user of Fossil")
        if set(account.capabilities) & _SUPERUSER and login not in plan.elevated:
            raise ValueError(f"{login} would be a superuser without being elevated")
    for login, capabilities in plan.pseudo.items():
        if login not in PSEUDO_USERS or set(capabilities) & _SUPERUSER:
            raise ValueError(f"{login} with {capabilities!r} is no pseudo-user's right")


class _Projection:
    """One run over one open transaction; without `writes` it only finds what would change."""

    def __init__(self, db: sqlite3.Connection, plan: Plan, *, writes: bool) -> None:
        self.db = db
        self.plan = plan
        self.writes = writes
        self.pending = False
        db.text_factory = _lenient
        self.code = config(db, "project-code") or ""
        self.unnameable: list[int] = []
        self.rows: dict[str, tuple[str | None, str, str]] = {}
        for number, raw, pw, cap, info, may in db.execute(
            "SELECT rowid, CASE typeof(login) WHEN 'text' THEN CAST(login AS BLOB) END,"
            " CAST(pw AS TEXT), CAST(cap AS TEXT), CAST(info AS TEXT),"
            " cap <> '' OR pw NOTNULL OR cookie NOTNULL FROM user"
        ):
            login = _login(raw)
            if login is None and may:
                self.unnameable.append(number)
            elif login is not None:
                self.rows[login] = (pw, cap or "", info or "")
        self.ours = _logins(config(db, OURS))
        self.known = _remembered(config(db, _NATIVES))
        self.applied = _applied(config(db, _APPLIED))
        self.after = dict(self.rows)
        self.changes: list[Change] = []

    def run(self) -> Projected:
        collisions = self._people()
        natives = self._natives()
        for login, capabilities in self.plan.pseudo.items():
            self._pseudo(login, capabilities)
        closed = self._close_unnameable()
        drifts = self._drifts()
        if closed and self.applied is not None:
            drifts.append(Drifted(NOT_TEXT, "a new user", NOTHING))
        self._settings(
            {**SETTINGS, OURS: json.dumps(sorted(self.ours)), _APPLIED: self._to_remember()}
        )
        return Projected(tuple(self.changes), tuple(drifts), tuple(natives), tuple(collisions))

    def _people(self) -> list[str]:
        collisions = []
        for login in (self.plan.adopted & self.rows.keys()) - self.ours:
            self.known[login] = {"original": self._original(login), "applied": ""}
            self.ours.add(login)
        for login, account in self.plan.users.items():
            if self._is_taken(login):
                collisions.append(login)
                continue
            self.ours.add(login)
            pw = password_hash(self.code, login, account.password)
            self._put(login, pw, account.capabilities, account.full_name)
        for login in sorted(self.ours - self.plan.users.keys()):
            if login in self.rows:
                self._disable(login)
        return collisions

    def _is_taken(self, login: str) -> bool:
        """A native user of that name who can sign in is somebody else until adopted."""
        if login in self.ours or login in self.plan.adopted or login not in self.rows:
            return False
        return bool(self.rows[login][0])  # rights alone, as in an exported file, are no way in

    def _natives(self) -> list[Native]:
        adopted = self.plan.adopted & self.known.keys()
        kept = {login: self.known[login] for login in adopted}
        natives = []
        for login, (password, _, info) in sorted(self.rows.items()):
            if login in self.ours or login in self.plan.pseudo:
                continue
            original = self._original(login)
            wanted = native_capabilities(original, self.plan, login)
            if wanted != original:
                kept[login] = {"original": original, "applied": wanted}
            if login in PSEUDO_USERS:
                self._put(login, password, wanted, info)
                continue
            self._put(login, self._hashed(login, password), wanted, info)
            natives.append(Native(login, original, wanted, info, bool(password)))
        self._settings({_NATIVES: json.dumps(kept, sort_keys=True)})
        return natives

    def _original(self, login: str) -> str:
        """Changed in Fossil since we took something away: that counts now."""
        before, current = self.known.get(login, {}), self.rows[login][1]
        return before["original"] if before.get("applied") == current else current

    def _hashed(self, login: str, password: str | None) -> str | None:
        """Fossil leaves first passwords in clear text; none stays so."""
        if not password or _HASH.fullmatch(password):
            return password
        return password_hash(self.code, login, password)

    def _pseudo(self, login: str, capabilities: str) -> None:
        password, _, info = self.rows.get(login, (None, "", ""))
        if login == "anonymous" and not password:
            password = secrets.token_hex(8)
        self._put(login, password, capabilities, info)

    def _disable(self, login: str) -> None:
        """Without a password there is no way in, neither on the web nor by sync."""
        self._put(login, None, "", self.rows[login][2])

    def _close_unnameable(self) -> bool:
        """A login that is no text, or none that we can say, escapes every comparison of ours:
        it may do nothing."""
        for number in self.unnameable:
            statement = "UPDATE user SET cap = '', pw = NULL, cookie = NULL WHERE rowid = ?"
            self._write(statement, number)
        return bool(self.unnameable)

    # What others changed

    def _digest(self, login: str, password: str | None) -> str:
        """Tells one hash from another, and is of no use to anybody; only of rows of ours."""
        if login not in self.ours or login in PSEUDO_USERS:
            return _UNTRACKED
        return hashlib.sha256(password.encode()).hexdigest()[:12] if password else ""

    def _to_remember(self) -> str:
        rows = {
            login: [capabilities, self._digest(login, password)]
            for login, (password, capabilities, _) in self.after.items()
        }
        return json.dumps(rows, sort_keys=True, separators=(",", ":"))

    def _drifts(self) -> list[Drifted]:
        """Rows that are not as they were left; none when nothing was ever left."""
        if self.applied is None:
            return []
        found = []
        for login in sorted(self.rows.keys() | self.applied.keys()):
            what = self._found(login, self.applied.get(login))
            if what:
                after = self.after.get(login)
                put = "gone" if after is None else after[1] or NOTHING
                found.append(Drifted(login, what, put))
        return found

    def _found(self, login: str, last: tuple[str, str] | None) -> str:
        row = self.rows.get(login)
        if row is None:
            return "deleted"
        if last is None:
            return f"a new user: {row[1] or NOTHING}"
        digest = self._digest(login, row[0])
        changed = _UNTRACKED not in (digest, last[1]) and digest != last[1]
        password = "another password" if changed else ""
        if row[1] == last[0]:
            return password
        return ", ".join(filter(None, (row[1] or NOTHING, password)))

    def _settings(self, rows: Mapping[str, str]) -> None:
        changed = differing(self.db, rows)
        self.pending = self.pending or bool(changed)
        if self.writes:
            put_config(self.db, changed)

    def _write(self, statement: str, *values: object) -> None:
        self.pending = True
        if self.writes:
            self.db.execute(statement, values)

    def _put(self, login: str, password: str | None, capabilities: str, info: str) -> None:
        wanted = (password, capabilities, info)
        if self.rows.get(login) == wanted:
            return
        previous = self.rows.get(login)
        when = int(time.time())
        if previous is None:
            self._write(
                "INSERT INTO user (login, pw, cap, info, mtime) VALUES (?, ?, ?, ?, ?)",
                *(login, *wanted, when),
            )
        else:
            self._write(
                "UPDATE user SET pw = ?, cap = ?, info = ?, mtime = ? WHERE login = ?",
                *(*wanted, when, login),
            )
        if previous is not None and (previous[0] != password or not capabilities):
            self._write(
                "UPDATE user SET cookie = NULL, cexpire = NULL, ipaddr = NULL WHERE login = ?",
                login,
            )
        self.after[login] = wanted
        self.changes.append(
            Change(
                login,
                previous[1] if previous else None,
                capabilities,
                password != (previous[0] if previous else None),
            )
        )


def _logins(text: str | None) -> set[str]:
    value = _json(text)
    return {name for name in value if isinstance(name, str)} if isinstance(value, list) else set()


def _remembered(text: str | None) -> dict[str, dict[str, str]]:
    value = _json(text)
    if not isinstance(value, dict):
        return {}
    return {
        login: entry
        for login, entry in value.items()
        if isinstance(entry, dict)
        and all(isinstance(entry.get(key), str) for key in ("original", "applied"))
    }


def _applied(text: str | None) -> dict[str, tuple[str, str]] | None:
    value = _json(text)
    if not isinstance(value, dict):
        return None
    return {
        login: (str(entry[0]), str(entry[1]))
        for login, entry in value.items()
        if isinstance(entry, list) and len(entry) == 2
    }


def _json(text: str | None) -> object:
    """What we keep in the file, or None when somebody else wrote it: it may be anything."""
    try:
        value = json.loads(text or "null")
        said = json.dumps(value, ensure_ascii=False)
        said.encode()  # half of a surrogate pair could not be written anywhere
    except (ValueError, RecursionError):
        return None
    return None if "\\u0000" in said else value


def close_first_user(path: Path) -> None:
    """Take password and rights from the user that `fossil init` made, and count it as ours."""
    with writing(path, ("user", "config")) as db:
        db.execute("UPDATE user SET pw = NULL, cap = '' WHERE login = ?", (FIRST_USER,))
        put_config(db, {OURS: json.dumps([FIRST_USER])})


def read_natives(path: Path) -> dict[str, str]:
    """Users that the repository brought along, with what each may do in it now."""
    return {native.login: native.capabilities for native in natives(path) if not native.adopted}


def natives(path: Path) -> tuple[Native, ...]:
    """The same with everything that is known of them, adopted ones too, by login."""
    with reading(path) as db:
        db.text_factory = _lenient
        ours = _logins(config(db, OURS)) | {FIRST_USER, *PSEUDO_USERS}
        known = _remembered(config(db, _NATIVES))
        rows = db.execute(
            "SELECT CAST(login AS BLOB), CAST(cap AS TEXT), CAST(info AS TEXT), length(pw) > 0"
            " FROM user WHERE typeof(login) = 'text' ORDER BY login"
        ).fetchall()
    found = []
    for raw, cap, info, has_password in rows:
        login = _login(raw)
        if login is None:
            continue
        adopted, before = login in ours, known.get(login)
        if adopted and before is None:
            continue
        is_as_left = before is not None and (adopted or before["applied"] == (cap or ""))
        original = before["original"] if before is not None and is_as_left else cap or ""
        found.append(Native(login, original, cap or "", info or "", bool(has_password), adopted))
    return tuple(found)


def _login(raw: bytes | None) -> str | None:
    """The login when it is text that can be said and compared; None for everything else."""
    if raw is None:
        return None
    try:
        login = raw.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in login else login


def _lenient(raw: bytes) -> str:
    return raw.decode(errors="replace")
