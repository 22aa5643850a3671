"""Clusters under test: one small interface, one module per provider."""
