"""Workloads ask: the operation vocabulary, its generators and the checkers that judge it."""
