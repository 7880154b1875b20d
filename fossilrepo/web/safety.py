"""How safe a repository is, in one line for people.

Owns the words. Says only what was measured: when the replica was last proven to hold
everything, where it lies, and when it was last brought back on trial.
"""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup, escape

from fossilrepo.models import BackupState, Replica, now
from fossilrepo.services.replication import Replication
from fossilrepo.web.filters import ago, marked
from fossilrepo.wording import span

HERE = "on this disk only"


@dataclass(frozen=True, slots=True)
class Safety:
    """`word` and its `tone` for a quick look, `line` for reading, `hint` for what to do."""

    word: str
    tone: str
    line: Markup
    hint: str = ""


def safety(replication: Replication, repository_id: str, *, tells_why: bool) -> Safety:
    """The line of one repository. The reasons of failures are for administrators."""
    row = replication.standing(repository_id)
    here = replication.place == "this disk"
    proof = _proof(row)
    if row.state is BackupState.OFF:
        why = marked(row.reason) if tells_why and row.reason else escape("it is not served")
        return Safety("not replicated", "bad", _line("Not replicated: {}", why), row.hint)
    if row.state is BackupState.FAILING:
        return _failing(row, tells_why)
    if row.state is BackupState.UNKNOWN and row.synced_at is None and row.proven_at is None:
        return Safety("new", "calm", _line("On its way to the replica for the first time{}", proof))
    if row.state is BackupState.UNKNOWN:
        known = _line(", it was whole there {}", ago(row.synced_at)) if row.synced_at else ""
        line = _line("How it is replicated is not known now{}{}", known, proof)
        return Safety("not known", "calm", line)
    lag = row.lag_s(now()) or 0.0
    where = f", {HERE}" if here else ""
    if row.state is BackupState.BEHIND and row.reason:
        return Safety("behind", "warn", _line("{}{}{}", row.reason, where, proof))
    if row.state is BackupState.BEHIND:
        words = "What changed in the last {} is not on the replica yet{}{}"
        return Safety("behind", "warn", _line(words, span(lag), where, proof))
    age = (now() - row.synced_at).total_seconds() if row.synced_at else 0.0
    when = f"{span(age)} ago" if age < 10 else ago(row.synced_at)
    line = _line("Replicated {}{}{}", when, where, proof)
    if row.verify_error:
        return Safety("not proven", "bad", line, "an administrator can see what is wrong")
    return Safety("this disk only" if here else "safe", "warn" if here else "good", line)


def _failing(row: Replica, tells_why: bool) -> Safety:
    since = ago(row.behind_since or row.since)
    if tells_why:
        line = _line("Not replicated since {}: {}", since, marked(row.reason))
        return Safety("failing", "bad", line, row.hint)
    line = _line("Not replicated since {}", since)
    return Safety("failing", "bad", line, "an administrator can see why")


def _proof(row: Replica) -> Markup:
    if row.verify_error:
        return _line(", but its trial restore {} failed", ago(row.verify_at))
    if row.proven_at is None:
        return _line(", not restored on trial yet")
    return _line(", restored and checked {}", ago(row.proven_at))


def _line(text: str, *parts: object) -> Markup:
    return Markup(text).format(*parts)  # noqa: S704 - only the constants above are the text
