"""What is said of a replica while a large file is on its way to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from fossilrepo.models import BackupState, Replica
from fossilrepo.services.standing import LARGE, SLOWEST, large_copy, over_all
from fossilrepo.tools import litestream

AT = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_large_copy_is_under_way_until_it_takes_too_long() -> None:
    row = Replica("a" * 12, "demo", behind_since=AT)
    two_gigabytes = 2 * 2**30
    assert large_copy(row, two_gigabytes, AT) == "2.0 GiB are on their way to the replica"
    just_in_time = AT + timedelta(seconds=two_gigabytes / SLOWEST - 1)
    assert large_copy(row, two_gigabytes, just_in_time) != ""
    assert large_copy(row, two_gigabytes, just_in_time + timedelta(seconds=2)) == ""
    assert large_copy(row, LARGE - 1, AT) == "", "that much is sent at once"
    assert large_copy(replace(row, behind_since=None), LARGE, AT) != "", "it begins now"


def test_out_of_time_is_told_from_what_only_mentions_it() -> None:
    assert litestream.out_of_time("sync database: context deadline exceeded")
    assert not litestream.out_of_time("StatusCode: 403, timeout of the session")
    assert not litestream.out_of_time("database is locked")


def test_the_sum_over_all_is_that_of_the_worst() -> None:
    current = Replica("a" * 12, "good", state=BackupState.CURRENT, synced_at=AT)
    behind = Replica("b" * 12, "slow", state=BackupState.BEHIND, behind_since=AT)
    told = over_all([current, behind])
    assert (told["state"], told["behind"]) == ("behind", ["slow"])
    assert over_all([current])["state"] == "current" and over_all([])["lag_s"] == 0.0
