"""Checkers judge: pure functions from a history to a verdict."""
