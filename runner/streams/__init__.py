"""Spouts, cron inputs, services and egress."""
