"""The `git` program: fetching a repository of strangers, and its history as a stream.

Owns its command lines and environment: no settings of the machine or of anybody's
home, no prompts, no other protocol than https (and http), no credentials in
arguments or in the mirror's configuration. Whatever a person typed stands behind
`--`. What Fossil makes of the stream is the business of `fossil`.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from fossilrepo.errors import InvalidInput, ToolFailed
from fossilrepo.runtime import process
from fossilrepo.runtime.process import Command
from fossilrepo.tools import jail
from fossilrepo.tools.checked_proxy import CheckedProxy
from fossilrepo.tools.fossil import Limits, without_secrets
from fossilrepo.tools.identity import Identity, give

OnLine = Callable[[str], None]
_SETTINGS: dict[str, str] = {
    "protocol.ext.allow": "never",
    "protocol.file.allow": "never",
    "credential.helper": "",
    "core.hooksPath": os.devnull,
    "safe.directory": "*",
    "transfer.fsckObjects": "false",  # old histories have flaws that Fossil does not mind
}
# Answers git's questions from private files beside it.
ASKPASS = """#!/bin/sh
cd "$(dirname "$0")" || exit 1
case "$1" in
Username*) cat user ;;
*) cat token ;;
esac
"""


def is_local(source: str) -> bool:
    """A folder of this machine rather than an address."""
    return "://" not in source and not re.match(r"[\w.-]+@[\w.-]+:", source)


def check_url(url: str, schemes: Sequence[str] = ("https", "http")) -> str:
    """The address itself when git or fossil may be given it; InvalidInput says what is wrong."""
    if len(url) > 2000 or not url.isprintable() or " " in url:
        raise InvalidInput("the address has blanks or control characters in it", field="url")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidInput("the address cannot be read", field="url") from None
    if parts.scheme not in schemes or not parts.hostname or port == 0:
        raise InvalidInput(
            f"the address must begin with {schemes[0]}:// and name a host",
            hint=f"for example {schemes[0]}://example.org/project",
            field="url",
        )
    if parts.hostname.startswith("-"):
        raise InvalidInput("the host begins with a hyphen", field="url")
    return url


def with_credentials(
    url: str, login: str, password: str, schemes: Sequence[str] = ("https", "http")
) -> str:
    """The checked address with `login:password@` in it, for a program that reads it from us."""
    parts = urlsplit(check_url(url, schemes))
    if not login:
        return url
    host = parts.netloc.rpartition("@")[2]
    user = quote(login, safe="") + (f":{quote(password, safe='')}" if password else "")
    return urlunsplit(parts._replace(netloc=f"{user}@{host}"))


async def fetch_mirror(
    url: str,
    folder: Path,
    *,
    token: str,
    networks: Sequence[str],
    limits: Limits,
    on_line: OnLine | None = None,
    identity: Identity | None = None,
) -> None:
    """Fetch all branches and tags of `url` into the new bare repository `folder`.

    The network is reached through a checking proxy. Raises InvalidInput when that refused
    the address, ToolFailed with git's own words otherwise.
    """
    parts = urlsplit(check_url(url))
    user, secret = parts.username or "git", token or parts.password or ""
    host = parts.netloc.rpartition("@")[2]
    address = urlunsplit(parts._replace(netloc=host))
    await asyncio.to_thread(_prepare, folder, user, secret, identity)
    try:
        await _fetch(address, folder, networks, limits, on_line, identity)
    finally:
        await asyncio.to_thread(_forget, folder)


async def _fetch(
    address: str,
    folder: Path,
    networks: Sequence[str],
    limits: Limits,
    on_line: OnLine | None,
    identity: Identity | None,
) -> None:
    async with CheckedProxy(networks) as proxy:
        secrets = {
            "GIT_ASKPASS": str(folder / "askpass"),
            "http_proxy": proxy.url,
            "https_proxy": proxy.url,
        }
        done = await process.run(
            command(
                ("clone", "--mirror", "--progress", "--", address, str(folder / "mirror")),
                folder,
                secrets,
                identity,
                limits,
            ),
            timeout=limits.seconds,
            on_line=None if on_line is None else lambda line: on_line(without_secrets(line)),
        )
        if done.returncode != 0:
            if proxy.refusal:
                raise InvalidInput(proxy.refusal, field="url")
            raise ToolFailed(f"git could not fetch it: {_last_words(done.stderr)}")


def _prepare(folder: Path, user: str, token: str, identity: Identity | None) -> None:
    """The job's folder, with what answers git's questions in it."""
    folder.mkdir(mode=0o700)
    write_private(folder, credentials(user, token), identity)


def _forget(folder: Path) -> None:
    """What git got in with is not needed any more; the rest of the job may take long."""
    for name in credentials("", ""):
        (folder / name).unlink(missing_ok=True)


def credentials(user: str, token: str) -> dict[str, tuple[str, int]]:
    """Files for `write_private` by which git gets in: text and mode."""
    return {
        "user": (f"{user}\n", 0o600),
        "token": (f"{token}\n", 0o600),
        "askpass": (ASKPASS, 0o700),
    }


def write_private(
    folder: Path, files: Mapping[str, tuple[str, int]], identity: Identity | None
) -> None:
    """Files that only the account can read that git runs as; then the folder is its own too."""
    for name, (text, mode) in files.items():
        path = folder / name
        path.touch(mode=mode)
        path.write_text(text)
        give(path, identity)
    give(folder, identity)


def fast_export(folder: Path, identity: Identity | None = None) -> Command:
    """The command that prints the whole history in Git's fast-export format.

    `folder` is a repository of ours from `fetch_mirror`, or one that the person at the
    server's own command line named; the latter is read as we are.
    """
    mirror = folder / "mirror"
    where = mirror if mirror.is_dir() else folder
    arguments = ("fast-export", "--all", "--signed-tags=strip", "--reencode=yes")
    return command(arguments, where, {}, identity, Limits())


def command(
    arguments: Sequence[str],
    folder: Path,
    extra: Mapping[str, str],
    identity: Identity | None,
    limits: Limits,
    *,
    settings: Mapping[str, str] | None = None,
    protocols: str = "https:http",
) -> Command:
    """git in `folder` with nobody's settings; `extra` is more of its environment."""
    environment = {
        **jail.environment(),
        "HOME": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": protocols,
        "GIT_CONFIG_COUNT": str(len(_SETTINGS | dict(settings or {}))),
        **extra,
    }
    for number, (key, value) in enumerate((_SETTINGS | dict(settings or {})).items()):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    return Command(
        ("git", *arguments),
        env=environment,
        cwd=folder,
        user=identity.uid if identity else None,
        group=identity.gid if identity else None,
        max_file_size=limits.file_size,
    )


def _last_words(text: str) -> str:
    lines = [line for line in without_secrets(text).splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it gave no reason"
