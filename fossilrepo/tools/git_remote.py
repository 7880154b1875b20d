"""A Git server that mirrors are pushed to: its refs, pushes to it, what lies there.

Owns one job's folder (credentials in private files, gone at its end) and the command lines.
git reaches https through a checking proxy that lets nothing through to where it may not go,
and ssh by the address that was checked, with the server's key pinned. No redirect is
followed: a token is for the server that was named.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fossilrepo.errors import InvalidInput, ToolFailed, Unavailable
from fossilrepo.runtime import process
from fossilrepo.runtime.process import Command, Finished
from fossilrepo.tools import git, git_locks
from fossilrepo.tools.addresses import is_within, plain_refused, resolve
from fossilrepo.tools.checked_proxy import CheckedProxy
from fossilrepo.tools.fossil import Limits, without_secrets
from fossilrepo.tools.git_address import GitAddress
from fossilrepo.tools.git_words import explained, printable, rejections
from fossilrepo.tools.identity import Identity
from fossilrepo.tools.ssh_keys import is_key

OnLine = Callable[[str], None]
LOOK_SECONDS = 120.0
AT_ONCE = 200  # refs in one push
SHOWN_COMMITS = 20
_MOST_REFS = 16 << 20  # bytes of a list of refs
_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SSH = """#!/bin/sh
cd "$(dirname "$0")" || exit 1
exec ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none \\
 -o IdentityFile=key -o UserKnownHostsFile=known_hosts \\
 -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking={checking} -o HostKeyAlias=remote \\
 -o HostName={address} -o CheckHostIP=no -o UpdateHostKeys=no -o ConnectTimeout=30 \\
 -o ServerAliveInterval=15 -o ServerAliveCountMax=4 -o ClearAllForwardings=yes \\
 -o ForwardAgent=no -o PermitLocalCommand=no -o ProxyCommand=none -o LogLevel=ERROR "$@"
"""
_SETTINGS = {
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",  # bytes per second, below which a connection is given up …
    "http.lowSpeedTime": "60",  # … after so many seconds
    "push.recurseSubmodules": "no",
    "push.gpgSign": "false",
    "pack.threads": "2",
    "advice.pushUpdateRejected": "false",
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What opens a remote; `host_key` is the server's as in known_hosts, empty at first contact."""

    user: str = ""
    token: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    host_key: str = ""


@dataclass(frozen=True, slots=True)
class Update:
    """One ref of the remote: from what it must be (empty: it must not exist) to what it shall be.

    `new` is empty for a ref that goes.
    """

    ref: str
    expected: str
    new: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a remote has: refs (peeled tags left out), and the branch that HEAD names."""

    refs: dict[str, str]
    head: str


@dataclass(frozen=True, slots=True)
class Commit:
    hash: str
    author: str
    subject: str


class Remote:
    """One remote during one job; made by `opened`."""

    def __init__(
        self,
        address: GitAddress,
        folder: Path,
        environment: Mapping[str, str],
        identity: Identity | None,
        limits: Limits,
        credentials: Credentials,
        proxy: CheckedProxy | None,
        place: Path | None,
    ) -> None:
        self.address = address
        self._place = place  # of a folder of this server
        self._folder = folder
        self._environment = environment
        self._identity = identity
        self._limits = limits
        self._credentials = credentials
        self._proxy = proxy
        self.host_key = credentials.host_key  # the server's, known after the first answer

    async def refs(self) -> Found:
        """What is there now. Raises ToolFailed or Unavailable with the server's words."""
        if self._place is not None and not await asyncio.to_thread(self._place.exists):
            return Found({}, "")  # the first push makes it
        done = await self._run(
            ("ls-remote", "--symref", "--", self._where), LOOK_SECONDS, most=_MOST_REFS
        )
        self._expect(done, "its refs could not be read")
        if done.truncated:
            raise ToolFailed("the remote has more refs than can be read")
        await self._learn_host_key()
        return _found(done.stdout.decode(errors="replace"))

    async def push(
        self,
        git_dir: Path,
        updates: Sequence[Update],
        *,
        dry_run: bool = False,
        on_line: OnLine | None = None,
    ) -> dict[str, str]:
        """Make these updates; the refs that were refused, each with the words why.

        Each update holds only when the ref is as it is expected. Raises ToolFailed or
        Unavailable when the server was not reached or broke off.
        """
        refused: dict[str, str] = {}
        await self._make_folder()
        for start in range(0, len(updates), AT_ONCE):
            part = updates[start : start + AT_ONCE]
            leases = [f"--force-with-lease={one.ref}:{one.expected}" for one in part]
            words = ["push", "--porcelain", "--progress", "--no-verify", *leases]
            words += ["--dry-run"] if dry_run else []
            specs = [f"{one.new}:{one.ref}" for one in part]
            done = await self._run(
                (*words, "--", self._where, *specs),
                self._limits.seconds,
                git_dir=git_dir,
                on_line=on_line,
                most=_MOST_REFS,
            )
            said = rejections(done.stdout.decode(errors="replace"))
            refused |= said
            if done.returncode != 0 and not said:
                self._expect(done, "the push failed")
        return refused

    async def commits(self, hashes: Sequence[str]) -> dict[str, list[Commit]]:
        """The newest commits behind each of these hashes, as far as the server gives them."""
        place = self._folder / "look.git"
        await self._run(("init", "--quiet", "--bare", str(place)), LOOK_SECONDS)
        depth = f"--depth={SHOWN_COMMITS}"
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", depth, "--filter=blob:none")
        found: dict[str, list[Commit]] = {}
        for number, one in enumerate(hashes[:20]):
            spec = f"+{one}:refs/look/{number}"
            done = await self._run(
                ("fetch", *options, "--", self._where, spec), LOOK_SECONDS, git_dir=place
            )
            if done.returncode != 0:
                continue
            told = await self._run(
                ("log", f"--max-count={SHOWN_COMMITS}", "--format=%H%x00%an%x00%s", one),
                LOOK_SECONDS,
                git_dir=place,
            )
            lines = told.stdout.decode(errors="replace").splitlines()
            parts = [line.split("\0", 2) for line in lines]
            found[one] = [Commit(*map(printable, part)) for part in parts if len(part) == 3]
        return found

    @property
    def _where(self) -> str:
        return self.address.url if self._place is None else str(self._place)

    async def _make_folder(self) -> None:
        if self._place is None:
            return
        if await asyncio.to_thread(self._place.exists):
            await asyncio.to_thread(git_locks.clear, self._place)
            return
        options = ("--quiet", "--bare", "--template=", "--initial-branch=main")
        done = await self._run(("init", *options, "--", self._where), LOOK_SECONDS)
        self._expect(done, "the folder could not be made")

    async def _run(
        self,
        words: Sequence[str],
        seconds: float,
        *,
        git_dir: Path | None = None,
        on_line: OnLine | None = None,
        most: int = 1 << 20,
    ) -> Finished:
        where = () if git_dir is None else (f"--git-dir={git_dir}",)
        return await process.run(
            self._command((*where, *words)),
            timeout=seconds,
            on_line=None if on_line is None else lambda line: on_line(self._hidden(line)),
            max_output=most,
        )

    def _command(self, words: Sequence[str]) -> Command:
        return git.command(
            words,
            self._folder,
            self._environment,
            self._identity,
            self._limits,
            settings=_SETTINGS | ({"protocol.file.allow": "always"} if self._place else {}),
            protocols="file" if self._place else self.address.scheme,
        )

    def _hidden(self, text: str) -> str:
        text = printable(without_secrets(text))
        token = self._credentials.token
        return text.replace(token, "…") if token else text

    def _expect(self, done: Finished, what: str) -> None:
        if done.returncode == 0:
            return
        if self._proxy is not None and self._proxy.refusal:
            raise InvalidInput(self._proxy.refusal, field="url")
        raise explained(what, self._hidden(done.stderr), self.address)

    async def _learn_host_key(self) -> None:
        if not self.address.is_ssh or self.host_key:
            return
        text = await asyncio.to_thread((self._folder / "known_hosts").read_text)
        for line in text.splitlines():
            key = " ".join(line.split()[1:3])
            if is_key(key):
                self.host_key = key
                return


