"""From rows to models, in one place.

Owns the mapping of table columns to the frozen dataclasses; the stores use it
so that a new column is read in one line.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from fossilrepo.models import (
    AccessKey,
    AuditEntry,
    BackupState,
    BackupTarget,
    DropIn,
    Job,
    JobState,
    Preview,
    Replica,
    Repository,
    RepositoryState,
    Restoration,
    Trust,
    User,
    VerificationRun,
    Visibility,
)
from fossilrepo.rights import Grant, Organization, Role, Team


def repository(row: Row[Any]) -> Repository:
    mapping = row._mapping
    values = {key: mapping[key] for key in Repository.__dataclass_fields__}
    values["visibility"] = Visibility(values["visibility"])
    values["state"] = RepositoryState(values["state"])
    values["trust"] = Trust(values["trust"])
    values["removed"] = tuple(values["removed"] or ())
    return Repository(**values)


def organization(row: Row[Any]) -> Organization:
    values = dict(row._mapping)
    values["default_role"] = Role(values["default_role"]) if values["default_role"] else None
    return Organization(**values)


def team(row: Row[Any]) -> Team:
    return Team(**row._mapping)


def grant(row: Row[Any]) -> Grant:
    values = dict(row._mapping)
    values.pop("subject")
    values["role"] = Role(values["role"])
    return Grant(**values)


def access_key(row: Row[Any]) -> AccessKey:
    values = dict(row._mapping)
    values.pop("secret")
    return AccessKey(**values)


def drop_in(row: Row[Any]) -> DropIn:
    return DropIn(**row._mapping)


def user(row: Row[Any]) -> User:
    mapping = row._mapping
    values = {key: mapping[key] for key in User.__dataclass_fields__ if key != "has_totp"}
    return User(**values, has_totp=mapping["totp_secret"] is not None)


def job(row: Row[Any]) -> Job:
    values = dict(row._mapping)
    values.pop("owner")
    values["state"] = JobState(values["state"])
    return Job(**values)


def audit_entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(**row._mapping)


def replica(row: Row[Any]) -> Replica:
    values = dict(row._mapping)
    values["state"] = BackupState(values["state"])
    return Replica(**values)


def verification(row: Row[Any]) -> VerificationRun:
    return VerificationRun(**row._mapping)


def restoration(row: Row[Any]) -> Restoration:
    return Restoration(**row._mapping)


def preview(row: Row[Any]) -> Preview:
    return Preview(**row._mapping)


def backup_target(row: Row[Any]) -> BackupTarget:
    return BackupTarget(**row._mapping)
