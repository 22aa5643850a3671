"""The names of the anomalies: in which order they are told, which are allowed, and what the configuration permits.

Order: root causes before the consequences that follow from them (ANOMALIES.md has the definitions).
"""

from __future__ import annotations

from checkers.options import CheckOptions

ORDER = (
    "broken-invariant",
    "metadata-divergence",
    "deposed-leader-ack",
    "min-isr-violation",
    "replica-divergence",
    "inconsistent-offsets",
    "duplicate",
    "record-altered",
    "phantom-read",
    "wrong-partition",
    "rolled-back-offset",
    "zombie-commit",
    "cross-transaction",
    "G1a",
    "aborted-read",
    "dirty-read",
    "precommitted-read",
    "isolation-mismatch",
    "premature-deletion",
    "offset-reset-silent",
    "lost-write",
    "compaction-lost-latest",
    "tombstone-resurrected",
    "compaction-reordered",
    "compaction-too-early",
    "torn-transaction",
    "eos-phantom",
    "eos-loss",
    "eos-duplicate",
    "eos-reorder",
    "stale-poll",
    "unseen",
    "share-phantom",
    "share-uncommitted-read",
    "share-redelivery",
    "share-double-acquisition",
    "share-delivery-count",
    "share-lost",
    "double-ownership",
    "resume-gap",
    "poll-skip",
    "int-poll-skip",
    "nonmonotonic-poll",
    "int-nonmonotonic-poll",
    "int-nonmonotonic-send",
    "nonmonotonic-send",
    "int-send-skip",
    "G0",
    "G0-process",
    "G0-realtime",
    "G1c",
    "G1c-process",
    "G1c-realtime",
    "hung-transaction",
    "stuck-consumer",
    "eos-stalled",
    "unavailable",
    "two-leaders",
    "epoch-regression",
    "hw-regression",
    "lso-regression",
    "impossible-watermark",
    "log-start-regression",
    "read-past-hw",
    "committed-offset-regression",
    "fenced-commit-applied",
    "time-index-wrong",
    "nonlinearizable",
)
"""What is not listed comes after, in the order of discovery."""

QUEUE_CLASSES = frozenset(ORDER)

_ALWAYS_ALLOWED = frozenset(
    {"int-send-skip", "G0", "G0-process", "G0-realtime", "PL-1-cycle-exists", "strong-PL-1-cycle-exists"}
)
EXCUSED = " (excused)"
"""So end the names under which is kept what of a class is allowed, where something else of it is not."""
_WITH_SUBSCRIBE = frozenset({f"poll-skip{EXCUSED}", f"nonmonotonic-poll{EXCUSED}"})
_WITH_WW_DEPS = frozenset({"G1c", "G1c-process", "G1c-realtime", "PL-2-cycle-exists", "strong-PL-2-cycle-exists"})

_LOSS = ("lost-write", "unseen", "inconsistent-offsets", "torn-transaction", "rolled-back-offset")
_AFTER_LOSS = ("nonmonotonic-send", "int-nonmonotonic-send", "hung-transaction")
_ELECTED = ("deposed-leader-ack", "isolation-mismatch", "resume-gap", "stale-poll", "replica-divergence")
_REWRITTEN = ("nonmonotonic-poll", "poll-skip", "int-poll-skip", "epoch-regression", "G1a", "aborted-read")
"""Offsets are written anew in a later epoch, and the marker that ended a transaction may be among what was lost."""
_SCANNED = ("compaction-lost-latest", "tombstone-resurrected", "compaction-too-early", "premature-deletion")
"""What was cut off is missing from whole reads, values and tombstones."""
_WATERMARKS = ("hw-regression", "lso-regression", "impossible-watermark")
_COPIES = ("eos-loss", "eos-duplicate", "eos-reorder", "eos-phantom")
_DECIDED_OTHERWISE = ("cross-transaction",)
"""The end of a transaction was asked for twice, and the next one's records were lost."""
_FORGOTTEN = ("committed-offset-regression", "fenced-commit-applied", "double-ownership", "zombie-commit", "duplicate")
"""What coordinators and leaders know is in logs as well, and is lost with them."""
_STUCK = ("hung-transaction", "unavailable")
"""A coordinator that has forgotten epochs of a producer is refused by partitions that know them, and the id waits for
ever."""
_EPOCHS_TWICE = ("inconsistent-offsets", "rolled-back-offset", "nonmonotonic-send", "int-nonmonotonic-send")
"""A coordinator that has forgotten epochs of a producer gives them away again; partitions that know them take the
records of the second one for retries of the first one's, and acknowledge the places of those."""
_SHARES = ("share-redelivery", "share-double-acquisition", "share-delivery-count", "share-lost")
"""What share coordinators know is in a log, too."""
_SHOWN = ("share-phantom", "share-uncommitted-read")
"""Offsets that share groups were given, written anew in a later epoch."""
_STATE_LOST = "unsynced loss of coordinators' state"
_ROTTEN = "rotten disk with min.insync.replicas=1"
_ENDED_BY_ANOTHER = (
    "cross-transaction",
    "lost-write",
    "unseen",
    "G1a",
    "aborted-read",
    "dirty-read",
    "torn-transaction",
    "isolation-mismatch",
    "committed-offset-regression",
    "fenced-commit-applied",
    "nonlinearizable",
    "resume-gap",
    "int-poll-skip",  # values of transactions that were aborted count as none
    "poll-skip",
    "share-uncommitted-read",
    "impossible-watermark",
    "precommitted-read",
    "G1c",  # a transaction that was ended early is seen by those that it sees later
    "G1c-process",
    "G1c-realtime",
    *_COPIES,
    *_SCANNED,
)
"""What is left where the late end of one transaction has ended the next."""
_RETRIES = (
    "duplicate",
    "nonmonotonic-send",
    "int-nonmonotonic-send",
    "poll-skip",  # around the second copy of a value, whose place in the order is the later one
    "int-poll-skip",
    "nonmonotonic-poll",
    "int-nonmonotonic-poll",
)
_OLD_RETRIES_S = 60
"""A retry may lie in a paused node or a cut connection for so long after the client has given its record up."""
_UNCOMMITTED = ("G1a", "precommitted-read", "G1c", "G1c-process", "G1c-realtime")


