"""Tests of what the path says."""
