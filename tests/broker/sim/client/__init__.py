"""The clients on the virtual clock, against simulated brokers."""
