#!/bin/sh
# valkey.sh USERS SECRETS ACL COMMAND...: writes to the file ACL the users of the file USERS, who may not log in, each
# with a password that is made once, at random, and kept in the directory SECRETS under the user's name; then runs COMMAND.
set -eu
users=$1 secrets=$2 acl=$3
shift 3
cp "$users" "$acl"
for user in recsys server jobs backend; do
    if [ ! -s "$secrets/$user" ]; then
        head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n' > "$secrets/$user.new"
        mv "$secrets/$user.new" "$secrets/$user"
    fi
    hash=$(sha256sum "$secrets/$user" | cut -d ' ' -f 1)
    sed "s/^user $user off /user $user on #$hash /" "$acl" > "$acl.new"
    mv "$acl.new" "$acl"
done
exec "$@"
