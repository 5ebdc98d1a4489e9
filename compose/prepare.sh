#!/bin/sh
# Runs once per `up`. Makes this machine's secret key, the tables and the first operator, if they are missing.
set -eu

key=/secrets/secret_key
if ! [ -s "$key" ]; then
    (umask 077 && python -c 'import secrets; print(secrets.token_urlsafe(64))' >"$key")
    chown 10001:10001 "$key" # the image's user; a new volume belongs to root
fi
tries=60
until python -c 'import os, psycopg; psycopg.connect(os.environ["DATABASE_URL"]).close()' 2>/dev/null; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || {
        echo "PostgreSQL did not start within a minute" >&2
        exit 1
    }
    sleep 1
done
python manage.py messaging_migrate
python manage.py messaging_operator
