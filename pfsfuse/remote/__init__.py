"""Bytes that are elsewhere: behind http(s) URLs, and in object stores."""
