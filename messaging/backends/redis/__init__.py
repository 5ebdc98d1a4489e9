"""Everything about Redis: for pods, which share what they know."""
