"""The walls around `fossil server`: a repository file may be hostile, the server may not.

Owns the layout of the jail folder (`data/repos`), the command line of the
server in it, and the probe that finds by trying which walls this machine can
put up. Knows nothing of the supervisor that runs the command.

In a namespace the server sees no other process, has no capability but chroot,
and enters a root that holds repositories only: no shell, no interpreter, no
secret. Its first process is a shell that only waits; when it ends, the kernel
ends everything in the namespace, also what left its process group.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fossilrepo.errors import ToolFailed
from fossilrepo.runtime.launch import launch
from fossilrepo.runtime.process import Command
from fossilrepo.tools.identity import Identity, give

Kind = Literal["namespace", "chroot", "none"]

_PROBE_SECONDS = 5.0
_DEVICES = {"null": (1, 3), "urandom": (1, 9)}
_CAPABILITIES = ("--bounding-set=-all,+sys_chroot", "--inh-caps=-all", "--no-new-privs")
_MAP_SELF = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child")
# What Fossil has to say goes through a pipe with a name. Fossil 2.21 closes its standard error
# after it wrote one warning there; SQLite then takes the number for a file and warns in the middle
# of the answer, and that clone fails. The launcher holds both ends: nobody waits for a reader.
_ERRORS = "dev/errors"
_ERRORS_IN_THE_OPEN = "tmp/errors"  # without walls, the account may not write into `dev`
_OWN_DEVICES = """mount -t tmpfs -o mode=755,size=64k none "$1/dev"
touch "$1/dev/null" "$1/dev/urandom"
mount --bind /dev/null "$1/dev/null"
mount --bind /dev/urandom "$1/dev/urandom"
"""
# $1: the jail; $2: the pipe; the rest: the server's own command line.
_LAUNCHER = """set -eu
%scd "$1"
errors=$2
shift 2
rm -f "$errors"
mkfifo -m 622 "$errors"
exec 3<>"$errors"
cat <&3 >&2 3>&- &
reader=$!
"$@" 3>&- &
child=$!
trap 'kill -TERM "$child" 2>/dev/null' TERM INT
trap 'kill -KILL "$reader" 2>/dev/null || :; rm -f "$errors"' EXIT
wait "$child"
"""


@dataclass(frozen=True, slots=True)
class Wall:
    name: str
    stands: bool
    why: str


@dataclass(frozen=True, slots=True)
class Walls:
    """What separates Fossil from the machine here, for the command and for people."""

    kind: Kind
    identity: str
    account: Identity | None
    details: tuple[Wall, ...]


def environment() -> dict[str, str]:
    """Made from nothing: no key and no setting of ours reaches a child of Fossil.

    There is no HOME: the server needs none, and a shared one could be written by others.
    """
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "TZ": "UTC"}


def prepare(repos: Path, identity: Identity | None) -> None:
    """Make the folders of the jail, owned by the account; safe to repeat.

    Fossil drops to the owner of the folder, so it must be the account's, and so must
    every file in it, also after the account changed.
    """
    closed = (repos / ".store", repos / ".previews")
    for folder in (repos, *closed, repos / ".served", repos / "tmp"):
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        give(folder, identity)
    for folder in closed:
        folder.chmod(0o700)  # other accounts of the machine have no business in it
    (repos / "dev").mkdir(mode=0o755, exist_ok=True)
    if identity is not None:
        _take_over(repos / ".store", identity)


def server_command(
    walls: Walls,
    repos: Path,
    port: int,
    notfound_url: str,
    *,
    max_memory: int | None = None,
    max_file_size: int | None = None,
) -> Command:
    """The server of `repos/.served` on loopback; unknown names lead to `notfound_url`.

    `--nossl` leaves redirects to the gateway, which knows what people see.
    """
    server = ["fossil", "server", "--port", f"127.0.0.1:{port}", "--notfound", notfound_url]
    server += ["--nossl"]
    if walls.kind == "none":
        pipe = _ERRORS_IN_THE_OPEN
        server += ["--errorlog", str(repos / pipe)]
    else:
        pipe = _ERRORS
        server += ["--errorlog", f"/{pipe}", "--chroot", str(repos)]
    server += [".served"]
    if walls.kind == "namespace":
        launcher: tuple[str, ...] = (*_MAP_SELF, "sh", "-c", _LAUNCHER % _OWN_DEVICES, "sh")
        server = ["setpriv", *_CAPABILITIES, "--", *server]
    else:
        launcher = ("sh", "-c", _LAUNCHER % "", "sh")
    # Fossil itself needs root to enter a chroot, and leaves it by itself.
    account = None if walls.kind == "chroot" else walls.account
    return Command(
        (*launcher, str(repos), pipe, *server),
        env=environment(),
        cwd=repos,
        user=account.uid if account else None,
        group=account.gid if account else None,
        max_memory=max_memory,
        max_file_size=max_file_size,
    )


async def probe(repos: Path, identity: Identity | None) -> Walls:
    """The strongest walls that a really running server got here, and why not stronger ones."""
    await asyncio.to_thread(prepare, repos, identity)
    root = identity is not None
    name = identity.name if identity else str(os.geteuid())
    account = _account_wall(identity, name)
    reasons: list[Wall] = []
    kinds: tuple[Kind, ...] = ("namespace", "chroot", "none") if root else ("namespace", "none")
    for kind in kinds:
        if kind == "chroot":
            await asyncio.to_thread(_make_devices, repos)
        walls = Walls(kind, name, identity, ())
        failure = await _try(walls, repos)
        if kind == "none":
            reasons.append(Wall("jail", False, failure or "no wall could be put up on this kernel"))
        elif not failure:
            reasons.append(_standing(kind))
        else:
            reasons.append(Wall(kind, False, failure))
            continue
        return Walls(kind, name, identity, (account, *reasons))
    raise AssertionError("the last kind always returns")


def _account_wall(identity: Identity | None, name: str) -> Wall:
    if identity is None and os.geteuid() == 0:
        return Wall(
            "ordinary user",
            False,
            "Fossil runs as root: no other account can reach the data folder",
        )
    return Wall("ordinary user", True, f"Fossil runs as {name}")


def _standing(kind: Kind) -> Wall:
    why = "Fossil sees only the folder of repositories"
    if kind == "namespace":
        why += ", no other process, and has no capability left"
    return Wall(kind, True, why)


def _take_over(store: Path, identity: Identity) -> None:
    with os.scandir(store) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            # A second name could be any file of the machine: it is not made Fossil's.
            ours = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
            if ours and status.st_uid != identity.uid:
                give(Path(entry.path), identity)


def _make_devices(repos: Path) -> None:
    """Real device nodes for the plain chroot; where that is forbidden the probe will tell."""
    for name, (major, minor) in _DEVICES.items():
        place = repos / "dev" / name
        if place.is_char_device():
            continue
        with suppress(OSError):
            new = place.with_name(f"{name}.new")
            new.unlink(missing_ok=True)
            os.mknod(new, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
            new.chmod(0o666)
            new.replace(place)


async def _try(walls: Walls, repos: Path) -> str:
    """Empty when a server behind these walls answered; else why it did not."""
    port = _free_port()
    said = bytearray()
    try:
        server = await launch(
            server_command(walls, repos, port, "/nothing-here"), lambda _fd, data: said.extend(data)
        )
    except ToolFailed as error:
        return error.message
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            if await _answers(port, lambda: server.returncode is None):
                return ""
    except TimeoutError:
        return "the server did not answer in time"
    finally:
        await server.end()
    words = said.decode(errors="replace").strip().splitlines()
    return words[-1] if words else f"the server ended with status {server.returncode}"


async def _answers(port: int, alive: Callable[[], bool]) -> bool:
    while alive():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        try:
            writer.write(b"GET /nothing HTTP/1.0\r\nHost: localhost\r\n\r\n")
            if b"302" in await reader.readline():
                return True
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        await asyncio.sleep(0.02)
    return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
