"""Clients that execute a workload's operations against a cluster."""
