"""The mirrors of repositories: added, looked at, changed, paused, taken over, removed.

Owns their rows and who may change them: a repository's administrators. Whoever may read the
repository sees how its mirrors stand. What a run does is in `mirroring`, when it comes in `runs`.
"""

from __future__ import annotations

import asyncio
import builtins
from dataclasses import dataclass
from typing import Any

from fossilrepo.bridge import (
    ForgeKind,
    Mirror,
    MirrorState,
    Standing,
    check_glob,
    check_issues,
    check_token,
)
from fossilrepo.config import Settings
from fossilrepo.db.mirrors import MirrorStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import Conflict, Forbidden, InvalidInput, NotFound
from fossilrepo.models import Actor, Job, Repository, RepositoryState, new_id, now
from fossilrepo.rights import Role
from fossilrepo.runtime import schedule as schedules
from fossilrepo.services import bridge_json
from fossilrepo.services.access import Access
from fossilrepo.services.audit import Audit
from fossilrepo.services.keys import Keys
from fossilrepo.services.mirroring import Mirroring, Preview
from fossilrepo.services.runs import Runs
from fossilrepo.tools import forge as forges
from fossilrepo.tools import git_address, ssh_keys
from fossilrepo.tools.git_address import GitAddress
from fossilrepo.tools.git_remote import Credentials

MOST = 20  # mirrors of one repository


@dataclass(frozen=True, slots=True)
class Shown:
    """A mirror with its repository, for whoever may read that; `may_change`: its admins."""

    mirror: Mirror
    repository: Repository
    may_change: bool


@dataclass(frozen=True, slots=True)
class Connection:
    """What a remote said when it was tried; `token` where an API told of it."""

    refs: int
    branches: tuple[str, ...]
    host_key: str
    token: forges.TokenFacts | None
    missing: bool = False  # the API says that there is no such repository
    public_key: str = ""


