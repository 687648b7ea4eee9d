"""Jobs: what starts them, how they run, what they leave."""
