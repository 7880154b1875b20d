"""What the host can do, for its three faces: the site, the API and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # whoever needs one module of this package does not load all
    from fossilrepo.config import Settings
    from fossilrepo.services.access import Access
    from fossilrepo.services.access_keys import AccessKeys
    from fossilrepo.services.accounts import Accounts
    from fossilrepo.services.alerts import Alerts
    from fossilrepo.services.api_tokens import ApiTokens
    from fossilrepo.services.audit import Audit
    from fossilrepo.services.audit_log import AuditLog
    from fossilrepo.services.certificates import Certificates
    from fossilrepo.services.checkup import Checkup
    from fossilrepo.services.demo import Demo
    from fossilrepo.services.elevation import Elevations
    from fossilrepo.services.git_authors import GitAuthors
    from fossilrepo.services.grants import Grants
    from fossilrepo.services.health import Health
    from fossilrepo.services.imports import Imports
    from fossilrepo.services.insights import Insights
    from fossilrepo.services.invitations import Invitations
    from fossilrepo.services.jobs import Jobs
    from fossilrepo.services.leaving import Leaving
    from fossilrepo.services.links import Links
    from fossilrepo.services.mail import Mail
    from fossilrepo.services.mirror_rules import MirrorRules
    from fossilrepo.services.mirrors import Mirrors
    from fossilrepo.services.moving_in import MovingIn
    from fossilrepo.services.natives import Natives
    from fossilrepo.services.opening import Opening
    from fossilrepo.services.organizations import Organizations
    from fossilrepo.services.people import People
    from fossilrepo.services.previews import Previews
    from fossilrepo.services.replication import Replication
    from fossilrepo.services.repos import Repositories
    from fossilrepo.services.resets import Resets
    from fossilrepo.services.restores import Restores
    from fossilrepo.services.retention import Retention
    from fossilrepo.services.runs import Runs
    from fossilrepo.services.second_factor import SecondFactor
    from fossilrepo.services.skins import Skins
    from fossilrepo.services.upgrade import Upgrade
    from fossilrepo.services.upstreams import Upstreams
    from fossilrepo.services.verification import Verification
    from fossilrepo.services.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    repos: Repositories
    imports: Imports
    jobs: Jobs
    accounts: Accounts
    health: Health
    audit: Audit
    audit_log: AuditLog
    access: Access
    links: Links
    replication: Replication
    restores: Restores
    previews: Previews
    verification: Verification
    retention: Retention
    organizations: Organizations
    grants: Grants
    natives: Natives
    access_keys: AccessKeys
    elevation: Elevations
    mail: Mail
    invitations: Invitations
    resets: Resets
    people: People
    second_factor: SecondFactor
    opening: Opening
    api_tokens: ApiTokens
    runs: Runs
    mirrors: Mirrors
    mirror_rules: MirrorRules
    git_authors: GitAuthors
    upstreams: Upstreams
    webhooks: Webhooks
    alerts: Alerts
    certificates: Certificates
    checkup: Checkup
    moving_in: MovingIn
    leaving: Leaving
    insights: Insights
    skins: Skins
    demo: Demo
    upgrade: Upgrade
