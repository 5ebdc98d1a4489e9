#!/bin/sh
# Runs nginx with a configuration (default: /etc/nginx/nginx.conf), after writing beside it the networks of OUTER_PROXIES.
set -eu

configuration=${1:-/etc/nginx/nginx.conf}
for network in $(echo "${OUTER_PROXIES:-}" | tr , ' '); do
    echo "$network 1;"
done >"$(dirname "$configuration")/OUTER_PROXIES"
exec nginx -c "$configuration" -g "daemon off;"
