"""Consumer groups of the KIP-848 protocol: the coordinator assigns, members reconcile one heartbeat at a time."""
