"""A disk in memory: what was written, and what of it would survive a power loss."""

from __future__ import annotations

import random

from broker.core.ready import Append, DropLog, DropSegment, Ready, Remove, Save, Truncate
from broker.wire.messages.fetch import Region


class Disk:
    """Executes a Ready's writes and syncs; is the core's Storage. `crash` keeps synced bytes and a prefix of the rest."""

    def __init__(self) -> None:
        self._segments: dict[str, dict[int, bytearray]] = {}
        self._files: dict[str, bytes] = {}
        self._durable: dict[str, dict[int, bytes]] = {}
        self._durable_files: dict[str, bytes] = {}

    def perform(self, ready: Ready) -> None:
        for write in ready.writes:
            self.write(write)
        for log in ready.sync:
            self._durable[log] = {base: bytes(data) for base, data in self._segments.get(log, {}).items()}
            prefix = f"{log}/"
            for name in [n for n in self._durable_files if n.startswith(prefix)]:
                del self._durable_files[name]
            self._durable_files.update({n: d for n, d in self._files.items() if n.startswith(prefix)})

    def write(self, write):
        match write:
            case Append(log, base, position, data):
                segment = self._segments.setdefault(log, {}).setdefault(base, bytearray())
                assert len(segment) == position, (log, base, len(segment), position)
                segment += data
            case Truncate(log, base, size):
                segment = self._segments.get(log, {}).get(base, bytearray())
                assert size <= len(segment)
                del segment[size:]
            case DropSegment(log, base):
                self._segments.get(log, {}).pop(base, None)
                for name in self.files(log):
                    if name.startswith(f"{log}/{base:020d}."):
                        del self._files[name]
            case DropLog(log):
                self._segments.pop(log, None)
                for name in self.files(log):
                    del self._files[name]
            case Save(name, data, sync):
                self._files[name] = bytes(data)
                if sync:
                    self._durable_files[name] = bytes(data)
            case Remove(name):
                self._files.pop(name, None)

    def crash(self, rng: random.Random | None = None, *, power: bool = True) -> None:
        """Lose what was not synced; with `rng`, per file a random prefix of it survives. Without power loss, nothing."""
        if not power:
            return
        kept: dict[str, dict[int, bytearray]] = {}
        for log, segments in sorted(self._segments.items()):
            durable = self._durable.get(log, {})
            for base, data in sorted(segments.items()):
                size = len(durable.get(base, b""))
                if data[:size] != durable.get(base, b""):
                    kept.setdefault(log, {})[base] = bytearray(durable[base])
                    continue
                extra = rng.randint(0, len(data) - size) if rng and len(data) > size else 0
                if size + extra or base in durable:
                    kept.setdefault(log, {})[base] = data[: size + extra]
        self._segments = kept
        files = dict(self._durable_files)
        if rng:
            files.update({name: data for name, data in sorted(self._files.items()) if rng.random() < 0.5})
        self._files = files
        self._durable = {log: {base: bytes(data) for base, data in s.items()} for log, s in kept.items()}
        self._durable_files = dict(files)

    def damage(self, log: str, base: int, position: int) -> None:
        self._segments[log][base][position] ^= 0xFF

    # Storage

    def logs(self) -> list[str]:
        return sorted({*self._segments, *(name.partition("/")[0] for name in self._files if "/" in name)})

    def segments(self, log: str) -> list[tuple[int, int]]:
        return sorted((base, len(data)) for base, data in self._segments.get(log, {}).items())

    def read(self, log: str, base: int, position: int, size: int) -> bytes:
        return bytes(self._segments[log][base][position : position + size])

    def load(self, name: str) -> bytes | None:
        return self._files.get(name)

    def files(self, log: str) -> list[str]:
        return sorted(name for name in self._files if name.startswith(f"{log}/"))

    def fetch(self, region: Region) -> bytes:
        return self.read(region.log, region.base, region.position, region.size)

    def dump(self, log: str) -> bytes:
        return b"".join(bytes(data) for _, data in sorted(self._segments.get(log, {}).items()))
