"""Servers for programs on the network."""
