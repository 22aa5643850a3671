"""Limits of users and clients, and how far they are used."""
