"""Hunts for bugs that are planted in our own broker, and the score of hunting each."""
