"""Executes operations with the simulated Kafka clients, as coroutines on the virtual clock."""
