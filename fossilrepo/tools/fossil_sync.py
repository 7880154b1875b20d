"""Exchange of content between a live repository and another Fossil, by Fossil's own client.

Owns the command line, what its words mean, and the question whether the other side would take
part. The client ends with 0 whatever happened (tried, 2.21: refused, 413, another project,
nobody there), so only its words count, and what was sent is asked for again.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fossilrepo.bridge import Direction
from fossilrepo.errors import InvalidInput, ToolFailed, Unavailable
from fossilrepo.tools import checked_http, fossil_db, fossil_write
from fossilrepo.tools.addresses import is_within, plain_refused, resolve
from fossilrepo.tools.fossil import FIRST_USER, Fossil, Limits, without_secrets
from fossilrepo.tools.git import check_url, with_credentials
from fossilrepo.tools.relay import Relay

OnLine = Callable[[str], None]
_TRIP = re.compile(r"Round-trips: *\d+ +Artifacts sent: *(\d+) +received: *(\d+)")
_ERROR = re.compile(r"^Error: (.*)$", re.MULTILINE)
_SERVER = re.compile(
    r"^(?:server (?:says|sends error): *|cannot connect to host )(.*)$", re.MULTILINE
)
_KIND = "application/x-fossil-uncompressed"
_ASKED = {Direction.PULL: "pull", Direction.PUSH: "push", Direction.SYNC: "push"}


@dataclass(frozen=True, slots=True)
class Exchanged:
    """Artifacts that went out and came in."""

    sent: int
    received: int


async def exchange(
    fossil: Fossil,
    path: Path,
    url: str,
    *,
    direction: Direction,
    user: str = "",
    password: str = "",
    private: bool = False,
    unversioned: bool = False,
    networks: Sequence[str],
    limits: Limits,
    on_line: OnLine | None = None,
) -> Exchanged:
    """Bring both sides, or one, up to date. Nothing of the address is kept in the repository.

    Raises InvalidInput when it may not go there, ToolFailed with the other side's words, and
    Unavailable when nobody answers there.
    """
    facts = await asyncio.to_thread(fossil_db.read_facts, path)
    await ask(
        url,
        facts.project_code,
        direction=direction,
        user=user,
        password=password,
        networks=networks,
    )
    address = with_credentials(url, user, password)
    total = Exchanged(0, 0)
    async with Relay(address, networks) as relay:
        try:
            for _ in range(4):  # until one more finds nothing to do
                done = await _once(
                    fossil, path, relay, direction, private, unversioned, limits, on_line
                )
                total = Exchanged(total.sent + done.sent, total.received + done.received)
                if not done.sent and not done.received:
                    return total
        finally:
            await asyncio.to_thread(fossil_write.disarm, path, entering=True)
    if direction is Direction.PULL:
        return total  # who pushes there at the same time is nothing wrong
    raise ToolFailed("the other side does not keep what it is sent", hint="look at its log")


async def _once(
    fossil: Fossil,
    path: Path,
    relay: Relay,
    direction: Direction,
    private: bool,
    unversioned: bool,
    limits: Limits,
    on_line: OnLine | None,
) -> Exchanged:
    user = await asyncio.to_thread(_user, path)
    options = ["--once", "-R", str(path), "--user", user]
    options += ["--private"] if private else []
    options += ["-u"] if unversioned else []
    done = await fossil.exchange(str(direction), options, relay.url, limits, on_line)
    said = f"{done.stdout.decode(errors='replace')}\n{done.stderr}".replace("\r", "\n")
    _expect(said, done.returncode, relay)
    trips = _TRIP.findall(said)
    return Exchanged(int(trips[-1][0]), int(trips[-1][1]))


def _expect(said: str, status: int, relay: Relay) -> None:
    if relay.refusal:
        if "does not answer" in relay.refusal:
            raise Unavailable(relay.refusal, hint="it is tried again by itself")
        raise InvalidInput(relay.refusal, field="url")
    errors = [without_secrets(one).strip()[:300] for one in _ERROR.findall(said)]
    if errors:
        raise ToolFailed(f"the other Fossil says: {errors[-1]}", hint=_hint(errors[-1]))
    server = [without_secrets(one).strip()[:300] for one in _SERVER.findall(said)]
    if server or not _TRIP.search(said):
        words = server[-1] if server else "it gave no answer of a Fossil"
        raise Unavailable(f"the other server says: {words}", hint="is the address right?")
    if status != 0:
        raise ToolFailed(f"fossil ended with {status}")


def _hint(words: str) -> str:
    if "wrong project" in words:
        return "it is another project: only copies of the same one can exchange content"
    if "login failed" in words:
        return "set the right login and password"
    if "not authorized" in words:
        return "the login needs the right to do this there"
    return ""


def _user(path: Path) -> str:
    """A login that the file has: Fossil does not start without."""
    with fossil_db.reading(path) as db:
        row = db.execute("SELECT 1 FROM user WHERE login = ?", (FIRST_USER,)).fetchone()
    return FIRST_USER if row else "nobody"


async def ask(
    url: str,
    project_code: str,
    *,
    direction: Direction,
    user: str,
    password: str,
    networks: Sequence[str],
) -> None:
    """Whether the other side knows the project and lets us in; nothing is exchanged.

    One message of the sync protocol (www/sync.wiki). Errors are as those of `exchange`.
    """
    check_url(url, ("https", "http"))
    await require_way(url, networks)
    card = _ASKED[direction]
    said = await _said(url, _message(card, project_code, user, password), networks)
    if "login failed" in said:  # the proof has the project in it: is it the right one?
        plain = await _said(url, _message(card, project_code, "", ""), networks)
        said = plain if "wrong project" in plain else said
    if said:
        raise ToolFailed(f"the other Fossil says: {said}", hint=_hint(said))


def _message(card: str, project_code: str, user: str, password: str) -> str:
    message = f"{card} {'0' * 40} {project_code}\n"
    if not user:
        return message
    nonce = _sha1(message)
    proof = _sha1(nonce + _sha1(f"{project_code}/{user}/{password}"))
    return f"login {_escaped(user)} {nonce} {proof}\n{message}"


async def _said(url: str, message: str, networks: Sequence[str]) -> str:
    """The error that a server answers with; empty when it takes part."""
    answer = await checked_http.request(
        "POST",
        url,
        networks=networks,
        headers={"Content-Type": _KIND},
        body=message.encode(),
    )
    if answer.status != 200:
        raise Unavailable(
            f"{checked_http.shown(url)} answers with {answer.status}",
            hint="is it the address that `fossil clone` takes?",
        )
    if not answer.headers.get("content-type", "").startswith("application/x-fossil"):
        raise ToolFailed(
            f"{checked_http.shown(url)} is no Fossil repository",
            hint="write the address that `fossil clone` takes",
        )
    errors = re.findall(r"^error (.*)$", _opened(answer), re.MULTILINE)
    return errors[0].replace("\\s", " ")[:300] if errors else ""


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(" ", "\\s")


def _opened(answer: checked_http.Answer) -> str:
    if answer.headers.get("content-type", "") == "application/x-fossil":
        try:
            return zlib.decompressobj().decompress(answer.body[4:], 1 << 22).decode("latin-1")
        except zlib.error:
            return ""
    return answer.body.decode("latin-1")


async def require_way(url: str, networks: Sequence[str]) -> None:
    """InvalidInput when the address leads where nothing may go, or without TLS in the open."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        address = await resolve(host, port, networks)
    except InvalidInput as error:
        if error.message.endswith("is not known"):
            raise Unavailable(error.message, hint="is the name right?") from None
        raise
    if parts.scheme == "http" and not is_within(address, networks):
        raise InvalidInput(plain_refused(host), field="url")
