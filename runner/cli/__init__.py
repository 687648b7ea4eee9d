"""The pfs command."""
