"""How the report says times: seconds since the run began, and spans in the unit that suits them."""

from __future__ import annotations

NS = 1_000_000_000


def seconds(time_ns: int) -> str:
    """Return a time of the run: "12.345 s"."""
    return f"{time_ns / NS:,.3f} s"


def took(span_ns: float) -> str:
    """Return a span in the unit that suits it."""
    if span_ns >= 10 * NS:
        return f"{span_ns / NS:,.1f} s"
    if span_ns >= NS:
        return f"{span_ns / NS:.2f} s"
    return f"{span_ns / 1e6:.1f} ms"
