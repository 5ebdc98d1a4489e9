"""The environments that a process may start with."""

PRODUCTION = {
    "DEPLOYMENT_MODE": "kubernetes",
    "SECRET_KEY": "a-secret-key-for-tests-that-is-long-enough-0123456789-abcdefgh",
    "ALLOWED_HOSTS": "chat.example.org",
    "DATABASE_URL": "postgres://user:password@db.example.org/messaging",
    "REDIS_URL": "redis://redis.example.org:6379/0",
}


AWS = {
    "DEPLOYMENT_MODE": "aws",
    "SECRET_KEY": PRODUCTION["SECRET_KEY"],
    "ALLOWED_HOSTS": "chat.example.org",
    "CSRF_TRUSTED_ORIGINS": "https://chat.example.org",
    "DATABASE_URL": "postgres://user:password@db.example.org/messaging",
    "CONNECTIONS_TABLE_NAME": "messaging-connections",
    "AWS_REGION": "eu-central-1",
    "WEBSOCKET_API_ENDPOINT": "https://a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com/production",
    "WEBSOCKET_PUBLIC_URL": "wss://a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com/production",
}


# Read by Django's own createsuperuser, not by this project.
DJANGO = {"DJANGO_SUPERUSER_USERNAME", "DJANGO_SUPERUSER_PASSWORD", "DJANGO_SUPERUSER_EMAIL"}
