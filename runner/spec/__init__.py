"""Pipeline specifications: the formats people write, and the one model the runner uses."""
