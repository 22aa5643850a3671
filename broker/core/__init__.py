"""The broker's deterministic core: no IO, no clock, no randomness but its seed."""
