"""Many repositories at once: from a folder, a list of addresses, an owner on a Git server.

Owns what is found there, the names it gets here, and that one that cannot come holds up no other.
Each comes in by the same import as a single one.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from fossilrepo.bridge import ForgeKind
from fossilrepo.errors import Forbidden, FossilrepoError, InvalidInput, NotFound
from fossilrepo.models import Actor, Job, JobState, Visibility
from fossilrepo.services.imports import Imports
from fossilrepo.services.jobs import Jobs
from fossilrepo.services.leaving import MANIFEST
from fossilrepo.services.repos import Repositories
from fossilrepo.tools import git, git_address
from fossilrepo.tools.addresses import EVERYWHERE
from fossilrepo.tools.forge import RemoteRepository, api_url_of, checked_api_url, forge_of, kind_of

MOST = 10_000
_LARGEST_LIST = 2**20  # bytes


@dataclass(frozen=True, slots=True)
class Found:
    """One that could come, under the name that it would have. `visibility` None: as asked for."""

    name: str
    kind: Literal["file", "clone", "git"]
    source: str
    title: str = ""
    description: str = ""
    visibility: Visibility | None = None


@dataclass(frozen=True, slots=True)
class Came:
    """What became of one: `error` and `hint` are empty when it is here."""

    found: Found
    error: str = ""
    hint: str = ""


class MovingIn:
    def __init__(self, imports: Imports, jobs: Jobs, repositories: Repositories) -> None:
        self._imports = imports
        self._jobs = jobs
        self._repositories = repositories

    async def in_folder(self, actor: Actor, folder: Path) -> list[Found]:
        """Every `.fossil` file of it, with what a manifest of ours beside them says."""
        if not actor.trusted_files:
            raise Forbidden("folders of the server are read on its own command line only")
        return await asyncio.to_thread(_in_folder, folder)

    async def in_list(self, text: str) -> list[Found]:
        """Lines `NAME ADDRESS` or only an address; # begins a remark. A Git address ends in .git
        or begins with git+https://; all others are Fossils."""
        found = [_line(line, number) for number, line in enumerate(text.splitlines(), 1)]
        return [one for one in found if one is not None]

    async def of_owner(
        self, url: str, *, token: str, kind: ForgeKind | None = None, api_url: str = ""
    ) -> list[Found]:
        """What a user or an organization has on GitHub, GitLab or Gitea: `https://HOST/OWNER`.

        InvalidInput for what is no such address; NotFound where there is nobody of that name.
        """
        owner = urlsplit(git.check_url(url)).path.strip("/")
        if not owner:
            raise InvalidInput("the address names no owner", hint="https://github.com/OWNER")
        address = f"{url.rstrip('/')}/all.git"  # what the other functions take is a repository's
        known = kind_of(git_address.parse(address), kind)
        if known is ForgeKind.GIT:
            raise InvalidInput(
                "which kind of server this is cannot be told from its name",
                hint="say it: github, gitlab or gitea (Forgejo too)",
                field="kind",
            )
        base = checked_api_url(api_url) if api_url else api_url_of(known, address)
        found = await forge_of(known, base, token, EVERYWHERE).owned_by(owner)
        if not found:
            raise NotFound(f"{owner} has no repository there that the token may see")
        return [_of_remote(one) for one in found]

    async def bring(
        self,
        actor: Actor,
        found: Sequence[Found],
        *,
        org: str = "",
        visibility: Visibility = Visibility.PRIVATE,
        token: str = "",
        say: Callable[[str], None] = lambda _words: None,
    ) -> list[Came]:
        """One after the other; those that are here already are not touched."""
        if len(found) > MOST:
            raise InvalidInput(f"at most {MOST:,} at once")
        came = []
        for number, one in enumerate(found, 1):
            say(f"{number} of {len(found)}: {one.name or one.source}")
            try:
                await self._bring(actor, one, org, one.visibility or visibility, token)
            except FossilrepoError as error:
                came.append(Came(one, error.message, error.hint))
                say(f"{one.name or one.source} could not come: {error.message}")
            else:
                came.append(Came(one))
        return came

    async def _bring(
        self, actor: Actor, one: Found, org: str, visibility: Visibility, token: str
    ) -> None:
        given: dict[str, Any] = {"title": one.title, "org": org, "visibility": visibility}
        job: Job
        if one.kind == "file":
            job = await self._imports.file(actor, one.name, Path(one.source), **given)
        elif one.kind == "clone":
            job = await self._imports.clone(actor, one.name, one.source, **given)
        else:
            job = await self._imports.git(actor, one.name, one.source, token=token, **given)
        ended = await self._jobs.wait(job.id)
        if ended.state is not JobState.DONE:
            raise FossilrepoError(ended.error or f"the import is {ended.state}", hint=ended.hint)
        if one.description:
            await self._repositories.configure(actor, one.name, description=one.description)


def name_from(text: str) -> str:
    """The nearest name that is allowed here: `My_Tools` is `my-tools`."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return plain[:63].rstrip("-")


def _in_folder(folder: Path) -> list[Found]:
    if not folder.is_dir():
        raise InvalidInput(f"there is no folder {folder}", field="folder")
    known: dict[str, dict[str, Any]] = {}
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        known = {one["file"]: one for one in manifest["repositories"]}
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError):
        raise InvalidInput(
            f"{folder / MANIFEST} cannot be read", hint="repair it, or move it away"
        ) from None
    found = [
        _of_file(path, known.get(path.name, {}))
        for path in sorted(folder.glob("*.fossil"))
        if path.is_file()
    ]
    if not found:
        raise InvalidInput(f"there is no .fossil file in {folder}", field="folder")
    return found


def _of_file(path: Path, known: dict[str, Any]) -> Found:
    seen = known.get("visibility")
    return Found(
        name=str(known.get("name") or name_from(path.stem)),
        kind="file",
        source=str(path),
        title=str(known.get("title") or ""),
        description=str(known.get("description") or ""),
        visibility=Visibility(seen) if seen in tuple(Visibility) else None,
    )


def _line(line: str, number: int) -> Found | None:
    words = line.split("#", 1)[0].split() if line.lstrip().startswith("#") else line.split()
    if not words:
        return None
    if len(words) > 2:
        raise InvalidInput(
            f"line {number} is not `NAME ADDRESS`", hint="one repository on each line"
        )
    url = words[-1].removeprefix("git+")
    git.check_url(url, schemes=("https", "http"))
    if urlsplit(url).password is not None:
        raise InvalidInput(f"line {number} has a password in it", hint="import that one by itself")
    is_git = words[-1].startswith("git+") or urlsplit(url).path.endswith(".git")
    last = urlsplit(url).path.rstrip("/").rpartition("/")[2].removesuffix(".git")
    name = words[0] if len(words) == 2 else name_from(last or (urlsplit(url).hostname or ""))
    return Found(name, "git" if is_git else "clone", url)


def _of_remote(one: RemoteRepository) -> Found:
    name = one.path.rpartition("/")[2]
    plain = name_from(name)
    return Found(
        plain,
        "git",
        one.https_url,
        title="" if plain == name else name[:200],
        description=" ".join(one.description.split())[:1000],
        visibility=Visibility.PRIVATE if one.private else Visibility.PUBLIC,
    )
