"""The backends in Redis, which pods share."""
