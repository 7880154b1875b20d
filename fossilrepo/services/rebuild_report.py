"""What a rebuild brought back: the record that is shown, kept, and read again when it goes on.

Owns the fields and their words. Measures nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from fossilrepo.models import iso


class Result(StrEnum):
    RESTORED = "restored"
    FAILED = "failed"
    MISSING = "missing"  # there is a row, and nothing of it in the replica


class KeyUse(StrEnum):
    GIVEN = "given"
    KEPT = "kept"  # it lay in the data folder
    NEW = "new"


@dataclass(frozen=True, slots=True)
class Brought:
    """One repository. `moment`: the newest change that came back; times in seconds."""

    id: str
    result: Result
    name: str = ""
    state: str = ""
    reason: str = ""
    size_bytes: int = 0
    checkins: int = 0
    seconds: float = 0.0
    moment: datetime | None = None
    txid: int = 0
    removed: tuple[str, ...] = ()

    @property
    def is_back(self) -> bool:
        return self.result is Result.RESTORED

    def as_dict(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "moment": self.moment.isoformat(timespec="milliseconds") if self.moment else None,
            "removed": list(self.removed),
        }

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Brought:
        """The other way; KeyError, TypeError or ValueError for anything else."""
        values = {field.name: found[field.name] for field in fields(cls)}
        values["result"] = Result(values["result"])
        moment = values["moment"]
        values["moment"] = datetime.fromisoformat(moment) if moment else None
        values["removed"] = tuple(map(str, values["removed"]))
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Report:
    """The whole. `renewed` are the people whose Fossil passwords are new."""

    url: str
    data: str
    began_at: datetime
    seconds: float
    version: str
    control_database: str  # restored | missing | left out | postgresql
    control_moment: datetime | None
    key: KeyUse
    renewed: tuple[str, ...]
    people: int
    repositories: tuple[Brought, ...]
    purged: int
    notes: tuple[str, ...]

    @property
    def failures(self) -> tuple[Brought, ...]:
        return tuple(one for one in self.repositories if not one.is_back)

    @property
    def ok(self) -> bool:
        return not self.failures

    def as_dict(self) -> dict[str, Any]:
        back = [one for one in self.repositories if one.is_back]
        return {
            "ok": self.ok,
            "url": self.url,
            "data_dir": self.data,
            "began_at": iso(self.began_at),
            "seconds": round(self.seconds, 3),
            "fossilrepo": self.version,
            "control_database": self.control_database,
            "control_moment": iso(self.control_moment),
            "key": str(self.key),
            "renewed_passwords": list(self.renewed),
            "people": self.people,
            "totals": {
                "repositories": len(self.repositories),
                "restored": len(back),
                "failed": len(self.failures),
                "purged": self.purged,
                "size_bytes": sum(one.size_bytes for one in back),
                "checkins": sum(one.checkins for one in back),
            },
            "repositories": [one.as_dict() for one in self.repositories],
            "notes": list(self.notes),
        }
