#!/bin/sh
# Bring the database to this version's schema, and give each login its role. Safe to run again and again.
set -eu
imi-registry migrate up
imi-registry roles setup --hand-over
for role in publisher applier reader; do
    imi-registry roles grant "$role" "$role"
done
