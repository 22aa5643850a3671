"""Kafka clients on the virtual clock: connections, metadata, producer, transactions, consumer, group."""
