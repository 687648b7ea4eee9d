"""
The kernel's protocol for file systems in user space, spoken by ourselves.

Why: docs/decisions/0033-the-kernels-protocol-spoken-directly.md
"""
