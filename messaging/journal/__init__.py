"""The journal: every message, in SQL, in every mode."""
