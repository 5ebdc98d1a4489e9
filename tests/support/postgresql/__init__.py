"""Django's PostgreSQL backend, except that it empties tables faster after a test that commits."""