def allowed(options: CheckOptions) -> frozenset[str]:
    """Return the classes that never invalidate (ANOMALIES.md, section 2)."""
    names = _ALWAYS_ALLOWED
    if "subscribe" in options.sub_via:
        names |= _WITH_SUBSCRIBE
    if options.ww_deps:
        names |= _WITH_WW_DEPS
    return names


def permitted(options: CheckOptions, *, reads_disagree: bool) -> dict[str, str]:
    """Return class -> the setting that makes it legal for Kafka. It stays invalid; the sentence says so.

    Two reads that disagree at one offset are never permitted by acks: consumers only see what is replicated.
    """
    settings: dict[str, str] = {}
    if options.isolation == "read_uncommitted":
        settings.update(dict.fromkeys(_UNCOMMITTED, "read_uncommitted"))
    retries = (*_RETRIES, "rolled-back-offset") if options.compacted else _RETRIES  # the second copy may be gone again
    if not options.idempotence:
        settings.update(dict.fromkeys(retries, "idempotence=false"))
    oldest_s = options.transaction_timeout_s + _OLD_RETRIES_S + options.clocks_jump_s
    if options.producers_expire_ms < oldest_s * 1000:
        settings.update(dict.fromkeys(retries, f"producer.id.expiration.ms={options.producers_expire_ms}"))
    if options.clocks_differ or options.clocks_jump_s:
        settings.update(dict.fromkeys(("premature-deletion", "compaction-too-early"), "clocks that differ"))
    if options.compacted and options.delete_retention_ms < options.clocks_jump_s * 1000:
        settings.update(dict.fromkeys(("tombstone-resurrected", "compaction-lost-latest"), "clocks that differ"))
    if options.acks != "all":
        weak = f"acks={options.acks}"
        settings.update(dict.fromkeys((*_LOSS, *_AFTER_LOSS), weak))
        if reads_disagree:
            del settings["inconsistent-offsets"]
    if options.keep_producers:
        settings.update(dict.fromkeys(_LOSS, "producers kept after a purge"))
    return settings | _permitted_by_brokers(options)


def _permitted_by_brokers(options: CheckOptions) -> dict[str, str]:
    settings: dict[str, str] = {}
    if options.late_ends:
        settings.update(dict.fromkeys(_ENDED_BY_ANOTHER, "protocol v1"))
    of_shares = (*_SHARES, *_SHOWN)
    seen_by_readers = (*_LOSS, *_AFTER_LOSS, *_REWRITTEN, *_COPIES, *_SCANNED)
    cut_off = (*seen_by_readers, *_ELECTED, *_WATERMARKS, *_DECIDED_OTHERWISE, *of_shares)
    if options.unsynced_loss:
        settings.update(dict.fromkeys((*cut_off, *_FORGOTTEN, *_STUCK), "unsynced loss"))
    if options.rotten_loss:
        settings.update(dict.fromkeys(cut_off, _ROTTEN))
    if options.unsynced_state:  # a coordinator that has forgotten a transaction ends it otherwise, or never
        of_ids = (*_FORGOTTEN, *_EPOCHS_TWICE, *_ENDED_BY_ANOTHER, *_STUCK)
        settings.update(dict.fromkeys((*of_ids, *_SHARES), _STATE_LOST))
    if options.unclean_election:
        settings.update(dict.fromkeys(cut_off, "unclean election"))
    return settings


def place(name: str) -> int:
    """Return where a class stands in the order of telling."""
    return ORDER.index(name) if name in ORDER else len(ORDER)
