"""Rules by which every repository of an organization has a mirror, with one token for all.

Owns the rules, and that each repository of the organization gets its mirror, new ones too. A
mirror that a rule made is like any other; it uses the rule's token while it has none of its own.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
from collections.abc import Mapping
from typing import Any

from fossilrepo.bridge import (
    ForgeKind,
    Mirror,
    MirrorRule,
    MirrorState,
    check_glob,
    check_token,
)
from fossilrepo.db.mirrors import MirrorStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.errors import FossilrepoError, InvalidInput, NotFound
from fossilrepo.models import Actor, Repository, RepositoryState, new_id, now
from fossilrepo.runtime import schedule as schedules
from fossilrepo.services.access import Access
from fossilrepo.services.audit import Audit
from fossilrepo.services.keys import Keys
from fossilrepo.services.mirroring import Mirroring
from fossilrepo.services.runs import Runs
from fossilrepo.tools import forge as forges
from fossilrepo.tools import git_address

NAME = "{name}"
APPLY_EVERY = 60.0  # seconds; new repositories are seen at once by `changed`

log = logging.getLogger(__name__)


class MirrorRules:
    def __init__(
        self,
        store: MirrorStore,
        repositories: RepositoryStore,
        access: Access,
        runs: Runs,
        mirroring: Mirroring,
        keys: Keys,
        audit: Audit,
    ) -> None:
        self._store = store
        self._repositories = repositories
        self._access = access
        self._runs = runs
        self._mirroring = mirroring
        self._keys = keys
        self._audit = audit

    async def list(self, actor: Actor, org: str | None = None) -> builtins.list[MirrorRule]:
        """Those of one organization, or of all that the actor owns."""
        if org is not None:
            await self._access.owned(actor, org)
        found = await self._store.rules(org)
        return [rule for rule in found if await self._access.owns(actor, rule.org)]

    async def mirrors(self, actor: Actor, rule_id: str) -> builtins.list[Mirror]:
        """The mirrors that the rule made."""
        rule = await self._rule(actor, rule_id)
        return [mirror for mirror in await self._store.list() if mirror.rule_id == rule.id]

    async def add(
        self,
        actor: Actor,
        org: str,
        url: str,
        *,
        kind: ForgeKind | None = None,
        api_url: str = "",
        user: str = "",
        token: str = "",
        branches: str = "*",
        schedule: str = "",
        on_change: bool = True,
        create: bool = False,
    ) -> MirrorRule:
        """A new rule, which gives every repository of the organization its mirror at once.

        `{name}` in `url` becomes its name; `create`: repositories that are missing are made.
        """
        await self._access.owned(actor, org)
        address = _address(url, "some-name")
        if address.is_ssh or address.is_folder:
            raise InvalidInput(
                "a rule needs an https address: keys by ssh and folders are for one mirror each",
                hint="write https://HOST/OWNER/{name}",
                field="url",
            )
        kind = forges.kind_of(address, kind)
        if create and (kind is ForgeKind.GIT or not token):
            raise InvalidInput(
                "repositories can be made through an API only, with a token",
                hint="set the kind (github, gitlab, gitea) and a token",
                field="create",
            )
        if kind is not ForgeKind.GIT:
            api_url = forges.checked_api_url(api_url or forges.api_url_of(kind, address.url))
        rule = await self._store.add_rule(
            id=new_id(),
            org=org,
            url=url.strip(),
            kind=str(kind),
            api_url=api_url if kind is not ForgeKind.GIT else "",
            user=user,
            token=await self._locked(token),
            branches=check_glob(branches),
            schedule=schedules.check(schedule),
            on_change=on_change,
            create=create,
            created_by=actor.login,
            created_at=now(),
        )
        await self._record(actor, "add", rule)
        await self.apply(rule)
        return rule

    async def set_token(self, actor: Actor, rule_id: str, token: str) -> MirrorRule:
        """Another token for all of its mirrors, which are tried at once with it."""
        rule = await self._rule(actor, rule_id)
        changed = await self._store.update_rule(rule.id, token=await self._locked(token))
        for mirror in await self._store.list():
            if mirror.rule_id == rule.id and not mirror.has_token:
                self._mirroring.forget_token(mirror.id)
                paused = mirror.standing.state is MirrorState.PAUSED
                again: Mapping[str, Any] = {} if paused else {"wanted_at": now(), "failures": 0}
                await self._store.update(mirror.id, token_expires_at=None, **again)
        self._runs.wake()
        await self._record(actor, "token", rule)
        return changed or rule

    async def remove(self, actor: Actor, rule_id: str, *, mirrors: bool = False) -> MirrorRule:
        """The rule goes; its mirrors stay, with its token, unless `mirrors` says otherwise."""
        rule = await self._rule(actor, rule_id)
        token = await self._store.rule_token(rule.id)
        for mirror in await self._store.list():
            if mirror.rule_id != rule.id:
                continue
            if mirrors:
                await self._store.remove(mirror.id)
            elif not mirror.has_token:
                await self._store.update(mirror.id, token=token)
        await self._store.remove_rule(rule.id)
        await self._record(actor, "remove", rule, mirrors=mirrors)
        return rule

    # Applying

    async def run(self) -> None:
        """Give new repositories their mirrors, until cancelled."""
        while True:
            for rule in await self._store.rules():
                await self.apply(rule)
            await asyncio.sleep(APPLY_EVERY)

    async def changed(self, repository: Repository) -> None:
        for rule in await self._store.rules(repository.org):
            await self._give(rule, repository, await self._store.list(repository.id))

    async def apply(self, rule: MirrorRule) -> None:
        """Every repository of the organization that has no mirror of the rule gets one."""
        existing: dict[str, builtins.list[Mirror]] = {}
        for mirror in await self._store.list():
            existing.setdefault(mirror.repository_id, []).append(mirror)
        for repository in await self._repositories.all():
            if repository.org == rule.org:
                await self._give(rule, repository, existing.get(repository.id, []))

    async def _give(
        self, rule: MirrorRule, repository: Repository, existing: builtins.list[Mirror]
    ) -> None:
        if repository.state is not RepositoryState.ACTIVE or repository.name is None:
            return
        if any(mirror.rule_id == rule.id for mirror in existing):
            return
        try:
            url = _address(rule.url, repository.name).url
        except FossilrepoError as error:
            await self._store.update_rule(rule.id, last_error=f"{repository.name}: {error.message}")
            return
        if any(mirror.url == url for mirror in existing):
            return
        await self._store.add(
            id=new_id(),
            repository_id=repository.id,
            url=url,
            kind=str(rule.kind),
            api_url=rule.api_url,
            user=rule.user,
            branches=rule.branches,
            schedule=rule.schedule,
            on_change=rule.on_change,
            rule_id=rule.id,
            created_by=rule.created_by,
            created_at=now(),
            wanted_at=now(),
            next_run=schedules.following(rule.schedule, now()),
        )
        self._runs.wake()
        log.info("%s has a mirror to %s by the rule of %s", repository.name, url, rule.org)

    # Helpers

    async def _rule(self, actor: Actor, rule_id: str) -> MirrorRule:
        for rule in await self._store.rules():
            if rule.id == rule_id and await self._access.owns(actor, rule.org):
                return rule
        raise NotFound(
            f"there is no rule {rule_id[:40]!r}", hint="see `fossilrepo mirror rule list`"
        )

    async def _locked(self, secret: str) -> bytes | None:
        check_token(secret)
        return await asyncio.to_thread(self._keys.encrypt, secret.encode()) if secret else None

    async def _record(self, actor: Actor, verb: str, rule: MirrorRule, **detail: Any) -> None:
        await self._audit.record(
            actor,
            f"organization.mirror-rule-{verb}",
            rule.org,
            rule=rule.id,
            url=rule.url,
            **detail,
        )


def _address(url: str, name: str) -> git_address.GitAddress:
    if url.count(NAME) != 1:
        raise InvalidInput(
            f"the address has not one {NAME} in it",
            hint="write https://HOST/OWNER/{name}: it becomes each repository's name",
            field="url",
        )
    return git_address.parse(url.replace(NAME, name))