class Mirrors:
    def __init__(
        self,
        settings: Settings,
        store: MirrorStore,
        repositories: RepositoryStore,
        access: Access,
        runs: Runs,
        mirroring: Mirroring,
        keys: Keys,
        audit: Audit,
    ) -> None:
        self._settings = settings
        self._store = store
        self._repositories = repositories
        self._access = access
        self._runs = runs
        self._mirroring = mirroring
        self._keys = keys
        self._audit = audit

    # Looking

    async def list(self, actor: Actor, repository_name: str | None = None) -> builtins.list[Shown]:
        """Of one repository, or of all that the actor may read, oldest first."""
        if repository_name is not None:
            repository = await self._access.repository(actor, repository_name, Role.READ)
            may = await self._access.may(actor, repository, Role.ADMIN)
            return [Shown(one, repository, may) for one in await self._store.list(repository.id)]
        shown = []
        for mirror in await self._store.list():
            owner = await self._repositories.get(mirror.repository_id)
            is_there = owner is not None and owner.state is not RepositoryState.TRASHED
            if owner and is_there and await self._access.may(actor, owner, Role.READ):
                may = await self._access.may(actor, owner, Role.ADMIN)
                shown.append(Shown(mirror, owner, may))
        return shown

    async def states(self) -> builtins.list[str]:
        """Of all there are, for who runs the site."""
        return sorted(str(one.standing.state) for one in await self._store.list())

    async def described(
        self, actor: Actor, repository_name: str | None = None
    ) -> dict[str, builtins.list[dict[str, Any]]]:
        """Plain values by the repository's identity, for lists of repositories."""
        found: dict[str, builtins.list[dict[str, Any]]] = {}
        for one in await self.list(actor, repository_name):
            found.setdefault(one.repository.id, []).append(
                bridge_json.mirror(one.mirror, one.repository)
            )
        return found

    async def shown_outside(self, reader: Actor | None, name: str) -> builtins.list[Mirror]:
        """For a badge: those of a repository that the reader, or anybody, may read."""
        repository = await self._repositories.by_name(name)
        if repository is None or not await self._access.may(reader, repository, Role.READ):
            return []
        return await self._store.list(repository.id)

    async def get(self, actor: Actor, mirror_id: str) -> Shown:
        mirror, repository = await self._mirror(actor, mirror_id, Role.READ)
        may = await self._access.may(actor, repository, Role.ADMIN)
        return Shown(mirror, repository, may)

    async def history(self, actor: Actor, mirror_id: str, limit: int = 50) -> builtins.list[Job]:
        """Its runs, newest first; their logs hold what a server said."""
        await self._mirror(actor, mirror_id, Role.READ)
        return await self._runs.history(mirror_id, limit)

    # Adding

    async def add(
        self,
        actor: Actor,
        repository_name: str,
        url: str,
        *,
        kind: ForgeKind | None = None,
        api_url: str = "",
        user: str = "",
        token: str = "",
        branches: str = "*",
        tags: bool = True,
        schedule: str = "",
        on_change: bool = True,
        wiki: bool = False,
        issues: bool = False,
        create: bool = False,
        private: bool = True,
    ) -> Mirror:
        """A new mirror, whose first run is owed at once. A remote by ssh gets a key of its own,
        which is let in there when a token for the server's API is given too.

        `create`: the repository is made there first, through that API.
        """
        repository = await self._access.repository(actor, repository_name, Role.ADMIN)
        address = _address(actor, url)
        kind = forges.kind_of(address, kind)
        api_url = self._api_url(kind, api_url, address.url)
        there = [mirror.url for mirror in await self._store.list(repository.id)]
        if address.url in there:
            raise Conflict(f"{repository_name} has a mirror to {address.url}", field="url")
        if len(there) >= MOST:
            raise Conflict(f"{repository_name} has {MOST} mirrors, and there may be no more")
        check_token(token)
        check_issues(issues, kind)
        schedule, branches = schedules.check(schedule), check_glob(branches)
        if create:
            await self._create(kind, api_url, token, address.url, repository, private=private)
        private_key, public_key = "", ""
        if address.is_ssh:
            comment = f"fossilrepo {repository.label}"
            private_key, public_key = await asyncio.to_thread(ssh_keys.new_pair, comment)
            if token and kind is not ForgeKind.GIT:
                path = forges.path_of(address.url, kind)
                forge = forges.forge_of(kind, api_url, token, self._networks)
                await forge.add_deploy_key(path, title=comment, public_key=public_key)
        mirror = await self._store.add(
            id=new_id(),
            repository_id=repository.id,
            url=address.url,
            kind=str(kind),
            api_url=api_url,
            user=user or ("" if address.is_ssh else address.user),
            token=await self._locked(token),
            private_key=await self._locked(private_key),
            public_key=public_key,
            branches=branches,
            tags=tags,
            schedule=schedule,
            on_change=on_change,
            wiki=wiki,
            issues=issues,
            created_by=actor.login,
            created_at=now(),
            # A key has to be let in there before anything can work.
            wanted_at=None if address.is_ssh and not token else now(),
            next_run=schedules.following(schedule, now()),
        )
        self._runs.wake()
        await self._record(actor, "add", repository, mirror)
        return mirror

    async def test(
        self,
        actor: Actor,
        repository_name: str,
        url: str,
        *,
        kind: ForgeKind | None = None,
        api_url: str = "",
        user: str = "",
        token: str = "",
    ) -> Connection:
        """Reach the remote as a mirror would, and say what is there; nothing is kept."""
        await self._access.repository(actor, repository_name, Role.ADMIN)
        address = _address(actor, url)
        kind = forges.kind_of(address, kind)
        api_url = self._api_url(kind, api_url, address.url)
        check_token(token)
        facts = None
        if kind is not ForgeKind.GIT and token:
            forge = forges.forge_of(kind, api_url, token, self._networks)
            facts = await forge.token()
            if await forge.repository(forges.path_of(address.url, kind)) is None:
                return Connection(0, (), "", facts, missing=True)
        if address.is_ssh:
            raise InvalidInput(
                "a remote by ssh can be tried once its key exists",
                hint="add the mirror, let its key in on the server, then run it",
                field="url",
            )
        credentials = Credentials(user=user or address.user, token=token)
        return await self._tried(address.url, credentials, facts)

    async def test_again(self, actor: Actor, mirror_id: str) -> Connection:
        """The same for a mirror that is there."""
        mirror, _ = await self._mirror(actor, mirror_id, Role.ADMIN)
        return await self._tried(mirror.url, await self._mirroring.credentials(mirror), None)

    async def _tried(
        self, url: str, credentials: Credentials, facts: forges.TokenFacts | None
    ) -> Connection:
        async with self._mirroring.opened(url, credentials) as remote:
            found = await remote.refs()
            branches = [r.removeprefix("refs/heads/") for r in found.refs if "/heads/" in r]
            return Connection(len(found.refs), tuple(branches[:20]), remote.host_key, facts)

    # Changing

    async def configure(self, actor: Actor, mirror_id: str, **wanted: Any) -> Mirror:
        """Change what is given and not None: branches, tags, schedule, on_change, wiki, issues,
        user, token, url (which makes it begin anew)."""
        mirror, repository = await self._mirror(actor, mirror_id, Role.ADMIN)
        wanted = {name: value for name, value in wanted.items() if value is not None}
        changes: dict[str, Any] = {}
        for name in ("tags", "on_change", "wiki", "issues", "user"):
            if name in wanted:
                changes[name] = wanted[name]
        if "branches" in wanted:
            changes["branches"] = check_glob(wanted["branches"])
        if "schedule" in wanted:
            changes["schedule"] = schedules.check(wanted["schedule"])
            changes["next_run"] = schedules.following(changes["schedule"], now())
        check_issues(changes.get("issues", mirror.issues), mirror.kind)
        told = {name: changes[name] for name in changes if name != "next_run"}
        before = {name: getattr(mirror, name) for name in told}
        if "url" in wanted:
            changes |= self._moved(actor, mirror, wanted["url"])
            told["url"], before["url"] = changes["url"], mirror.url
        if "token" in wanted:
            check_token(wanted["token"])
            changes |= {"token": await self._locked(wanted["token"]), "token_expires_at": None}
            self._mirroring.forget_token(mirror_id)
        if not changes:
            return mirror
        changed = await self._store.update(mirror_id, **self._again(mirror), **changes)
        if changed is None:
            raise _no_mirror(mirror_id)
        if "url" in changes:
            await self._store.set_refs(mirror_id, {})
        self._runs.wake()
        await self._record(
            actor,
            "configure",
            repository,
            mirror,
            before=before,
            after=told,
            new_token="token" in wanted,
        )
        return changed

    def _moved(self, actor: Actor, mirror: Mirror, url: str) -> dict[str, Any]:
        address = _address(actor, url)
        if address.is_ssh != bool(mirror.public_key):
            raise InvalidInput(
                "a mirror cannot change between https and ssh",
                hint="add another one, then remove this one",
                field="url",
            )
        return {"url": address.url, "seen": {}, "taken_over": {}, "host_key": ""}

    def _again(self, mirror: Mirror) -> dict[str, Any]:
        """What was changed may mend it: it is tried at once, but not when a person paused it."""
        if mirror.standing.state is MirrorState.PAUSED:
            return {}
        again = {"wanted_at": now(), "failures": 0, "failing_since": None}
        if mirror.standing.state is MirrorState.STOPPED:
            again["state"] = MirrorState.BEHIND
        return again

    async def take_over(self, actor: Actor, mirror_id: str) -> Mirror:
        """What was found there may be overwritten, as it was seen: nothing that came since."""
        mirror, repository = await self._mirror(actor, mirror_id, Role.ADMIN)
        if not mirror.seen:
            raise Conflict(
                "there is nothing to take over", hint="the mirror does not wait for a decision"
            )
        changed = await self._store.update(
            mirror_id, seen={}, taken_over=mirror.seen, **self._again(mirror)
        )
        self._runs.wake()
        await self._record(actor, "take-over", repository, mirror, refs=mirror.seen)
        return changed or mirror

    async def trust_host_key(self, actor: Actor, mirror_id: str) -> Mirror:
        """The server has another key: the next one that it shows is pinned."""
        mirror, repository = await self._mirror(actor, mirror_id, Role.ADMIN)
        changed = await self._store.update(mirror_id, host_key="", **self._again(mirror))
        self._runs.wake()
        before = ssh_keys.fingerprint(mirror.host_key)
        await self._record(actor, "trust-host", repository, mirror, before=before)
        return changed or mirror

    async def pause(self, actor: Actor, mirror_id: str) -> None:
        mirror, repository = await self._mirror(actor, mirror_id, Role.ADMIN)
        await self._runs.pause("mirror", mirror_id, f"paused by {actor.login}")
        await self._record(actor, "pause", repository, mirror)

    async def resume(self, actor: Actor, mirror_id: str) -> None:
        mirror, repository = await self._mirror(actor, mirror_id, Role.ADMIN)
        await self._runs.resume("mirror", mirror_id)
        await self._record(actor, "resume", repository, mirror)

    async def remove(self, actor: Actor, mirror_id: str) -> Mirror:
        """The remote stays as it is."""
        mirror, repository = await self._mirror(actor, mirror_id, Role.ADMIN)
        if mirror.rule_id is not None:
            raise Conflict(
                f"a rule of {repository.org} makes this mirror, and would make it again",
                hint="pause the mirror, or remove the rule",
            )
        await self._store.remove(mirror_id)
        await self._record(actor, "remove", repository, mirror)
        return mirror

    async def run(self, actor: Actor, mirror_id: str, *, here: bool = False) -> Job:
        """A run by hand; `here`: in this process."""
        mirror, _ = await self._mirror(actor, mirror_id, Role.ADMIN)
        if here:
            return await self._runs.now("mirror", mirror, actor)
        return await self._runs.ask("mirror", mirror, actor)

    async def dry_run(self, actor: Actor, mirror_id: str) -> Preview:
        """What a run would do now; nothing is pushed."""
        mirror, repository = await self._mirror(actor, mirror_id, Role.ADMIN)
        async with self._runs.alone(repository):
            credentials = await self._mirroring.credentials(mirror)
            return await self._mirroring.preview(mirror, repository, credentials)

    async def dry_add(
        self,
        actor: Actor,
        repository_name: str,
        url: str,
        *,
        user: str = "",
        token: str = "",
        branches: str = "*",
        tags: bool = True,
    ) -> Preview:
        """What the first run of such a mirror would do; nothing is kept."""
        repository = await self._access.repository(actor, repository_name, Role.ADMIN)
        address = _address(actor, url)
        check_token(token)
        draft = Mirror(
            id=new_id(),
            repository_id=repository.id,
            url=address.url,
            kind=ForgeKind.GIT,
            api_url="",
            user=user or address.user,
            branches=check_glob(branches),
            tags=tags,
            schedule="",
            on_change=False,
            wiki=False,
            issues=False,
            has_token=bool(token),
            token_expires_at=None,
            public_key="",
            host_key="",
            rule_id=None,
            created_by=actor.login,
            created_at=now(),
            seen={},
            taken_over={},
            standing=Standing(),
        )
        async with self._runs.alone(repository):
            return await self._mirroring.preview(
                draft, repository, Credentials(user=draft.user, token=token)
            )

    @property
    def _networks(self) -> builtins.list[str]:
        return self._settings.sync.allowed_networks

    def _api_url(self, kind: ForgeKind, api_url: str, url: str) -> str:
        if kind is ForgeKind.GIT:
            return ""
        return forges.checked_api_url(api_url or forges.api_url_of(kind, url))

    async def _create(
        self,
        kind: ForgeKind,
        api_url: str,
        token: str,
        url: str,
        repository: Repository,
        *,
        private: bool,
    ) -> None:
        if kind is ForgeKind.GIT or not token:
            raise InvalidInput(
                "a repository can be made through an API only, with a token",
                hint="set the kind (github, gitlab, gitea) and a token, or make it there",
                field="create",
            )
        forge = forges.forge_of(kind, api_url, token, self._networks)
        path = forges.path_of(url, kind)
        if await forge.repository(path) is None:
            await forge.create(
                path,
                private=private,
                description=f"Mirror of {repository.shown_title}",
                default_branch=await self._store.main_branch(repository.id),
            )

    async def _locked(self, secret: str) -> bytes | None:
        return await asyncio.to_thread(self._keys.encrypt, secret.encode()) if secret else None

    async def _record(
        self, actor: Actor, verb: str, repository: Repository, mirror: Mirror, **detail: Any
    ) -> None:
        await self._audit.record(
            actor,
            f"repository.mirror-{verb}",
            repository.label,
            id=repository.id,
            mirror=mirror.id,
            url=mirror.url,
            **detail,
        )

    async def _mirror(self, actor: Actor, mirror_id: str, role: Role) -> tuple[Mirror, Repository]:
        mirror = await self._store.get(mirror_id)
        repository = await self._repositories.get(mirror.repository_id) if mirror else None
        if mirror is None or repository is None:
            raise _no_mirror(mirror_id)
        if not await self._access.may(actor, repository, Role.READ):
            raise _no_mirror(mirror_id)
        await self._access.require(actor, repository, role)
        return mirror, repository


def _address(actor: Actor, url: str) -> GitAddress:
    address = git_address.parse(url)
    if address.is_folder and not actor.is_admin:
        raise Forbidden("only a site administrator mirrors into a folder of this server")
    return address


def _no_mirror(mirror_id: str) -> NotFound:
    return NotFound(
        f"there is no mirror {mirror_id[:40]!r}", hint="see `fossilrepo mirror list`", field="id"
    )
