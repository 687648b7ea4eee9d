"""
Lives of the machine: what a process wrote survives the process, and not always the machine.

After a power cut any part of what was not synced may be there, also with gaps in front of it.  So
whoever finds a gap asks whether the machine was started anew since it was written.
"""

from __future__ import annotations

from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def this_boot() -> bytes:
    """Return what names this life of the machine, 16 bytes; it is another one after a power cut."""
    return bytes.fromhex(BOOT_ID.read_text().strip().replace("-", ""))
