"""The tables of the sync bridge; the others, and how they are made, are in `tables`.

Owns table and column names only.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from fossilrepo.db.tables import Moment, metadata


def _of_repository() -> Column[Any]:
    return Column(
        "repository_id",
        ForeignKey("repositories.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    )


def _standing() -> tuple[Column[Any], ...]:
    """How its runs stand: the fields of `bridge.Standing`."""
    return (
        Column("state", String(10), nullable=False, default="new"),
        Column("verified_at", Moment),
        Column("verified_rcvid", BigInteger, nullable=False, default=0),
        Column("lag_checkins", Integer, nullable=False, default=0),
        Column("lag_since", Moment),
        Column("wanted_at", Moment),
        Column("next_run", Moment),
        Column("last_run_at", Moment),
        Column("last_seconds", Float),
        Column("last_error", Text, nullable=False, default=""),
        Column("last_hint", Text, nullable=False, default=""),
        Column("failing_since", Moment),
        Column("failures", Integer, nullable=False, default=0),
        Column("paused_at", Moment),
        Column("paused_why", Text, nullable=False, default=""),
    )


mirror_rules = Table(
    "mirror_rules",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("org", String(63), nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("kind", String(10), nullable=False),
    Column("api_url", Text, nullable=False, default=""),
    Column("user", Text, nullable=False, default=""),
    Column("token", LargeBinary),  # Fernet
    Column("branches", Text, nullable=False, default="*"),
    Column("schedule", Text, nullable=False, default=""),
    Column("on_change", Boolean, nullable=False, default=True),
    Column("create", Boolean, nullable=False, default=False),
    Column("created_by", Text, nullable=False, default=""),
    Column("created_at", Moment, nullable=False),
    Column("last_error", Text, nullable=False, default=""),
)

mirrors = Table(
    "mirrors",
    metadata,
    Column("id", String(12), primary_key=True),
    _of_repository(),
    Column("url", Text, nullable=False),  # without credentials
    Column("kind", String(10), nullable=False),
    Column("api_url", Text, nullable=False, default=""),
    Column("user", Text, nullable=False, default=""),
    Column("token", LargeBinary),  # Fernet; null: none, or the rule's
    Column("token_expires_at", Moment),
    Column("private_key", LargeBinary),  # Fernet; OpenSSH's form
    Column("public_key", Text, nullable=False, default=""),
    Column("host_key", Text, nullable=False, default=""),  # as in known_hosts, pinned
    Column("branches", Text, nullable=False, default="*"),
    Column("tags", Boolean, nullable=False, default=True),
    Column("schedule", Text, nullable=False, default=""),
    Column("on_change", Boolean, nullable=False, default=True),
    Column("wiki", Boolean, nullable=False, default=False),
    Column("issues", Boolean, nullable=False, default=False),
    Column("rule_id", ForeignKey("mirror_rules.id", ondelete="SET NULL"), index=True),
    Column("created_by", Text, nullable=False, default=""),
    Column("created_at", Moment, nullable=False),
    Column("seen", JSON, nullable=False, default=dict),  # refs that a person is to decide about
    Column("taken_over", JSON, nullable=False, default=dict),
    *_standing(),
)

mirror_refs = Table(  # what we pushed and read back: the refs that are ours there
    "mirror_refs",
    metadata,
    Column("mirror_id", ForeignKey("mirrors.id", ondelete="CASCADE"), primary_key=True),
    Column("ref", Text, primary_key=True),
    Column("hash", String(64), nullable=False),
)

mirror_issues = Table(
    "mirror_issues",
    metadata,
    Column("mirror_id", ForeignKey("mirrors.id", ondelete="CASCADE"), primary_key=True),
    Column("ticket", String(64), primary_key=True),
    Column("number", Integer, nullable=False),
    Column("digest", String(64), nullable=False, default=""),  # of what was written there
    Column("comments", JSON, nullable=False, default=dict),  # ours to theirs, with digests
)

upstreams = Table(
    "upstreams",
    metadata,
    Column("id", String(12), primary_key=True),
    Column(
        "repository_id",
        ForeignKey("repositories.id", ondelete="CASCADE"),
        nullable=False,
        unique=True,
    ),
    Column("url", Text, nullable=False),  # without credentials
    Column("user", Text, nullable=False, default=""),
    Column("password", LargeBinary),  # Fernet
    Column("direction", String(5), nullable=False),
    Column("schedule", Text, nullable=False, default=""),
    Column("on_change", Boolean, nullable=False, default=False),
    Column("private", Boolean, nullable=False, default=False),
    Column("unversioned", Boolean, nullable=False, default=False),
    Column("created_by", Text, nullable=False, default=""),
    Column("created_at", Moment, nullable=False),
    *_standing(),
)

git_authors = Table(
    "git_authors",
    metadata,
    Column("repository_id", ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
    Column("user", Text, primary_key=True),
    Column("since", BigInteger, primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
)

git_exports = Table(
    "git_exports",
    metadata,
    Column("repository_id", ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
    Column("main_branch", Text, nullable=False, default="main"),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String(12), primary_key=True),
    _of_repository(),
    Column("url", LargeBinary, nullable=False),  # Fernet: addresses often hold a token
    Column("shown", Text, nullable=False),  # the address without what may be secret
    Column("secret", LargeBinary, nullable=False),  # Fernet; what messages are signed with
    Column("events", JSON, nullable=False),
    Column("active", Boolean, nullable=False, default=True),
    Column("created_by", Text, nullable=False, default=""),
    Column("created_at", Moment, nullable=False),
    Column("last_rcvid", BigInteger, nullable=False, default=0),  # told of up to here
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("webhook_id", ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("event", String(10), nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_at", Moment, index=True),
    Column("delivered_at", Moment),
    Column("status", Integer),
    Column("error", Text, nullable=False, default=""),
    Column("answer", Text, nullable=False, default=""),
    Column("seconds", Float),
    Index("ix_deliveries_webhook_id_created_at", "webhook_id", "created_at"),
)

alerts = Table(  # what people were told last, so that they are told of changes only
    "alerts",
    metadata,
    Column("subject", Text, primary_key=True),  # like `mirror ID`
    Column("condition", String(20), nullable=False),
    Column("since", Moment, nullable=False),
    Column("told_at", Moment),
    Column("text", Text, nullable=False, default=""),
)
