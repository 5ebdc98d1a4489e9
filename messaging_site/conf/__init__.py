"""Configuration: reading the environment, and building settings from it."""
