"""The node's log on standard error: plain lines as Kafka's, or one JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
import time

FORMATS = ("plain", "json")


class _Json(logging.Formatter):
    """One object a line: time, level, logger, message, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{record.msecs:03.0f}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up(form: str, node_id: int) -> logging.Logger:
    """Return the node's logger, writing in one of `FORMATS`."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter(f"[%(asctime)s] %(levelname)s [node {node_id}] %(message)s")
    handler.setFormatter(_Json() if form == "json" else plain)
    logger = logging.getLogger(f"broker.node-{node_id}")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger
