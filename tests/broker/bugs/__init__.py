"""Tests of the planted bugs."""
