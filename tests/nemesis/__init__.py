"""Tests of the nemesis: faults, plans, schedules, the journal, on a cluster in memory."""
