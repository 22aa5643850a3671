"""Replication of topic partitions: leaders, followers, in-sync replicas, the high watermark."""
