"""Insights: the timeline of every repository, what is counted of it, and words to find it by."""

import sqlalchemy as sa
from alembic import op

from fossilrepo.db.tables import Moment
from fossilrepo.insight import WORDS_SQL

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "insights",
        _repository(),
        sa.Column("rcvid", sa.BigInteger(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("restored", sa.Text(), nullable=False),
        sa.Column("seen", sa.Text(), nullable=False),
        sa.Column("head", sa.String(length=64), nullable=False),
        sa.Column("open_branches", sa.JSON(), nullable=False),
        sa.Column("contacts", sa.JSON(), nullable=False),
        sa.Column("tickets", sa.JSON(), nullable=False),
        sa.Column("languages", sa.JSON(), nullable=False),
        sa.Column("biggest", sa.JSON(), nullable=False),
        sa.Column("pushes", sa.JSON(), nullable=False),
        sa.Column("hours", sa.JSON(), nullable=False),
        sa.Column("wiki_pages", sa.Integer(), nullable=False),
        sa.Column("readme_name", sa.Text(), nullable=False),
        sa.Column("readme", sa.Text(), nullable=False),
        sa.Column("read_at", Moment(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        _of_repository("insights"),
        sa.PrimaryKeyConstraint("repository_id", name=op.f("pk_insights")),
    )
    op.create_table(
        "timeline",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        _repository(),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=2), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        _of_repository("timeline"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_timeline")),
        sa.UniqueConstraint("repository_id", "hash", name=op.f("uq_timeline_repository_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_timeline_at"), "timeline", ["at"])
    op.create_index("ix_timeline_repository_id_at", "timeline", ["repository_id", "at"])
    op.create_table(
        "insight_days",
        _repository(),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=2), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        _of_repository("insight_days"),
        sa.PrimaryKeyConstraint("repository_id", "day", "kind", name=op.f("pk_insight_days")),
    )
    op.create_index(
        "ix_insight_days_day", "insight_days", ["day", "kind", "repository_id", "count"]
    )
    op.create_table(
        "insight_users",
        _repository(),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("checkins", sa.Integer(), nullable=False),
        sa.Column("others", sa.Integer(), nullable=False),
        sa.Column("first_at", Moment(), nullable=False),
        sa.Column("last_at", Moment(), nullable=False),
        _of_repository("insight_users"),
        sa.PrimaryKeyConstraint("repository_id", "user", name=op.f("pk_insight_users")),
    )
    op.create_table(
        "insight_branches",
        _repository(),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("checkins", sa.Integer(), nullable=False),
        sa.Column("first_at", Moment(), nullable=False),
        sa.Column("last_at", Moment(), nullable=False),
        _of_repository("insight_branches"),
        sa.PrimaryKeyConstraint("repository_id", "branch", name=op.f("pk_insight_branches")),
    )
    op.create_table(
        "insight_sizes",
        _repository(),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        _of_repository("insight_sizes"),
        sa.PrimaryKeyConstraint("repository_id", "day", name=op.f("pk_insight_sizes")),
    )
    op.create_table(
        "disk_days",
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("repositories", sa.BigInteger(), nullable=False),
        sa.Column("free", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_disk_days")),
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute(WORDS_SQL)
    else:
        op.execute(
            """CREATE INDEX timeline_words ON timeline
                USING gin (to_tsvector('simple', text || ' ' || "user"))"""
        )


def _repository() -> sa.Column[str]:
    return sa.Column("repository_id", sa.String(length=12), nullable=False)


def _of_repository(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["repository_id"],
        ["repositories.id"],
        name=op.f(f"fk_{table}_repository_id"),
        ondelete="CASCADE",
    )
