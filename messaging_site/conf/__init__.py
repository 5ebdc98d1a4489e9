"""Configuration: the environment, and what the settings make of it."""
