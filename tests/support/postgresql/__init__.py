"""Django's backend of PostgreSQL, which empties tables faster after a test that commits."""
