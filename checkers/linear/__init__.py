"""Linearizability: models, polynomial monitors for unique values, and a just-in-time search for the rest."""
