#!/bin/sh
# Runs once per `up`. Makes this machine's secret key, the tables and the first operator, if they are missing.
# `rotate begin`, `rotate swap` or `rotate end` only makes one step of docs/operations.md.
set -eu

key=/secrets/secret_key fallbacks=/secrets/secret_key_fallbacks

make_key() {
    python -c 'import secrets; print(secrets.token_urlsafe(64))' >"$1"
}

umask 077
[ -s "$key" ] || make_key "$key"
[ -e "$fallbacks" ] || : >"$fallbacks"
case "$*" in
    "") ;;
    "rotate begin") make_key "$fallbacks" ;;
    "rotate swap") mv "$key" "$key.old" && mv "$fallbacks" "$key" && mv "$key.old" "$fallbacks" ;;
    "rotate end") : >"$fallbacks" ;;
    *) echo "prepare.sh: unknown arguments: $*" >&2 && exit 1 ;;
esac
chown 10001:10001 "$key" "$fallbacks" # the image's user; a new volume belongs to root
[ $# -eq 0 ] || exit 0
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
