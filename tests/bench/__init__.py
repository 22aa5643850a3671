"""Tests of what `bench` shows of brokers: that its scripts still run, and what they find of ours."""
