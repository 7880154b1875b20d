"""The core: database, files and services, put together from the settings.

What works with or without a running host; the command line needs no more. The
site, the children and the watcher come on top in `app.py`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from fossilrepo import resources
from fossilrepo.config import Settings
from fossilrepo.db.access import AccessStore
from fossilrepo.db.alerts import AlertStore
from fossilrepo.db.backups import BackupStore
from fossilrepo.db.engine import Database
from fossilrepo.db.factors import FactorStore
from fossilrepo.db.insights import InsightStore
from fossilrepo.db.inventory import Inventory
from fossilrepo.db.journal import AuditStore, JobStore
from fossilrepo.db.logins import LoginStore
from fossilrepo.db.migrate import migrate
from fossilrepo.db.mirrors import MirrorStore
from fossilrepo.db.one_time import OneTimeStore
from fossilrepo.db.organizations import OrganizationStore
from fossilrepo.db.people import PeopleStore
from fossilrepo.db.repositories import RepositoryStore
from fossilrepo.db.timeline import Timeline
from fossilrepo.db.upstreams import UpstreamStore
from fossilrepo.db.webhooks import WebhookStore
from fossilrepo.errors import FossilrepoError
from fossilrepo.runtime.locks import FileLocks
from fossilrepo.runtime.tasks import Tasks
from fossilrepo.services import Services
from fossilrepo.services.access import Access
from fossilrepo.services.access_keys import AccessKeys
from fossilrepo.services.accounts import Accounts
from fossilrepo.services.adoption import Adoption
from fossilrepo.services.alerts import Alerts
from fossilrepo.services.api_tokens import ApiTokens
from fossilrepo.services.audit import Audit
from fossilrepo.services.audit_log import AuditLog
from fossilrepo.services.bring_back import LARGEST, BringBack
from fossilrepo.services.certificates import Certificates
from fossilrepo.services.checkup import Checkup
from fossilrepo.services.demo import Demo
from fossilrepo.services.drift import Drift
from fossilrepo.services.elevation import Elevations
from fossilrepo.services.folder import Folder
from fossilrepo.services.former_names import FormerNames
from fossilrepo.services.git_authors import GitAuthors
from fossilrepo.services.grants import Grants
from fossilrepo.services.health import Health
from fossilrepo.services.imports import Imports
from fossilrepo.services.insights import Insights
from fossilrepo.services.invitations import Invitations
from fossilrepo.services.issue_sync import IssueSync
from fossilrepo.services.jobs import Jobs
from fossilrepo.services.keys import Keys
from fossilrepo.services.leaving import Leaving
from fossilrepo.services.links import Links
from fossilrepo.services.mail import Mail
from fossilrepo.services.manifest import Manifest
from fossilrepo.services.mending import Mending
from fossilrepo.services.mirror_rules import MirrorRules
from fossilrepo.services.mirroring import Mirroring
from fossilrepo.services.mirrors import Mirrors
from fossilrepo.services.moving_in import MovingIn
from fossilrepo.services.natives import Natives
from fossilrepo.services.opening import Opening
from fossilrepo.services.organizations import Organizations
from fossilrepo.services.people import People
from fossilrepo.services.people_import import PeopleImport
from fossilrepo.services.points import Points
from fossilrepo.services.previews import Previews
from fossilrepo.services.projection import Projection
from fossilrepo.services.rebuild_ground import refuse_half_done
from fossilrepo.services.replacing import Replacing
from fossilrepo.services.replication import Replication
from fossilrepo.services.repos import Repositories
from fossilrepo.services.resets import Resets
from fossilrepo.services.restores import Restores
from fossilrepo.services.retention import Retention
from fossilrepo.services.runs import Runs
from fossilrepo.services.second_factor import SecondFactor
from fossilrepo.services.shelf import Shelf
from fossilrepo.services.skins import Skins
from fossilrepo.services.upgrade import Upgrade
from fossilrepo.services.upstreams import Upstreams
from fossilrepo.services.verification import Verification
from fossilrepo.services.webhook_delivery import Sender
from fossilrepo.services.webhooks import Webhooks
from fossilrepo.tools import jail
from fossilrepo.tools.caddy import Caddy
from fossilrepo.tools.fossil import Fossil
from fossilrepo.tools.gate import Gate
from fossilrepo.tools.identity import service_identity
from fossilrepo.tools.jail import Walls
from fossilrepo.tools.litestream import Control
from fossilrepo.tools.targets import target_of
from fossilrepo.tools.wal_guard import WalGuard

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Core:
    """What works with or without a running host."""

    services: Services
    shelf: Shelf
    folder: Folder
    drift: Drift
    projection: Projection
    adoption: Adoption
    mending: Mending
    manifest: Manifest
    caddy: Caddy
    replacing: Replacing
    tasks: Tasks
    probe_walls: Callable[[], Awaitable[Walls]]


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """The services without children and without a site: for the command line."""
    async with open_core(settings, _loud) as core:
        yield core.services


def _loud(name: str, error: BaseException) -> None:
    log.critical("the task %s ended: %s", name, error)


@asynccontextmanager
async def open_core(
    settings: Settings, fatal: Callable[[str, BaseException], None]
) -> AsyncIterator[Core]:
    await asyncio.to_thread(prepare, settings)
    identity = await asyncio.to_thread(service_identity, settings.data)
    shelf = Shelf(settings, identity)
    keys = await asyncio.to_thread(Keys, settings.key_file)
    async with AsyncExitStack() as stack:
        stack.callback(shelf.hand_over)
        stack.callback(os.close, await asyncio.to_thread(shelf.use_scratch))
        guard = WalGuard()
        stack.callback(guard.close)
        database = Database(settings)
        stack.push_async_callback(database.close)
        await migrate(database)
        tasks = Tasks(fatal)
        stack.push_async_callback(tasks.close)

        store, people = RepositoryStore(database), PeopleStore(database)
        backups = BackupStore(database)
        audit, jobs = Audit(AuditStore(database)), Jobs(JobStore(database), tasks)
        links = Links(settings)
        links.bind_from(settings.run_dir / "site-port")
        fossil = Fossil(settings.scratch, identity)
        gate = Gate(identity, settings.scratch, largest=settings.limits.repository)
        organizations, inside = OrganizationStore(database), AccessStore(database)
        access = Access(database, organizations, inside, store)
        locks = FileLocks(settings.run_dir / "locks")
        projection = Projection(store, people, access, keys, shelf, locks)
        former = FormerNames(inside)
        skins = Skins(store, access, shelf, links)
        caddy = Caddy(settings, resources.caddyfile(), identity)
        repos = Repositories(store, shelf, fossil, projection, locks, audit, links, access, former)
        adoption = Adoption(store, shelf, repos, gate, audit, settings.limits.repository)
        folder = Folder(store, shelf, repos, adoption, projection, audit)
        drift = Drift(inside, store, projection, audit)
        probe_walls = partial(jail.probe, settings.repos, identity)
        health = Health(settings, database, store, shelf, fossil, jobs, links, probe_walls)
        control = Control(settings.run_dir / "litestream.sock")
        replication = Replication(
            settings, target_of(settings), control, guard, store, backups, shelf
        )
        await replication.load()
        repos.backed_by(replication.standing)
        repos.protected_by(replication.protect)
        health.backed_by(replication)
        bring_back = BringBack(
            replication, shelf, Gate(identity, settings.scratch, largest=LARGEST)
        )
        points = Points(store, backups, replication, shelf, bring_back, access)
        replacing = Replacing(store, backups, replication, projection, shelf, locks)
        repos.before_purge.append(replacing.before_purge)
        upgrade = Upgrade(fossil, store, shelf, replacing, jobs, audit)
        health.more_checks.append(upgrade.doctor)
        natives = Natives(inside, people, store, access, projection, shelf, audit)
        access_keys = AccessKeys(inside, store, access, projection, keys, audit)
        one_time, logins = OneTimeStore(database), LoginStore(database)
        second_factor = SecondFactor(FactorStore(database), people, keys, links, audit)
        accounts = Accounts(people, one_time, second_factor, keys, audit, projection.project_all)
        mail = Mail(settings)
        health.mailed_by(mail)
        stack.push_async_callback(mail.close)
        invitations = Invitations(
            one_time, logins, access, accounts, keys, projection, mail, links, audit
        )
        resets = Resets(one_time, people, accounts, mail, links, audit)
        stack.push_async_callback(resets.close)
        bulk = PeopleImport(logins, access, natives, resets, keys, mail, links, audit)
        runs = Runs(settings, store, shelf, jobs, locks)
        mirrors = MirrorStore(database)
        authors = GitAuthors(mirrors, access, shelf, audit, settings.git)
        mirroring = Mirroring(
            settings,
            mirrors,
            authors,
            IssueSync(mirrors, shelf, links),
            shelf,
            keys,
            links,
            identity,
        )
        runs.register(mirroring)
        repos.before_purge.append(mirroring.before_purge)
        sending = Sender(WebhookStore(database), keys, settings.sync.allowed_networks)
        upstreams = UpstreamStore(database)
        alerts = Alerts(
            settings, AlertStore(database), mirrors, upstreams, store, replication, health, links
        )
        health.more_checks.append(alerts.doctor)
        certificates = Certificates(settings, caddy, store, health)
        health.more_checks.append(certificates.doctor)
        alerts.more.append(certificates.troubles)
        insights = Insights(
            InsightStore(database), Timeline(database), store, shelf, access, health, locks
        )
        health.more_checks.append(insights.doctor)
        checkup = Checkup(settings, store, shelf, projection, insights, fossil)
        health.more_checks.insert(0, checkup.doctor)
        repos.before_purge.append(insights.forget)
        repos.before_place.append(skins.dress)
        repos.after_add.append(insights.changed)
        repos.after_move.append(skins.changed)
        imports = Imports(settings, repos, shelf, fossil, gate, jobs)
        services = Services(
            settings=settings,
            insights=insights,
            skins=skins,
            certificates=certificates,
            checkup=checkup,
            upgrade=upgrade,
            demo=Demo(fossil, shelf, settings.mirrors),
            runs=runs,
            alerts=alerts,
            mirrors=Mirrors(settings, mirrors, store, access, runs, mirroring, keys, audit),
            mirror_rules=MirrorRules(mirrors, store, access, runs, mirroring, keys, audit),
            git_authors=authors,
            upstreams=Upstreams(
                settings, upstreams, store, access, runs, fossil, shelf, keys, audit
            ),
            webhooks=Webhooks(
                WebhookStore(database), store, access, shelf, keys, links, audit, sending
            ),
            organizations=Organizations(
                organizations, people, store, access, projection, skins, audit
            ),
            grants=Grants(organizations, inside, people, access, natives, projection, audit),
            natives=natives,
            access_keys=access_keys,
            elevation=Elevations(inside, people, store, access, projection, audit, access_keys),
            mail=mail,
            invitations=invitations,
            resets=resets,
            people=People(
                people, logins, accounts, access, natives, bulk, projection, keys, mail, audit
            ),
            second_factor=second_factor,
            api_tokens=ApiTokens(people, audit),
            opening=Opening(inside, people, store, backups, access, projection, keys, shelf, audit),
            repos=repos,
            imports=imports,
            jobs=jobs,
            moving_in=MovingIn(imports, jobs, repos),
            leaving=Leaving(repos, links),
            accounts=accounts,
            health=health,
            audit=audit,
            audit_log=AuditLog(AuditStore(database), access),
            access=access,
            links=links,
            replication=replication,
            restores=Restores(
                settings, repos, points, bring_back, replacing, replication, shelf, jobs, audit
            ),
            previews=Previews(
                backups,
                points,
                bring_back,
                projection,
                shelf,
                links,
                jobs,
                audit,
                locks,
            ),
            verification=Verification(
                settings, store, backups, replication, shelf, fossil, jobs, audit, locks
            ),
            retention=Retention(settings, store, backups, replication, shelf, jobs, audit),
        )
        services.imports.followed_by(services.upstreams.follow)
        repos.before_purge.append(services.previews.before_purge)
        folder.on_change += [
            runs.changed,
            services.webhooks.changed,
            services.mirror_rules.changed,
            insights.changed,
            skins.changed,
        ]
        resets.after_use.append(services.opening.sign_out_everywhere)
        accounts.after_ending.append(services.opening.sign_out_everywhere)
        mending = Mending(settings, replication, backups, shelf, audit)
        manifest = Manifest(settings, replication.target, Inventory(database), links)
        yield Core(
            services,
            shelf,
            folder,
            drift,
            projection,
            adoption,
            mending,
            manifest,
            caddy,
            replacing,
            tasks,
            probe_walls,
        )


def prepare(settings: Settings) -> None:
    refuse_half_done(settings)
    try:
        Shelf(settings, service_identity(settings.data)).prepare()
    except OSError as error:
        raise FossilrepoError(
            f"the data folder {settings.data} cannot be used: {error.strerror}",
            hint="set data_dir to a folder that this account may write",
            field="data_dir",
        ) from None
