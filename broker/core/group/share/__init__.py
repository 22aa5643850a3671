"""Share groups (KIP-932): members of which several may read the same partition, record by record."""
