"""Subscriptions to clients' metrics (KIP-714): they are kept and told; no client is asked for its metrics.

As in an Apache Kafka without a plug-in that takes metrics, whose brokers do not offer the requests that carry them.
Kafka: ClientMetricsConfigs.
"""

from __future__ import annotations

import re

from broker.core.errors import Code, Refused

KIND = "client-metrics"
INTERVAL, METRICS, MATCH = "interval.ms", "metrics", "match"
DEFAULTS = {INTERVAL: "300000", MATCH: "", METRICS: ""}
LISTS = frozenset({MATCH, METRICS})
LOW_MS, HIGH_MS = 100, 3_600_000
_SELECTORS = frozenset(
    {
        "client_id",
        "client_instance_id",
        "client_software_name",
        "client_software_version",
        "client_source_address",
        "client_source_port",
    }
)


def check(name: str, value: str) -> None:
    """Raise Refused unless this is a setting of a subscription, and the value one of its values."""
    if name not in DEFAULTS:
        raise Refused(Code.INVALID_REQUEST, f"Unknown client metrics configuration: {name}")
    if name == INTERVAL:
        if not (value.isascii() and value.isdigit() and len(value) < 10):
            raise Refused(
                Code.INVALID_CONFIG, f"Invalid value {value} for configuration {name}: Not a number of type INT"
            )
        if not LOW_MS <= int(value) <= HIGH_MS:
            raise Refused(
                Code.INVALID_REQUEST,
                f"Invalid value {value} for {name}, interval must be between {LOW_MS} and {HIGH_MS} (1 hour)",
            )
    elif name == MATCH:
        for item in filter(None, (part.strip() for part in value.split(","))):
            _check_selector(item)


def _check_selector(item: str) -> None:
    selector, _, pattern = (part.strip() for part in item.partition("="))
    try:
        re.compile(pattern)
        is_pattern = bool(pattern)
    except (re.error, OverflowError, RecursionError):  # the latter for too many repetitions, or parentheses
        is_pattern = False
    if selector not in _SELECTORS or not is_pattern:
        raise Refused(Code.INVALID_CONFIG, f"Illegal client matching pattern: {item}")
