"""Tests of the io driver."""
