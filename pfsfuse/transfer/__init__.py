"""What comes in from tars, streams and URLs, and goes out to them; host files: `versions/ingest.py`, `export.py`."""
