"""One run of a mirror: export, look at the remote, push what may be pushed, read it back.

Owns the order of these steps and what counts as in sync: that the remote, read after the push,
has every ref as the export has it. Which refs may move is `mirror_plan`'s; when a run comes
`runs`'s.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fossilrepo.bridge import ForgeKind, Mirror
from fossilrepo.config import Settings
from fossilrepo.db.mirrors import MirrorStore
from fossilrepo.errors import FossilrepoError, InvalidInput, ToolFailed, Unavailable
from fossilrepo.models import Repository, Visibility, now
from fossilrepo.services import mirror_plan
from fossilrepo.services.git_authors import GitAuthors
from fossilrepo.services.issue_sync import IssueSync
from fossilrepo.services.jobs import Progress
from fossilrepo.services.keys import Keys
from fossilrepo.services.links import Links
from fossilrepo.services.mirror_plan import Plan
from fossilrepo.services.runs import One, Outcome, Stopped
from fossilrepo.services.shelf import Shelf
from fossilrepo.tools import forge as forges
from fossilrepo.tools import git_address, git_export, git_remote, git_wiki
from fossilrepo.tools.fossil import Limits
from fossilrepo.tools.git_export import Export
from fossilrepo.tools.git_remote import Commit, Credentials, OnLine, Remote
from fossilrepo.tools.git_words import HostKeyChanged
from fossilrepo.tools.identity import Identity
from fossilrepo.wording import plural

TOKEN_LOOKED_AT_EVERY = 12 * 3600.0  # seconds
EXPORTING = 0.6  # of a run's progress
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would do now; `lost` are the newest commits behind refs that would go."""

    plan: Plan
    checkins: int
    desired: dict[str, str]
    lost: Mapping[str, Sequence[Commit]]
    renamed: tuple[tuple[str, str], ...]


