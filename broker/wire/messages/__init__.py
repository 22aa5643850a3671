"""The messages, version-free, one module per idea."""
