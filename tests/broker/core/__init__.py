"""Tests of broker.core."""
