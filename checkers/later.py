"""What no loss of unsynced data explains: what is found of operations that came after the last one.

`found_later` judges what was sent after it, and what a program of the user's has made of that, by themselves: none of
it can have been taken. Nor can what was sent outside transactions where every batch of the topics is synced, and only
what coordinators know is not. A transaction counts as later only if its id is new: a coordinator that has forgotten
epochs of an id gives them away again, and partitions that know them take the records of the second producer for
retries of the first one's: they acknowledge them, and do not store them.

Once all replicas were in sync again the logs are such as a cluster may have that has lost nothing. `found_whole` judges
what was seen of them from then on: answers to probes, held against one another, against what was sent later outside
transactions (a coordinator that has forgotten one may end a later one of the same producer), and against what readers
saw that began only then; and these readers, held against one another. Who began before may stand where a log was cut.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from checkers import application, identity, loss, order, probes, reads, torn, undone, watermarks
from checkers.case import Case
from checkers.columns import Bools, Ints
from checkers.findings import Findings
from checkers.placement import NOWHERE, place
from checkers.samples import PROBE
from checkers.sharding import cut_out

LATER = frozenset(
    {
        "inconsistent-offsets",
        "duplicate",
        "rolled-back-offset",
        "G1a",
        "aborted-read",
        "lost-write",
        "unseen",
        "torn-transaction",
        "nonmonotonic-send",
        "int-nonmonotonic-send",
        application.PHANTOM,
    }
)
"""Classes about what was sent, or made of it."""
WHOLE = frozenset(
    {
        "hw-regression",
        "lso-regression",
        "impossible-watermark",
        "inconsistent-offsets",
        "poll-skip",
        "int-poll-skip",
        "nonmonotonic-poll",
        "int-nonmonotonic-poll",
    }
)
"""Classes about logs that nothing is missing from."""
_NEVER = np.iinfo(np.int64).max
_FIND_LATER = (
    identity.inconsistent_offsets,
    identity.duplicates,
    identity.rolled_back_offsets,
    undone.undone_transactions,
    reads.aborted_reads,
    loss.lost_writes,
    loss.unseen,
    torn.torn_transactions,
    order.sends,
    application.copies,
)


def found_later(case: Case, last_ns: int, *, synced: bool = False) -> Findings:
    """Return what is found of LATER in what operations have sent that were invoked after a time.

    synced: and in all that was sent outside transactions, which was on disks.
    """
    placement, findings = case.placement, Findings()
    is_later = _sent_later(case, -1 if synced else last_ns, last_ns)
    is_later |= application.copies_of(case, is_later)
    sent, polled = np.flatnonzero(is_later[placement.send_vid]), np.flatnonzero(is_later[placement.record_vid])
    later = _cut(case, sent, polled)
    for find in _FIND_LATER:
        find(later, findings)
    return findings


def found_whole(case: Case, whole_ns: int) -> Findings:
    """Return what is found of WHOLE in what was seen from a time on when logs lacked nothing."""
    view, findings = case.view, Findings()
    nobody = np.empty(0, np.int64)
    polled = np.flatnonzero(_began_later(case, whole_ns)[view.records.call])
    polled = polled[~case.placement.twice[case.placement.record_vid[polled]]]
    readers = _cut(case, nobody, polled)
    identity.inconsistent_offsets(readers, findings)
    order.polls(readers, findings)
    plain = _sent_later(case, whole_ns, _NEVER)[case.placement.send_vid]
    marks = [mark for mark in view.marks if mark[2].f != PROBE or mark[1] > whole_ns]
    options = msgspec.structs.replace(case.options, logs_keep_their_start=False)  # a segment may be among what was lost
    beside = _cut(case, np.flatnonzero(plain), polled)
    asked = Case(replace(beside.view, marks=marks), beside.placement, case.phases, options)
    probes.probes(asked, findings)
    watermarks.watermarks(asked, findings)
    return findings


def _sent_later(case: Case, plain_ns: int, transactions_ns: int) -> Bools:
    """Return per vid whether all of its sends were invoked after a time; those in transactions with new ids."""
    view, placement, calls = case.view, case.placement, case.view.calls
    invoked, is_transaction = view.invoke_time(), case.transactional
    early = is_transaction & (invoked <= transactions_ns)
    is_later = np.where(is_transaction, ~early & (calls.txn_id >= 0), invoked > plain_ns)
    is_later &= ~(is_transaction & np.isin(calls.txn_id, calls.txn_id[early]))
    found = placement.writer != NOWHERE
    found[placement.send_vid[~is_later[view.sends.call]]] = False
    return np.asarray(found)


def _began_later(case: Case, time_ns: int) -> Bools:
    """Return per call whether its process has done nothing before a time, and holds what it reads by hand."""
    calls = case.view.calls
    early = calls.process[(case.view.invoke_time() <= time_ns) | (calls.f == case.view.kinds.get("subscribe"))]
    return ~np.isin(calls.process, early)


def _cut(case: Case, sent: Ints, polled: Ints) -> Case:
    view = cut_out(case.view, sent, polled)
    return Case(view, place(view, ours=case.phases.ours), case.phases, case.options)
