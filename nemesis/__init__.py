"""The nemesis breaks: faults as pure plans, schedules as data."""
