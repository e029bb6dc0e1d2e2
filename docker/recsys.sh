#!/bin/sh
# recsys.sh SECRETS HOST USER ARGUMENT...: `recsys ARGUMENT...` on the Valkey at HOST as USER, whose password is in SECRETS.
set -eu
RECSYS_REDIS_URL="redis://$3:$(cat "$1/$3")@$2:6379/0"
export RECSYS_REDIS_URL
shift 3
exec recsys "$@"
