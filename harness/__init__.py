"""The harness drives: it asks a workload what to do, does it to a cluster and records the history."""
