"""Bugs that can be switched on, each modelled on a published one or a classic mistake."""
