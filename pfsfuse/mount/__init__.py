"""What the mounted tree looks like, and its adapter to the kernel."""
