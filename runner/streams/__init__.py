"""What goes on beside jobs: the clock that moves branches."""
