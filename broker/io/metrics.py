"""Prometheus metrics over HTTP on loopback: enough to see whether a node works, and on what.

One text for every path; a request line longer than `MAX_LINE_BYTES` or slower than `TIMEOUT_S` is not waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource

from broker.core.lifecycle import Life
from broker.io.node import Node
from broker.wire.apis import Api, is_known

MAX_LINE_BYTES = 8192
TIMEOUT_S = 5.0
LOOPBACK = "127.0.0.1"


def render(node: Node) -> str:
    """Return the metrics in Prometheus' text format."""
    broker = node.broker
    replicas = list(broker.replicas)
    led = [replica for replica in replicas if replica.leader is not None]
    small = sum(len(one.leader.state.isr) < len(one.leader.state.replicas) for one in led if one.leader is not None)
    used = resource.getrusage(resource.RUSAGE_SELF)
    lines = [
        _gauge("running", "1 while the controller lets this node serve", int(broker.lifecycle.life is Life.RUNNING)),
        _gauge("controller", "1 on the active controller", int(broker.quorum.is_leader)),
        _gauge("quorum_epoch", "epoch of the metadata quorum", broker.quorum.epoch),
        _gauge("metadata_offset", "end of the applied metadata", broker.quorum.metadata.applied),
        _gauge("partitions", "hosted partitions", len(replicas)),
        _gauge("partitions_led", "partitions led by this node", len(led)),
        _gauge("partitions_under_replicated", "led partitions whose ISR is not whole", small),
        _gauge("connections", "open inbound connections", len(node.connections)),
        _gauge("requests_waiting", "requests that are not answered yet", sum(one.waiting for one in node.connections)),
        _gauge("produces_parked", "appends that wait for replication", sum(len(one.awaiting) for one in replicas)),
        _gauge("fetches_parked", "fetches that wait for records", broker.fetching.parked),
        _gauge("unsent_bytes", "answers that clients don't take", sum(one.unsent_bytes for one in node.connections)),
        _gauge("receiving_bytes", "room taken by large requests that are being received", node.memory.used_bytes),
        _gauge("log_bytes_written", "bytes appended to segments", node.disk.bytes_written),
        _gauge("max_rss_kib", "greatest resident size so far", used.ru_maxrss),
        _gauge("cpu_ms", "CPU time so far", int((used.ru_utime + used.ru_stime) * 1000)),
    ]
    lines += _by_api("requests_total", "requests", node.counts)
    lines += _by_api("request_bytes_total", "bytes of requests", node.request_bytes)
    return "\n".join(lines) + "\n"


def _by_api(name: str, text: str, counts: dict[int, int]) -> list[str]:
    lines = [f"# HELP broker_{name} {text} by API", f"# TYPE broker_{name} counter"]
    for api_key, count in sorted(counts.items()):
        api = Api(api_key).name if is_known(api_key) else str(api_key)
        lines.append(f'broker_{name}{{api="{api}"}} {count}')
    return lines


def _gauge(name: str, text: str, value: int) -> str:
    return f"# HELP broker_{name} {text}\n# TYPE broker_{name} gauge\nbroker_{name} {value}"


async def serve_metrics(node: Node, port: int) -> asyncio.Server:
    """Serve them on that port of loopback."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, TimeoutError):
            await asyncio.wait_for(reader.readline(), TIMEOUT_S)
            body = render(node).encode()
            head = f"HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, LOOPBACK, port, limit=MAX_LINE_BYTES)
