"""The tables of insights, all derived from the repositories' files; see `tables` for the others.

Owns table and column names only. What finds words in `timeline` (FTS5 in SQLite, an index of
`tsvector` in PostgreSQL) is made by the migration, since it is none of SQLAlchemy's kinds.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from fossilrepo.db.tables import Moment, metadata


def _repository(*, key: bool = True) -> Column[Any]:
    return Column(
        "repository_id",
        ForeignKey("repositories.id", ondelete="CASCADE"),
        primary_key=key,
        nullable=False,
    )


insights = Table(  # what a repository was last seen to hold, and how far it was read
    "insights",
    metadata,
    _repository(),
    Column("rcvid", BigInteger, nullable=False),
    Column("counts", JSON, nullable=False),  # events by kind
    Column("restored", Text, nullable=False, default=""),
    Column("seen", Text, nullable=False, default=""),  # the file's fingerprint then
    Column("head", String(64), nullable=False, default=""),
    Column("open_branches", JSON, nullable=False),
    Column("contacts", JSON, nullable=False),  # login to e-mail address
    Column("tickets", JSON, nullable=False),
    Column("languages", JSON, nullable=False),  # ending to files and bytes
    Column("biggest", JSON, nullable=False),
    Column("pushes", JSON, nullable=False),  # by day
    Column("hours", JSON, nullable=False),  # check-ins in each of the week's 168 hours
    Column("wiki_pages", Integer, nullable=False, default=0),
    Column("readme_name", Text, nullable=False, default=""),
    Column("readme", Text, nullable=False, default=""),
    Column("read_at", Moment, nullable=False),
    Column("seconds", Float, nullable=False, default=0.0),
)

timeline = Table(
    "timeline",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    _repository(key=False),
    Column("hash", String(64), nullable=False),
    Column("kind", String(2), nullable=False),
    Column("at", Moment, nullable=False, index=True),
    Column("user", Text, nullable=False, default=""),
    Column("text", Text, nullable=False, default=""),
    Column("branch", Text, nullable=False, default=""),
    UniqueConstraint("repository_id", "hash"),
    Index("ix_timeline_repository_id_at", "repository_id", "at"),
    sqlite_autoincrement=True,  # an id that was deleted never comes back
)

insight_days = Table(
    "insight_days",
    metadata,
    _repository(),
    Column("day", Integer, primary_key=True),  # its ordinal, in UTC
    Column("kind", String(2), primary_key=True),
    Column("count", Integer, nullable=False),
    Index("ix_insight_days_day", "day", "kind", "repository_id", "count"),  # sums from it alone
)

insight_users = Table(
    "insight_users",
    metadata,
    _repository(),
    Column("user", Text, primary_key=True),
    Column("checkins", Integer, nullable=False),
    Column("others", Integer, nullable=False),
    Column("first_at", Moment, nullable=False),
    Column("last_at", Moment, nullable=False),
)

insight_branches = Table(
    "insight_branches",
    metadata,
    _repository(),
    Column("branch", Text, primary_key=True),
    Column("checkins", Integer, nullable=False),
    Column("first_at", Moment, nullable=False),
    Column("last_at", Moment, nullable=False),
)

insight_sizes = Table(
    "insight_sizes",
    metadata,
    _repository(),
    Column("day", Integer, primary_key=True),
    Column("bytes", BigInteger, nullable=False),
)

disk_days = Table(  # of the disk that holds the data, as it was last seen on that day
    "disk_days",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("repositories", BigInteger, nullable=False),
    Column("free", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
)
