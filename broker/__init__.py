"""A Kafka broker: wire (bytes), core (deterministic, no IO), io (the real drivers)."""
