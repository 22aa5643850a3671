"""What may go from the logs: retention of whole segments, compaction by key, the machine that does both in slices."""
