"""The sync bridge: mirrors, upstreams, rules, webhooks, and what people were told."""

import sqlalchemy as sa
from alembic import op

from fossilrepo.db.tables import Moment

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("condition", sa.String(length=20), nullable=False),
        sa.Column("since", Moment(), nullable=False),
        sa.Column("told_at", Moment(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_alerts")),
    )
    op.create_table(
        "mirror_rules",
        sa.Column("id", sa.String(length=12), nullable=False),
        sa.Column("org", sa.String(length=63), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("api_url", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=True),
        sa.Column("branches", sa.Text(), nullable=False),
        sa.Column("schedule", sa.Text(), nullable=False),
        sa.Column("on_change", sa.Boolean(), nullable=False),
        sa.Column("create", sa.Boolean(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mirror_rules")),
    )
    op.create_index(op.f("ix_mirror_rules_org"), "mirror_rules", ["org"], unique=False)
    op.create_table(
        "git_authors",
        sa.Column("repository_id", sa.String(length=12), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_git_authors_repository_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("repository_id", "user", "since", name=op.f("pk_git_authors")),
    )
    op.create_table(
        "git_exports",
        sa.Column("repository_id", sa.String(length=12), nullable=False),
        sa.Column("main_branch", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_git_exports_repository_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("repository_id", name=op.f("pk_git_exports")),
    )
    op.create_table(
        "mirrors",
        sa.Column("id", sa.String(length=12), nullable=False),
        sa.Column("repository_id", sa.String(length=12), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("api_url", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=True),
        sa.Column("token_expires_at", Moment(), nullable=True),
        sa.Column("private_key", sa.LargeBinary(), nullable=True),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("host_key", sa.Text(), nullable=False),
        sa.Column("branches", sa.Text(), nullable=False),
        sa.Column("tags", sa.Boolean(), nullable=False),
        sa.Column("schedule", sa.Text(), nullable=False),
        sa.Column("on_change", sa.Boolean(), nullable=False),
        sa.Column("wiki", sa.Boolean(), nullable=False),
        sa.Column("issues", sa.Boolean(), nullable=False),
        sa.Column("rule_id", sa.String(length=12), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("seen", sa.JSON(), nullable=False),
        sa.Column("taken_over", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("verified_at", Moment(), nullable=True),
        sa.Column("verified_rcvid", sa.BigInteger(), nullable=False),
        sa.Column("lag_checkins", sa.Integer(), nullable=False),
        sa.Column("lag_since", Moment(), nullable=True),
        sa.Column("wanted_at", Moment(), nullable=True),
        sa.Column("next_run", Moment(), nullable=True),
        sa.Column("last_run_at", Moment(), nullable=True),
        sa.Column("last_seconds", sa.Float(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("last_hint", sa.Text(), nullable=False),
        sa.Column("failing_since", Moment(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("paused_at", Moment(), nullable=True),
        sa.Column("paused_why", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_mirrors_repository_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["rule_id"], ["mirror_rules.id"], name=op.f("fk_mirrors_rule_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mirrors")),
    )
    op.create_index(op.f("ix_mirrors_repository_id"), "mirrors", ["repository_id"], unique=False)
    op.create_index(op.f("ix_mirrors_rule_id"), "mirrors", ["rule_id"], unique=False)
    op.create_table(
        "upstreams",
        sa.Column("id", sa.String(length=12), nullable=False),
        sa.Column("repository_id", sa.String(length=12), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("password", sa.LargeBinary(), nullable=True),
        sa.Column("direction", sa.String(length=5), nullable=False),
        sa.Column("schedule", sa.Text(), nullable=False),
        sa.Column("on_change", sa.Boolean(), nullable=False),
        sa.Column("private", sa.Boolean(), nullable=False),
        sa.Column("unversioned", sa.Boolean(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("verified_at", Moment(), nullable=True),
        sa.Column("verified_rcvid", sa.BigInteger(), nullable=False),
        sa.Column("lag_checkins", sa.Integer(), nullable=False),
        sa.Column("lag_since", Moment(), nullable=True),
        sa.Column("wanted_at", Moment(), nullable=True),
        sa.Column("next_run", Moment(), nullable=True),
        sa.Column("last_run_at", Moment(), nullable=True),
        sa.Column("last_seconds", sa.Float(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("last_hint", sa.Text(), nullable=False),
        sa.Column("failing_since", Moment(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("paused_at", Moment(), nullable=True),
        sa.Column("paused_why", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_upstreams_repository_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upstreams")),
        sa.UniqueConstraint("repository_id", name=op.f("uq_upstreams_repository_id")),
    )
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(length=12), nullable=False),
        sa.Column("repository_id", sa.String(length=12), nullable=False),
        sa.Column("url", sa.LargeBinary(), nullable=False),
        sa.Column("shown", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("last_rcvid", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_webhooks_repository_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index(op.f("ix_webhooks_repository_id"), "webhooks", ["repository_id"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(length=12), nullable=False),
        sa.Column("webhook_id", sa.String(length=12), nullable=False),
        sa.Column("event", sa.String(length=10), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", Moment(), nullable=True),
        sa.Column("delivered_at", Moment(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.id"],
            name=op.f("fk_deliveries_webhook_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    op.create_index(op.f("ix_deliveries_next_at"), "deliveries", ["next_at"], unique=False)
    op.create_index(
        "ix_deliveries_webhook_id_created_at",
        "deliveries",
        ["webhook_id", "created_at"],
        unique=False,
    )
    op.create_table(
        "mirror_issues",
        sa.Column("mirror_id", sa.String(length=12), nullable=False),
        sa.Column("ticket", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("comments", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["mirror_id"],
            ["mirrors.id"],
            name=op.f("fk_mirror_issues_mirror_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("mirror_id", "ticket", name=op.f("pk_mirror_issues")),
    )
    op.create_table(
        "mirror_refs",
        sa.Column("mirror_id", sa.String(length=12), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["mirror_id"], ["mirrors.id"], name=op.f("fk_mirror_refs_mirror_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("mirror_id", "ref", name=op.f("pk_mirror_refs")),
    )
    op.add_column("jobs", sa.Column("target_id", sa.String(length=12), nullable=True))
    op.add_column(
        "jobs", sa.Column("trigger", sa.String(length=10), server_default="", nullable=False)
    )
    op.create_index(op.f("ix_jobs_target_id"), "jobs", ["target_id"], unique=False)
