# shellcheck shell=sh
# Starts as the official image does: makes a user and a database of the same name, and accepts clients from all hosts.
set -eu

PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
data=/var/lib/postgresql/data
if ! [ -s "$data/PG_VERSION" ]; then
    initdb --pgdata "$data" --encoding UTF8 --username "$POSTGRES_USER" --auth "$POSTGRES_HOST_AUTH_METHOD" >/dev/null
    echo "host all all all $POSTGRES_HOST_AUTH_METHOD" >>"$data/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_USER;" | postgres --single -D "$data" postgres >/dev/null
fi
exec postgres -D "$data" --listen_addresses='*' --unix_socket_directories=/tmp
