"""The host in Prometheus' own form.

Owns the names of metrics. Nothing is counted or measured here but what the system tells when it is
asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from fossilrepo import bridge
from fossilrepo.bridge import MirrorState
from fossilrepo.models import CONTROL_ID, BackupState, Replica, now
from fossilrepo.services.certificates import Standing
from fossilrepo.services.health import Health
from fossilrepo.services.mirrors import Shown
from fossilrepo.services.replication import Replication
from fossilrepo.services.timings import BOUNDS
from fossilrepo.web.gateway import GatewayStats

CONTENT_TYPE = CONTENT_TYPE_LATEST


def text(
    health: Health,
    status: dict[str, Any],
    gateway: GatewayStats,
    replication: Replication,
    verifications: int,
    mirrors: Sequence[Shown],
    unread: int,
    certificates: Sequence[Standing],
) -> bytes:
    """Everything, as one document. `verifications`: how many trial restores there were;
    `unread`: repositories whose history could not be read."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Now(health, status, gateway, unread))
    registry.register(_Backup(replication, verifications))
    registry.register(_Mirrors(mirrors))
    registry.register(_Certificates(certificates))
    return generate_latest(registry)


class _Now(Collector):
    def __init__(
        self, health: Health, status: dict[str, Any], gateway: GatewayStats, unread: int
    ) -> None:
        self._health, self._status, self._gateway = health, status, gateway
        self._unread = unread

    def collect(self) -> Iterator[Metric]:
        status, disk = self._status, self._health.disk()
        yield _gauge("repositories", "Repositories with a name.", status["repositories"])
        yield _gauge("jobs_running", "Jobs that run now.", status["jobs"]["running"])
        yield _gauge("jobs_failed", "Failed jobs that are remembered.", status["jobs"]["failed"])
        yield _gauge("read_only", "1 while nothing may be written.", bool(status["read_only"]))
        yield _gauge("disk_free_bytes", "Free bytes where the data lies.", disk.free)
        yield _gauge("disk_total_bytes", "All bytes where the data lies.", disk.total)
        yield _gauge(
            "insights_unread", "Repositories whose history could not be read.", self._unread
        )
        yield from self._children()
        yield from self._timings()
        yield from self._requests()

    def _children(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("fossilrepo_child_up", "1 while it answers.", labels=["child"])
        restarts = CounterMetricFamily(
            "fossilrepo_child_restarts", "Starts after the first one.", labels=["child"]
        )
        for child in self._health.children():
            up.add_metric([child.name], float(child.ready))
            restarts.add_metric([child.name], child.restarts)
        yield up
        yield restarts

    def _timings(self) -> Iterator[Metric]:
        seconds = HistogramMetricFamily(
            "fossilrepo_request_seconds", "Until an answer began.", labels=["kind"]
        )
        slow = CounterMetricFamily(
            "fossilrepo_requests_slow", "Requests that took longer than log.slow.", labels=["kind"]
        )
        for kind, counted in self._health.timings.counted.items():
            within = accumulate(counted.buckets)
            bounds = (*map(str, BOUNDS), "+Inf")
            buckets = [(bound, float(count)) for bound, count in zip(bounds, within, strict=True)]
            seconds.add_metric([kind], buckets, counted.seconds)
            slow.add_metric([kind], counted.slow)
        yield seconds
        yield slow

    def _requests(self) -> Iterator[Metric]:
        stats = self._gateway
        yield _gauge("gateway_in_flight", "Requests at Fossil now.", stats.in_flight)
        yield _gauge("gateway_waiting", "Requests that wait for a place.", stats.waiting)
        yield _counter("gateway_requests", "Requests for repositories.", stats.requests)
        yield _counter("gateway_refused", "Requests refused as too many.", stats.refused)
        yield _counter("gateway_failed", "Requests that Fossil did not answer.", stats.failed)
        yield _counter("gateway_received_bytes", "Bytes of bodies in.", stats.bytes_received)
        yield _counter("gateway_sent_bytes", "Bytes of bodies out.", stats.bytes_sent)


class _Backup(Collector):
    """A series for each repository, also in the trash; the control database is `fossilrepo`."""

    def __init__(self, replication: Replication, verifications: int) -> None:
        self._replication, self._verifications = replication, verifications

    def collect(self) -> Iterator[Metric]:
        rows = [row for row in self._replication.statuses().values() if row.purged_at is None]
        states = GaugeMetricFamily(
            "fossilrepo_backup_state", "Replicas in this state.", labels=["state"]
        )
        for state in BackupState:
            states.add_metric([state], sum(row.state is state for row in rows))
        yield states
        yield from self._of_each(rows)
        local = self._replication.place == "this disk"
        yield _gauge("backup_local_only", "1 while the replica lies on the data's disk.", local)
        tried, failed = self._verifications, sum(bool(row.verify_error) for row in rows)
        yield _counter("backup_verifications", "Trial restores that were made.", tried)
        yield _gauge("backup_verifications_failed", "Replicas whose last trial failed.", failed)

    def _of_each(self, rows: list[Replica]) -> Iterator[Metric]:
        at = now()
        values: dict[str, tuple[str, Callable[[Replica], float | None]]] = {
            "lag_seconds": (
                "Age of the oldest change that is not proven on the replica.",
                lambda row: row.lag_s(at),
            ),
            "last_synced_timestamp_seconds": (
                "When the replica was last proven to hold everything.",
                lambda row: _stamp(row.synced_at),
            ),
            "proven_timestamp_seconds": (
                "When it was last restored on trial and passed every check.",
                lambda row: _stamp(row.proven_at),
            ),
        }
        for name, (says, value_of) in values.items():
            labels = ["repository", "id"]  # a name in the trash may be in use again
            family = GaugeMetricFamily(f"fossilrepo_backup_{name}", says, labels=labels)
            for row in rows:
                value = value_of(row)
                if value is not None:
                    family.add_metric([_name(row), row.repository_id], value)
            yield family


class _Mirrors(Collector):
    """How many are in each state, and a series for each."""

    def __init__(self, mirrors: Sequence[Shown]) -> None:
        self._mirrors = mirrors

    def collect(self) -> Iterator[Metric]:
        states = GaugeMetricFamily(
            "fossilrepo_mirror_state", "Mirrors in this state.", labels=["state"]
        )
        for state in MirrorState:
            count = sum(one.mirror.standing.state is state for one in self._mirrors)
            states.add_metric([state], count)
        yield states
        at = now()
        values: dict[str, tuple[str, Callable[[bridge.Standing], float | None]]] = {
            "lag_checkins": ("Check-ins that are not there yet.", lambda s: s.lag_checkins),
            "lag_seconds": ("Age of the oldest change not there yet.", lambda s: s.lag_s(at)),
            "verified_timestamp_seconds": (
                "When the remote was last read back and equal.",
                lambda s: _stamp(s.verified_at),
            ),
        }
        for name, (says, value_of) in values.items():
            family = GaugeMetricFamily(
                f"fossilrepo_mirror_{name}", says, labels=["repository", "id"]
            )
            for one in self._mirrors:
                value = value_of(one.mirror.standing)
                if value is not None:
                    family.add_metric([one.repository.label, one.mirror.id], value)
            yield family


class _Certificates(Collector):
    def __init__(self, certificates: Sequence[Standing]) -> None:
        self._certificates = certificates

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "fossilrepo_certificate_end_timestamp_seconds",
            "When the certificate of this name ends.",
            labels=["name"],
        )
        for one in self._certificates:
            for name in one.certificate.names:
                family.add_metric([name], one.certificate.not_after.timestamp())
        yield family


def _name(row: Replica) -> str:
    return CONTROL_ID if row.repository_id == CONTROL_ID else row.label or row.repository_id


def _stamp(at: datetime | None) -> float | None:
    return at.timestamp() if at else None


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"fossilrepo_{name}", help_text, value=float(value))


def _counter(name: str, help_text: str, value: float) -> Metric:
    return CounterMetricFamily(f"fossilrepo_{name}", help_text, value=float(value))
