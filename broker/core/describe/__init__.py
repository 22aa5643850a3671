"""What is answered from the state as it is, without changing it: cluster, settings, partitions, transactions."""
