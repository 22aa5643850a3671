"""Whole runs on real clusters."""
