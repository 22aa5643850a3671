"""Soaks: seeded runs for hours, who makes them, and what is kept of them."""
