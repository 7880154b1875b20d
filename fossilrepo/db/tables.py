"""The tables of the control database, the same on SQLite and PostgreSQL.

Owns table and column names only. The first migration creates exactly these;
every later change is a migration of its own, and a test compares the two.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    false,
)


class Moment(TypeDecorator[datetime]):
    """A time in UTC; SQLite gives back naive times, which are made aware again."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo is not None:
            return value  # type: ignore[no-any-return]
        return value.replace(tzinfo=UTC)  # type: ignore[no-any-return]


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

repositories = Table(
    "repositories",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("name", String(63), unique=True),  # null: in the trash
    Column("title", Text, nullable=False, default=""),
    Column("description", Text, nullable=False, default=""),
    Column("org", String(63), nullable=False, default="main"),
    Column("visibility", String(10), nullable=False),
    Column("state", String(10), nullable=False),
    Column("trust", String(10), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("created_by", String(63), nullable=False, default=""),
    Column("project_code", String(80), nullable=False, default=""),
    Column("size_bytes", BigInteger, nullable=False, default=0),
    Column("checkins", Integer, nullable=False, default=0),
    Column("last_change", Moment),
    Column("deleted_at", Moment),
    Column("deleted_name", String(63)),
    Column("reason", Text, nullable=False, default=""),
    Column("removed", JSON, nullable=False, default=list),
    Column("kept_aside", JSON, nullable=False, default=dict),  # values of what was removed
    Column("seen", Text, nullable=False, default=""),  # the file as it was when last read
    Index("ix_repositories_state_name", "state", "name"),
)

drop_ins = Table(
    "drop_ins",
    metadata,
    Column("filename", Text, primary_key=True),
    Column("state", String(10), nullable=False),
    Column("reason", Text, nullable=False),
    Column("seen_at", Moment, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("login", String(32), nullable=False, unique=True),
    Column("name", Text, nullable=False, default=""),
    Column("email", Text, nullable=False, default=""),
    Column("is_admin", Boolean, nullable=False, default=False),
    Column("disabled", Boolean, nullable=False, default=False),
    Column("password_hash", Text, nullable=False, default=""),  # argon2id; empty: cannot sign in
    Column("sync_secret", LargeBinary, nullable=False),  # Fernet with secret.key
    Column("created_at", Moment, nullable=False),
    Column("last_seen", Moment),
    Column("totp_secret", LargeBinary),  # Fernet; null: no second factor
    Column("totp_last", Integer, nullable=False, server_default="0"),  # the last step used
    Column("deleted_at", Moment),  # the row stays: a login is never used again
)

retired_logins = Table(
    "retired_logins",
    metadata,
    Column("login", String(32), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("at", Moment, nullable=False),
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column("code_hash", String(64), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", Moment, nullable=False),
    Column("used_at", Moment),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_hash", String(64), primary_key=True),  # SHA-256 of the cookie's value
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("csrf", String(64), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("last_seen", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False, index=True),
    Column("address", Text, nullable=False, default=""),
    Column("agent", Text, nullable=False, default=""),
    Column("id", String(12), nullable=False, server_default=""),  # names it to its person
)

one_time_tokens = Table(
    "one_time_tokens",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("purpose", String(20), nullable=False),  # setup | invitation | password | second
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("id", String(12), nullable=False, server_default=""),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), index=True),
    Column("created_by", Text, nullable=False, server_default=""),
    Column("detail", JSON),  # what an invitation promises
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("label", Text, nullable=False, default=""),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Column("last_used", Moment),
    Column("scope", String(10), nullable=False, server_default="admin"),  # read | write | admin
)

organizations = Table(
    "organizations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("title", Text, nullable=False, default=""),
    Column("created_at", Moment, nullable=False),
    Column("default_role", String(10)),  # of members, in every repository of it
    Column("members_create", Boolean, nullable=False, default=False),
    Column("skin", Boolean, nullable=False, server_default=false()),
)

members = Table(
    "members",
    metadata,
    Column("org_id", ForeignKey("organizations.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("role", String(10), nullable=False),  # owner | member
    Column("added_at", Moment, nullable=False),
)

teams = Table(
    "teams",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("org_id", ForeignKey("organizations.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(63), nullable=False),
    Column("description", Text, nullable=False, default=""),
    Index("uq_teams_org_id_name", "org_id", "name", unique=True),
)

team_members = Table(
    "team_members",
    metadata,
    Column("team_id", ForeignKey("teams.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("added_at", Moment, nullable=False),
)

grants = Table(
    "grants",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("subject", String(60), nullable=False, unique=True),  # one per place and holder
    Column("repository_id", ForeignKey("repositories.id", ondelete="CASCADE"), index=True),
    Column("org_id", ForeignKey("organizations.id", ondelete="CASCADE"), index=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), index=True),
    Column("team_id", ForeignKey("teams.id", ondelete="CASCADE"), index=True),
    Column("role", String(10), nullable=False),
    Column("granted_by", Text, nullable=False, default=""),
    Column("granted_at", Moment, nullable=False),
)

visits = Table(  # who only reads is written into a repository when they first use it
    "visits",
    metadata,
    Column("repository_id", ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("first_at", Moment, nullable=False),
    Column("opened_at", Moment),  # a browser was signed in there since the last sign-out
)

adopted_natives = Table(
    "adopted_natives",
    metadata,
    Column("repository_id", ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
    Column("login", Text, primary_key=True),  # the native user, as the repository calls it
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("adopted_by", Text, nullable=False, default=""),
    Column("at", Moment, nullable=False),
)

access_keys = Table(
    "access_keys",
    metadata,
    Column("id", String(12), primary_key=True),
    Column(
        "repository_id",
        ForeignKey("repositories.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("login", String(32), nullable=False, unique=True),
    Column("label", Text, nullable=False, default=""),
    Column("role", String(10), nullable=False),
    Column("secret", LargeBinary, nullable=False),  # Fernet; the password is derived from it
    Column("created_by", Text, nullable=False, default=""),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Column("last_used", Moment),
)

elevations = Table(
    "elevations",
    metadata,
    Column("repository_id", ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("until", Moment, nullable=False),
)

former_names = Table(  # where an old name leads, and for whom it is kept
    "former_names",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("repository_id", String(12), nullable=False, index=True),
    Column("org", String(63), nullable=False),
    Column("leads", Boolean, nullable=False),  # renamed: requests go to the new name
    Column("until", Moment, nullable=False),
)

versions = Table(  # grow with every change of what others keep in memory
    "versions",
    metadata,
    Column("name", String(20), primary_key=True),
    Column("number", Integer, nullable=False),
)

drifts = Table(  # what somebody changed inside Fossil, and we put right
    "drifts",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column(
        "repository_id",
        ForeignKey("repositories.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("login", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Column("found", Text, nullable=False, default=""),  # its capabilities, or what was changed
    Column("repaired", Text, nullable=False, default=""),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("repository_id", String(12), index=True),
    Column("subject", Text, nullable=False, default=""),
    Column("requested_by", String(63), nullable=False, default=""),
    Column("state", String(12), nullable=False, index=True),
    Column("owner", Text, nullable=False, default=""),  # the process that runs it: pid and start
    Column("progress", Text, nullable=False, default=""),
    Column("fraction", Float),
    Column("error", Text, nullable=False, default=""),
    Column("hint", Text, nullable=False, default=""),
    Column("log", Text, nullable=False, default=""),
    Column("created_at", Moment, nullable=False, index=True),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("target_id", String(12), index=True),  # the mirror or upstream that it is a run of
    Column("trigger", String(10), nullable=False, server_default=""),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", Moment, nullable=False, index=True),
    Column("actor", Text, nullable=False),
    Column("address", Text, nullable=False, default=""),
    Column("action", String(60), nullable=False),
    Column("subject", Text, nullable=False, default="", index=True),
    Column("detail", JSON, nullable=False, default=dict),
    Index("ix_audit_actor", "actor"),
    Index("ix_audit_action", "action"),
)

replicas = Table(
    "replicas",
    metadata,
    Column("repository_id", String(12), primary_key=True),  # no foreign key: it outlives the row
    Column("label", String(63), nullable=False, default=""),
    Column("project_code", String(80), nullable=False, default=""),
    Column("state", String(10), nullable=False, default="unknown"),
    Column("since", Moment),
    Column("reason", Text, nullable=False, default=""),
    Column("hint", Text, nullable=False, default=""),
    Column("behind_since", Moment),
    Column("synced_at", Moment),
    Column("txid", BigInteger, nullable=False, default=0),
    Column("replicated_txid", BigInteger, nullable=False, default=0),
    Column("restores", Integer, nullable=False, default=0),
    Column("proven_at", Moment),
    Column("proven_seconds", Float),
    Column("proven_checkins", Integer),
    Column("verify_at", Moment),
    Column("verify_error", Text, nullable=False, default=""),
    Column("verify_wanted", Boolean, nullable=False, default=False),
    Column("purged_at", Moment),
    Column("cleared_at", Moment),
)

verifications = Table(
    "verifications",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("repository_id", String(12), nullable=False, index=True),
    Column("label", String(63), nullable=False, default=""),
    Column("at", Moment, nullable=False, index=True),
    Column("seconds", Float, nullable=False),
    Column("ok", Boolean, nullable=False),
    Column("detail", Text, nullable=False, default=""),
    Column("size_bytes", BigInteger, nullable=False, default=0),
    Column("checkins", Integer, nullable=False, default=0),
)

restorations = Table(
    "restorations",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("repository_id", String(12), nullable=False, index=True),
    Column("at", Moment, nullable=False),
    Column("moment", Moment),
    Column("by", Text, nullable=False, default=""),
    Column("checkins_before", Integer, nullable=False),
    Column("checkins_after", Integer, nullable=False),
    Column("file", Text, nullable=False),
    Column("undone_at", Moment),
)

previews = Table(
    "previews",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("repository_id", String(12), nullable=False),
    Column("name", String(63), nullable=False, unique=True),
    Column("moment", Moment),
    Column("created_by", Text, nullable=False, default=""),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
)

backup_targets = Table(
    "backup_targets",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("url", Text, nullable=False),
    Column("since", Moment, nullable=False),
    Column("proven_at", Moment),
    Column("let_go_at", Moment),
)
