"""Repos, branches, commits (open and finished), provenance and the change log."""
