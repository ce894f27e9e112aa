"""What ``/metrics`` shows, in Prometheus' text format.

Rooms count for themselves and know nothing of Prometheus: each has ``statistics()``, and the tables
in ``figures`` say under which name, and with which sentence, a field of it is shown. Requests are
counted here, by status and by the class of their path: never by the path itself, whose values are
without bound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal, NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

__all__ = ["CONTENT_TYPE", "Figure", "Metrics", "RequestCounter", "classify_path"]

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_METHODS: Final = frozenset({"GET", "POST", "DELETE", "OPTIONS", "HEAD"})
_KINDS: Final = {"documents": "document", "lists": "list", "maps": "map", "streams": "stream"}
_PARTS: Final = {"items": "item", "permissions": "permission", "messages": "message"}


class Figure(NamedTuple):
    """One number of the server, under its public name."""

    name: str
    kind: Literal["counter", "gauge"]
    sentence: str
    read: Callable[[], float]


class RequestCounter:
    """Counts answers by class of path, method and status."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, str, int]] = Counter()

    def count(self, path: str, method: str, status: int) -> None:
        known = method if method in _METHODS else "other"
        self.answers[classify_path(path), known, status] += 1


def classify_path(path: str) -> str:
    """The class of a REST path: ``service``, ``map``, ``map_item``, … or ``other``."""
    segments = path.split("/", 8)
    count = len(segments) - (segments[-1] == "")
    if count < 3 or segments[1] != "v1" or segments[2] != "Services":
        return "other"
    if count <= 4:
        return "service"
    kind = _KINDS.get(segments[4].lower())
    if kind is None:
        return "other"
    if count <= 6:
        return kind
    part = _PARTS.get(segments[6].lower())
    return "other" if part is None else f"{kind}_{part}"


class Metrics:
    """Renders all figures, each scrape anew."""

    def __init__(self, requests: RequestCounter, figures: Iterable[Figure], version: str) -> None:
        self._requests = requests
        self._figures = tuple(figures)
        self._version = version
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at each scrape."""
        build = GaugeMetricFamily(
            "starlings_build_info", "The version, as a label.", labels=["version"]
        )
        build.add_metric([self._version], 1)
        yield build
        answers = CounterMetricFamily(
            "starlings_rest_answers",
            "Answers to REST requests by class of path, method and status.",
            labels=["route", "method", "status"],
        )
        for (route, method, status), count in sorted(self._requests.answers.items()):
            answers.add_metric([route, method, str(status)], count)
        yield answers
        for figure in self._figures:
            family = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
            yield family(figure.name, figure.sentence, value=figure.read())
