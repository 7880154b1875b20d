"""Replicas of repositories: how each stands, trial restores, undo points, previews, targets."""

import sqlalchemy as sa
from alembic import op

from fossilrepo.db.tables import Moment

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "backup_targets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("since", Moment(), nullable=False),
        sa.Column("proven_at", Moment(), nullable=True),
        sa.Column("let_go_at", Moment(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backup_targets")),
    )
    op.create_table(
        "previews",
        sa.Column("id", sa.String(length=12), nullable=False),
        sa.Column("repository_id", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("moment", Moment(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("expires_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_previews")),
        sa.UniqueConstraint("name", name=op.f("uq_previews_name")),
    )
    op.create_table(
        "replicas",
        sa.Column("repository_id", sa.String(length=12), nullable=False),
        sa.Column("label", sa.String(length=63), nullable=False),
        sa.Column("project_code", sa.String(length=80), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("since", Moment(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("behind_since", Moment(), nullable=True),
        sa.Column("synced_at", Moment(), nullable=True),
        sa.Column("txid", sa.BigInteger(), nullable=False),
        sa.Column("replicated_txid", sa.BigInteger(), nullable=False),
        sa.Column("restores", sa.Integer(), nullable=False),
        sa.Column("proven_at", Moment(), nullable=True),
        sa.Column("proven_seconds", sa.Float(), nullable=True),
        sa.Column("proven_checkins", sa.Integer(), nullable=True),
        sa.Column("verify_at", Moment(), nullable=True),
        sa.Column("verify_error", sa.Text(), nullable=False),
        sa.Column("verify_wanted", sa.Boolean(), nullable=False),
        sa.Column("purged_at", Moment(), nullable=True),
        sa.Column("cleared_at", Moment(), nullable=True),
        sa.PrimaryKeyConstraint("repository_id", name=op.f("pk_replicas")),
    )
    op.create_table(
        "restorations",
        sa.Column("id", sa.String(length=12), nullable=False),
        sa.Column("repository_id", sa.String(length=12), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("moment", Moment(), nullable=True),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("checkins_before", sa.Integer(), nullable=False),
        sa.Column("checkins_after", sa.Integer(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("undone_at", Moment(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_restorations")),
    )
    op.create_index(
        op.f("ix_restorations_repository_id"), "restorations", ["repository_id"], unique=False
    )
    op.create_table(
        "verifications",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("repository_id", sa.String(length=12), nullable=False),
        sa.Column("label", sa.String(length=63), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("checkins", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verifications")),
    )
    op.create_index(op.f("ix_verifications_at"), "verifications", ["at"], unique=False)
    op.create_index(
        op.f("ix_verifications_repository_id"), "verifications", ["repository_id"], unique=False
    )
