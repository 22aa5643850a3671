"""`python -m broker --config node.properties`: one node, until SIGTERM (in order) or SIGKILL (recovery sees to it)."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys
from pathlib import Path

from broker.io import logs
from broker.io.disk import FolderInUseError
from broker.io.metrics import serve_metrics
from broker.io.node import Node
from broker.io.properties import SettingsError, parse
from broker.io.settings import Settings, format_folder, load

BAD_CONFIGURATION = 78
"""EX_CONFIG."""


def main(arguments: list[str] | None = None) -> int:
    """Run a node; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m broker", description="A Kafka broker: one node.")
    parser.add_argument("--config", type=Path, required=True, help="the node's .properties file, in Kafka's names")
    parser.add_argument("--format", metavar="CLUSTER_ID", help="make the data folder, and end")
    parser.add_argument("--metrics-port", type=int, default=0, help="serve Prometheus metrics on that loopback port")
    parser.add_argument("--log-format", choices=logs.FORMATS, default="plain")
    options = parser.parse_args(arguments)
    try:
        if options.format:
            format_folder(parse(options.config.read_text(encoding="latin-1")), options.format)
            return 0
        settings = load(options.config)
        return asyncio.run(_serve(settings, options.log_format, options.metrics_port), debug=False)
    except (SettingsError, FolderInUseError, OSError) as error:
        sys.stderr.write(f"ERROR {error}\n")
        return BAD_CONFIGURATION


async def _serve(settings: Settings, log_format: str, metrics_port: int) -> int:
    log = logs.set_up(log_format, settings.core.node_id)
    for name in settings.unknown:
        log.warning("the property %s has no effect here", name)
    if settings.bug:
        from broker.bugs import planting  # noqa: PLC0415 - a node without a bug never loads them

        planting.plant(settings.bug)
        log.warning("the bug %s is planted: this node is wrong on purpose", settings.bug)
    node = Node(settings, log)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, node.stop)
    if metrics_port:
        await serve_metrics(node, metrics_port)
    gc.freeze()  # what is loaded stays: the collector need not look at it again
    await node.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
