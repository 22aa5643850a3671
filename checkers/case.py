"""A case: the columns, the version orders, the run's own events and the options, as every queue checker takes them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from checkers.columns import Bools, Groups, Ints
from checkers.log_view import NONE, READ_COMMITTED, TYPE_FAIL, TYPE_NAMES, TYPE_OK, LogView
from checkers.options import CheckOptions
from checkers.phases import Phases
from checkers.placement import Placement
from checkers.samples import Application, Beside, Sample, application_of, beside_records, samples_of
from harness.history import DELETE_RECORDS


@dataclass(frozen=True)
class Case:
    """Everything that a checker may look at."""

    view: LogView
    placement: Placement
    phases: Phases
    options: CheckOptions

    def key(self, code: int) -> Any:
        """Return the key of a code."""
        return self.view.keys.names[int(code)]

    def vid_key(self, vid: int) -> Any:
        """Return the key of a vid."""
        return self.key(self.placement.vids.first[vid])

    def vid_value(self, vid: int) -> Any:
        """Return the value of a vid."""
        return self.view.values.value(self.placement.vids.second[vid])

    def slot_offset(self, slot: int) -> int:
        """Return the offset of a slot."""
        return int(self.placement.slots.second[slot])

    def name(self, call: int) -> str:
        """Return "op 12 (process 3, ok)"."""
        calls = self.view.calls
        return f"op {self.view.op(call)} (process {int(calls.process[call])}, {TYPE_NAMES[int(calls.type[call])]})"

    def writer_call(self, vid: int) -> int | None:
        """Return the call that sent a vid, None for a value that nobody sent."""
        row = int(self.placement.writer[vid])
        return None if row < 0 else int(self.view.sends.call[row])

    @cached_property
    def samples(self) -> list[Sample]:
        """The answered probes in order of their answers."""
        return samples_of(self.view)

    @cached_property
    def beside_records(self) -> Beside:
        """What records say of themselves beside offset and value."""
        return beside_records(self.view)

    @cached_property
    def application(self) -> Application | None:
        """What a program of the user's copies, where the history tells of one."""
        return application_of(self.view)

    @cached_property
    def is_output(self) -> Bools:
        """Per key: such a program writes it, so that its records are copies of those of other keys."""
        found = np.zeros(len(self.view.keys), np.bool_)
        if self.application is not None:
            found[list(self.application.outputs)] = True
        return found

    @cached_property
    def copies_are_foreign(self) -> bool:
        """Such a program wrote, and nothing of it says what it is made of: it does not keep the values."""
        records = self.view.records
        said = [records.extras.get(row) for row in np.flatnonzero(self.is_output[records.key]).tolist()]
        return bool(said) and not any(isinstance(one, dict) and "origin" in one for one in said)

    @cached_property
    def ok_times(self) -> dict[str, Ints]:
        """Per operation kind: the times of its ok completions, rising."""
        calls = self.view.calls
        is_ok = calls.type == TYPE_OK
        return {
            name: np.sort(self.view.time[calls.done_row[is_ok & (calls.f == code)]])
            for code, name in enumerate(self.view.kinds.names)
        }

    @cached_property
    def sends_of_call(self) -> Groups:
        """The rows of sends, by call."""
        return Groups(self.view.sends.call)

    @cached_property
    def records_of_vid(self) -> Groups:
        """The rows of records, by vid."""
        return Groups(self.placement.record_vid)

    @cached_property
    def records_of_slot(self) -> Groups:
        """The rows of records, by slot (NOWHERE where the offset is unknown)."""
        return Groups(self.placement.record_slot)

    @cached_property
    def records_of_key(self) -> Groups:
        """The rows of records, by key."""
        return Groups(self.view.records.key)

    @cached_property
    def _offsets_by_place(self) -> Groups:
        table = self.view.group_offsets
        return Groups((table.group - NONE) * len(self.view.keys) + table.key)

    def group_offsets_of(self, group: int, key: int) -> Ints:
        """Return the rows of `group_offsets` about a group's offset of a key, rising; they may not name the group."""
        keys = len(self.view.keys)
        unnamed = self._offsets_by_place.rows(key)
        if group == NONE:
            return unnamed
        named = self._offsets_by_place.rows((group - NONE) * keys + key)
        return np.sort(np.concatenate((unnamed, named))) if len(unnamed) else named

    @cached_property
    def transactional(self) -> Bools:
        """Per call: it is a transaction."""
        return self.view.transactional()

    @cached_property
    def reader_is_ok(self) -> Bools:
        """Per record row: the polling call is ok."""
        return np.asarray((self.view.calls.type == TYPE_OK)[self.view.records.call])

    @cached_property
    def reader_is_rc(self) -> Bools:
        """Per record row: the polling process is read_committed."""
        return np.asarray((self.view.calls.isolation == READ_COMMITTED)[self.view.records.call])

    @cached_property
    def polled_something(self) -> Bools:
        """Per call: it polled a record."""
        polled = np.zeros(self.view.calls.size, np.bool_)
        polled[self.view.records.call] = True
        return polled

    @cached_property
    def beside(self) -> Bools:
        """Per record row: read_uncommitted, in the final drain of a run of ours that reads read_committed too.

        Such reads are held against the others and stand for nothing else: they may show what was aborted, and what
        only they show is lost for everybody else.
        """
        final = self.final_reader & (self.view.calls.isolation != READ_COMMITTED)
        if not final.any() or not (self.final_reader & ~final).any():
            return np.zeros(len(self.view.records.call), np.bool_)
        return np.asarray(final[self.view.records.call])

    @cached_property
    def ok_read(self) -> Bools:
        """Per vid: some ok call polled it, other than `beside`."""
        if not self.beside.any():
            return self.placement.ok_read
        seen = np.zeros(self.placement.vids.size, np.bool_)
        seen[self.placement.record_vid[self.reader_is_ok & ~self.beside]] = True
        return seen

    @cached_property
    def deletions(self) -> tuple[tuple[int, int, int], ...]:
        """(call, key, offset) of each DeleteRecords that may have been done: what is below the offset may be gone."""
        view = self.view
        rows = np.flatnonzero((view.calls.f == view.kinds.get(DELETE_RECORDS)) & (view.calls.type != TYPE_FAIL))
        found = ((int(call), view.call_extras.get(int(call), {})) for call in rows)
        return tuple((call, view.keys.code(said["key"]), said["below"]) for call, said in found if said)

    @cached_property
    def log_start(self) -> Ints:
        """Per key: the highest log start that somebody asked for, or that a probe saw where it may move; else 0."""
        starts = np.zeros(len(self.view.keys), np.int64)
        for _, key, offset in self.deletions:
            starts[key] = max(starts[key], offset)
        for _, _, line in self.view.marks if not self.options.logs_keep_their_start else ():
            if line.f == "probe" and isinstance(line.value, dict):
                code = self.view.keys.get(line.value.get("key"))
                start = line.value.get("log-start")
                if code is not None and isinstance(start, int):
                    starts[code] = max(starts[code], start)
        return starts

    @cached_property
    def gone(self) -> Bools:
        """Per slot: it lies below a log start, so that nobody need see it."""
        slots = self.placement.slots
        return slots.second < self.log_start[slots.first]

    @cached_property
    def vid_gone(self) -> Bools:
        """Per vid: it lies below a log start, or may (its place is unknown and its key's log start moved)."""
        gone = np.zeros(self.placement.vids.size, np.bool_)
        if self.log_start.any():
            gone = (self.placement.last < 0) & (self.log_start[self.placement.vids.first] > 0)
            gone[self.placement.entry_vid[self.gone[self.placement.entry_slot]]] = True
        return gone

    @cached_property
    def judged_to(self) -> Ints:
        """Per key: offsets below this were read by the final read; everything in a foreign history."""
        everything = np.iinfo(np.int64).max
        limits = np.full(len(self.view.keys), everything)
        if self.phases.ours:
            limits[:] = 0
            for key, drain in self.phases.drains.items():
                code = self.view.keys.get(key)
                if code is not None:
                    limits[code] = everything if drain.complete else drain.read_to or 0
        return limits

    @cached_property
    def drained(self) -> Bools:
        """Per key: its final read is complete (always, in a foreign history)."""
        return np.asarray(self.judged_to == np.iinfo(np.int64).max)

    @cached_property
    def ends(self) -> Ints:
        """Per key: the end that was frozen for its final read; the highest number where none was told."""
        ends = np.full(len(self.view.keys), np.iinfo(np.int64).max)
        for key, drain in self.phases.drains.items():
            code = self.view.keys.get(key)
            if code is not None and drain.end is not None:
                ends[code] = drain.end
        return ends

    @cached_property
    def too_late(self) -> Bools:
        """Per send: it was answered during the final reads, and may lie behind the end that those read to.

        The ends are frozen when the calls of the run have come home; one that hangs for longer is answered later.
        """
        sends, row = self.view.sends, self.phases.row("drain")
        if row is None:
            return np.zeros(sends.call.size, np.bool_)
        behind = (sends.offset < 0) | (sends.offset >= self.ends[sends.key])
        return np.asarray((self.view.calls.done_row[sends.call] > row) & behind)

    @cached_property
    def final_reader(self) -> Bools:
        """Per call: it is an ok read of the final drain."""
        row = self.phases.row("drain")
        calls = self.view.calls
        if row is None:
            return np.zeros(calls.size, np.bool_)
        return np.asarray((calls.type == TYPE_OK) & (calls.invoke_row > row))
