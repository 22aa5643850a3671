"""Share groups on the side of the partitions (KIP-932): who has which record, and the log that remembers it."""