class Mirroring:
    """What `runs` knows of mirrors."""

    kind = "mirror"

    def __init__(
        self,
        settings: Settings,
        store: MirrorStore,
        authors: GitAuthors,
        issues: IssueSync,
        shelf: Shelf,
        keys: Keys,
        links: Links,
        identity: Identity | None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._authors = authors
        self._issues = issues
        self._shelf = shelf
        self._keys = keys
        self._links = links
        self._identity = identity
        self._token_seen: dict[str, float] = {}  # mirror to when its token was looked at

    # For `runs`

    async def due(self, at: datetime) -> Sequence[Mirror]:
        return await self._store.due(at)

    async def of(self, repository_id: str) -> Sequence[Mirror]:
        return await self._store.list(repository_id)

    async def all(self) -> Sequence[Mirror]:
        return await self._store.list()

    async def one(self, one_id: str) -> Mirror | None:
        return await self._store.get(one_id)

    async def update(self, one_id: str, **changes: Any) -> Mirror | None:
        return await self._store.update(one_id, **changes)

    def follows(self, one: One) -> bool:
        return True

    async def perform(self, one: One, repository: Repository, progress: Progress) -> Outcome:
        """One run. Stopped when a person is to decide, other errors are tried again."""
        assert isinstance(one, Mirror)  # noqa: S101 - what `one` gives
        mirror = one
        export = await self._exported(mirror, repository, progress)
        async with self.remote(mirror) as remote:
            await self._look_at_token(mirror, repository)
            try:
                found = await remote.refs()
            except HostKeyChanged as error:
                raise Stopped(error.message, hint=error.hint) from error
            if remote.host_key != mirror.host_key:
                await self._store.update(mirror.id, host_key=remote.host_key)
            plan, desired = await self._plan(mirror, repository, export, found.refs)
            if plan.stops:
                await self._stop(mirror, remote, plan, progress)
            refused: Mapping[str, str] = {}
            if plan.updates:
                progress.say(f"pushing {plan.words()}", EXPORTING)
                refused = await remote.push(
                    git_export.git_dir(self._folder(repository)),
                    plan.updates,
                    on_line=_pushing(progress),
                )
                found = await remote.refs()
        await self._settle(mirror, plan, desired, found.refs, refused)
        if export.waiting:
            raise Unavailable(
                f"{export.waiting} check-ins wait for files that have not arrived yet",
                hint="push again from a clone that has them",
            )
        progress.say("the remote has been read back and is equal", 0.95)
        await self._tell_forge(mirror, repository, export, is_first=plan.is_first)
        if mirror.issues:
            progress.say("tickets")
            await self._sync_issues(mirror, repository, progress)
        return Outcome(_words(export, plan), export.rcvid)

    # The steps

    async def _exported(self, mirror: Mirror, repository: Repository, progress: Progress) -> Export:
        self._shelf.require_space()
        progress.say("exporting", 0.0)
        source, folder = self._shelf.file(repository.id), self._folder(repository)
        authors = await self._authors.of(repository)

        def on_progress(done: int, of: int) -> None:
            share = EXPORTING * done / of if of else EXPORTING
            progress.say(f"exporting check-ins: {done} of {of}", share)

        export = await git_export.export(
            source,
            folder,
            main_branch=await self._store.main_branch(repository.id),
            authors=authors,
            identity=self._identity,
            limits=self._limits(),
            on_progress=on_progress,
        )
        for name, ref in export.renamed:
            progress.say(f"{name!r} is called {ref} in Git")
        for checkin, why in export.left_out[:20]:
            progress.say(f"check-in {checkin[:12]} is not mirrored whole: {why}")
        if mirror.wiki:
            progress.say("wiki")
            commit = await git_wiki.export_wiki(
                source, folder, authors=authors, identity=self._identity, limits=self._limits()
            )
            if commit:
                export.refs[mirror_plan.WIKI] = commit
        return export

    async def _plan(
        self, mirror: Mirror, repository: Repository, export: Export, remote: Mapping[str, str]
    ) -> tuple[Plan, dict[str, str]]:
        desired = mirror_plan.wanted(export.refs, mirror.branches, tags=mirror.tags)
        owned = await self._store.refs(mirror.id)
        known = await git_export.known(self._folder(repository), sorted(set(remote.values())))
        plan = mirror_plan.plan(
            desired=desired,
            export=export.refs,
            owned=owned,
            remote=remote,
            known=known,
            taken_over=mirror.taken_over,
        )
        return plan, desired

    async def _stop(self, mirror: Mirror, remote: Remote, plan: Plan, progress: Progress) -> None:
        """Say what would be lost, remember it for the person who decides, and end the run."""
        await self._store.update(mirror.id, seen=plan.conflicts)
        commits = await remote.commits(sorted(set(plan.conflicts.values())))
        for ref, theirs in plan.conflicts.items():
            progress.say(f"{ref} holds {theirs[:12]} there, which is not in Fossil")
            for commit in commits.get(theirs, [])[:10]:
                progress.say(f"  {commit.hash[:12]} {commit.author}: {commit.subject}"[:300])
        names = ", ".join(_short(ref) for ref in list(plan.conflicts)[:5])
        if plan.is_first:
            raise Stopped(
                f"the remote is not empty ({names}): nothing was pushed",
                hint="look at what is there, then take it over or choose another remote",
            )
        raise Stopped(
            f"the remote has commits that Fossil has not ({names}): nothing was pushed",
            hint="bring them into Fossil, or take the remote over: then they are lost there",
        )

    async def _settle(
        self,
        mirror: Mirror,
        plan: Plan,
        desired: Mapping[str, str],
        remote: Mapping[str, str],
        refused: Mapping[str, str],
    ) -> None:
        """Remember what is ours there now; ToolFailed unless all of it is as it should be."""
        ours = {ref: commit for ref, commit in desired.items() if remote.get(ref) == commit}
        gone = {update.ref for update in plan.updates if not update.new}
        before = await self._store.refs(mirror.id)
        kept = {
            ref: commit
            for ref, commit in before.items()
            if ref not in ours and ref in remote and (ref in desired or ref in gone)
        }
        await self._store.set_refs(mirror.id, kept | ours)
        wrong = sorted((desired.keys() - ours.keys()) | (gone & remote.keys()))
        if wrong:
            ref = next((ref for ref in wrong if ref in refused), wrong[0])
            why = refused.get(ref, "after the push it holds something else there")
            more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise ToolFailed(f"{_short(ref)} was not taken: {why}{more}")
        await self._store.update(mirror.id, seen={}, taken_over={})

    # What forges know beside Git

    def _forge(self, mirror: Mirror, token: str) -> forges.Forge | None:
        if mirror.kind is ForgeKind.GIT or not token:
            return None
        networks = self._settings.sync.allowed_networks
        return forges.forge_of(mirror.kind, mirror.api_url, token, networks)

    async def _look_at_token(self, mirror: Mirror, repository: Repository) -> None:
        """Before the first push, and twice a day: what the token may, and how long."""
        seen = self._token_seen.get(mirror.id)
        if seen is not None and time.monotonic() - seen < TOKEN_LOOKED_AT_EVERY:
            return
        forge = self._forge(mirror, (await self.credentials(mirror)).token)
        if forge is None:
            return
        facts = await forge.token()
        self._token_seen[mirror.id] = time.monotonic()
        await self._store.update(mirror.id, token_expires_at=facts.expires_at)
        if facts.expires_at is not None and facts.expires_at <= now():
            raise ToolFailed("the token has expired", hint="make another one and set it")
        path = forges.path_of(mirror.url, mirror.kind)
        there = await forge.repository(path)
        if there is None:
            if not await self._rule_creates(mirror):
                raise ToolFailed(
                    f"there is no repository {path}, or the token may not see it",
                    hint="make it there first, or let it be created",
                )
            await forge.create(
                path,
                private=repository.visibility is not Visibility.PUBLIC,
                description=repository.shown_title,
                default_branch=await self._store.main_branch(repository.id),
            )
        elif facts.can_push is False or there.can_push is False:
            raise ToolFailed(
                f"the token may not write to {path}", hint="give it the right to write"
            )

    async def _rule_creates(self, mirror: Mirror) -> bool:
        rules = await self._store.rules()
        return any(rule.id == mirror.rule_id and rule.create for rule in rules)

    async def _tell_forge(
        self, mirror: Mirror, repository: Repository, export: Export, *, is_first: bool
    ) -> None:
        """Description, address and default branch, once; a mirror is none the worse without."""
        if not is_first:
            return
        try:
            forge = self._forge(mirror, (await self.credentials(mirror)).token)
            if forge is not None:
                await forge.describe(
                    forges.path_of(mirror.url, mirror.kind),
                    description=f"Mirror of {repository.shown_title}",
                    homepage=self._links.repo_url(repository.label),
                    default_branch=export.head.removeprefix(mirror_plan.BRANCH),
                )
        except FossilrepoError as error:
            log.warning("%s: the remote was not described: %s", repository.label, error)

    async def _sync_issues(
        self, mirror: Mirror, repository: Repository, progress: Progress
    ) -> None:
        forge = self._forge(mirror, (await self.credentials(mirror)).token)
        if forge is None:
            raise ToolFailed(
                "tickets need a remote with an API and a token",
                hint="set its kind and a token, or switch tickets off",
            )
        path = forges.path_of(mirror.url, mirror.kind)
        progress.say(await self._issues.sync(mirror, repository, forge, path, progress))

    # Also for those who look without pushing

    @asynccontextmanager
    async def remote(self, mirror: Mirror) -> AsyncIterator[Remote]:
        async with self.opened(mirror.url, await self.credentials(mirror)) as remote:
            yield remote

    @asynccontextmanager
    async def opened(self, url: str, credentials: Credentials) -> AsyncIterator[Remote]:
        async with git_remote.opened(
            git_address.parse(url),
            credentials,
            networks=self._settings.sync.allowed_networks,
            scratch=self._shelf.scratch,
            folders=self._settings.mirrors,
            identity=self._identity,
            limits=self._limits(),
        ) as remote:
            yield remote

    async def credentials(self, mirror: Mirror) -> Credentials:
        token, private_key = await self._store.secrets(mirror.id)
        return Credentials(
            user=mirror.user,
            token=await self._opened(token),
            private_key=await self._opened(private_key),
            host_key=mirror.host_key,
        )

    async def preview(
        self, mirror: Mirror, repository: Repository, credentials: Credentials
    ) -> Preview:
        """What a run would do; only the export is brought up to date."""
        export = await self._exported(mirror, repository, Progress())
        async with self.opened(mirror.url, credentials) as remote:
            found = await remote.refs()
            plan, desired = await self._plan(mirror, repository, export, found.refs)
            lost = await remote.commits(sorted(set(plan.conflicts.values())))
        return Preview(plan, export.checkins, desired, lost, export.renamed)

    async def before_purge(self, repository: Repository) -> None:
        """What is ended for good keeps no export."""
        await git_export.forget(self._folder(repository))

    def forget_token(self, mirror_id: str) -> None:
        """It is another one now, and looked at before the next push."""
        self._token_seen.pop(mirror_id, None)

    async def _opened(self, secret: bytes | None) -> str:
        if secret is None:
            return ""
        try:
            return (await asyncio.to_thread(self._keys.decrypt, secret)).decode()
        except FossilrepoError as error:
            raise InvalidInput(
                "the token was kept with another key than secret.key: it needs to be set again",
                hint=error.hint,
            ) from None

    def _folder(self, repository: Repository) -> Path:
        return self._settings.git / repository.id

    def _limits(self) -> Limits:
        return Limits(seconds=self._settings.sync.job_time)


def _pushing(progress: Progress) -> OnLine:
    """Lines of git's own progress; the refs are told at the end."""

    def say(line: str) -> None:
        if "%" in line or line.startswith(("remote:", "error:", "fatal:")):
            progress.say(line[:200])

    return say


def _words(export: Export, plan: Plan) -> str:
    done, checkins = plan.words(), plural(export.checkins, "check-in")
    if not done:
        return f"nothing new: {checkins} there, as read back just now"
    return f"pushed {done}; {checkins} there"


def _short(ref: str) -> str:
    return ref.removeprefix(mirror_plan.BRANCH).removeprefix("refs/")
