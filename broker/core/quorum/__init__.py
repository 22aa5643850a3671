"""The metadata quorum: pull-based Raft over the log __cluster_metadata-0 (KIP-595, KIP-996, KIP-630)."""
