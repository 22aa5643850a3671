"""The transaction coordinator: producer identities, transactions, markers (KIP-98, KIP-360, KIP-890)."""
