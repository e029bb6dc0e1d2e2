#!/bin/sh
# recsys.sh SECRETS HOST ARGUMENT...: `recsys ARGUMENT...` on the Valkey at HOST, with the password kept in SECRETS.
set -eu
RECSYS_REDIS_URL="redis://recsys:$(cat "$1/recsys")@$2:6379/0"
export RECSYS_REDIS_URL
shift 2
exec recsys "$@"
