"""The host in Prometheus' own form.

Owns the names of metrics. Everything is measured when it is asked for; nothing
is counted here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from fossilrepo.services.health import Health
from fossilrepo.web.gateway import GatewayStats

CONTENT_TYPE = CONTENT_TYPE_LATEST


def text(health: Health, status: dict[str, Any], gateway: GatewayStats) -> bytes:
    """Everything, as one document."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Now(health, status, gateway))
    return generate_latest(registry)


class _Now(Collector):
    def __init__(self, health: Health, status: dict[str, Any], gateway: GatewayStats) -> None:
        self._health, self._status, self._gateway = health, status, gateway

    def collect(self) -> Iterator[Metric]:
        status, disk = self._status, self._health.disk()
        yield _gauge("repositories", "Repositories with a name.", status["repositories"])
        yield _gauge("jobs_running", "Jobs that run now.", status["jobs"]["running"])
        yield _gauge("jobs_failed", "Failed jobs that are remembered.", status["jobs"]["failed"])
        yield _gauge("read_only", "1 while nothing may be written.", bool(status["read_only"]))
        yield _gauge("disk_free_bytes", "Free bytes where the data lies.", disk.free)
        yield _gauge("disk_total_bytes", "All bytes where the data lies.", disk.total)
        yield from self._children()
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

    def _requests(self) -> Iterator[Metric]:
        stats = self._gateway
        yield _gauge("gateway_in_flight", "Requests at Fossil now.", stats.in_flight)
        yield _gauge("gateway_waiting", "Requests that wait for a place.", stats.waiting)
        yield _counter("gateway_requests", "Requests for repositories.", stats.requests)
        yield _counter("gateway_refused", "Requests refused as too many.", stats.refused)
        yield _counter("gateway_failed", "Requests that Fossil did not answer.", stats.failed)
        yield _counter("gateway_received_bytes", "Bytes of bodies in.", stats.bytes_received)
        yield _counter("gateway_sent_bytes", "Bytes of bodies out.", stats.bytes_sent)


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"fossilrepo_{name}", help_text, value=float(value))


def _counter(name: str, help_text: str, value: float) -> Metric:
    return CounterMetricFamily(f"fossilrepo_{name}", help_text, value=float(value))
