"""The kernel's protocol for file systems in user space, spoken by ourselves (docs/decisions/0033)."""