@asynccontextmanager
async def opened(
    address: GitAddress,
    credentials: Credentials,
    *,
    networks: Sequence[str],
    scratch: Path,
    folders: Path,
    identity: Identity | None,
    limits: Limits,
) -> AsyncIterator[Remote]:
    """A remote for the time of a job; `folders` holds those that are on this server.

    InvalidInput when it leads where nothing may go.
    """
    async with AsyncExitStack() as stack:
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="remote-", dir=scratch))
        stack.push_async_callback(asyncio.to_thread, shutil.rmtree, folder, True)
        place = folders / address.path if address.is_folder else None
        at = "" if place else await _checked(address, networks)
        proxy, environment = None, {"GIT_SSH_VARIANT": "ssh"}
        if place is not None:
            pass
        elif not address.is_ssh:
            proxy = await stack.enter_async_context(CheckedProxy(networks, plain=False))
            environment |= {"http_proxy": proxy.url, "https_proxy": proxy.url, "no_proxy": ""}
            environment["GIT_ASKPASS"] = str(folder / "askpass")
        else:
            environment["GIT_SSH"] = str(folder / "ssh")
        await asyncio.to_thread(_prepare, folder, address, at, credentials, identity)
        yield Remote(address, folder, environment, identity, limits, credentials, proxy, place)


async def _checked(address: GitAddress, networks: Sequence[str]) -> str:
    """The address to connect to; the proxy looks again at every connection."""
    try:
        at = await resolve(address.host, address.port, networks)
    except InvalidInput as error:
        if error.message.endswith("is not known"):
            raise Unavailable(
                error.message, hint="is the name right? is the network there?"
            ) from None
        raise
    if address.scheme == "http" and not is_within(at, networks):
        raise InvalidInput(plain_refused(address.host), field="url")
    return at


def _prepare(
    folder: Path,
    address: GitAddress,
    at: str,
    credentials: Credentials,
    identity: Identity | None,
) -> None:
    checking = "yes" if credentials.host_key else "accept-new"
    known = f"remote {credentials.host_key}\n" if credentials.host_key else ""
    files = git.credentials(credentials.user or "git", credentials.token)
    if address.is_ssh:
        files = {
            "key": (credentials.private_key, 0o600),
            "known_hosts": (known, 0o600),
            "ssh": (_SSH.format(checking=checking, address=at), 0o700),
        }
    git.write_private(folder, files, identity)


def _found(text: str) -> Found:
    refs: dict[str, str] = {}
    head = ""
    for line in text.splitlines():
        value, _, name = line.partition("\t")
        if value.startswith("ref: ") and name == "HEAD":
            head = value.removeprefix("ref: ")
        elif _HASH.fullmatch(value) and name.startswith("refs/") and not name.endswith("^{}"):
            refs[name] = value
    return Found(refs, head)
