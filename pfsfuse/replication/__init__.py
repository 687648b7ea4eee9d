"""Repos that leave for another store: dumps, restores and copies."""
