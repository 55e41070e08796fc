#!/bin/sh
# What the official image of PostgreSQL does with its environment, as far as the tests need it.
set -e
PGDATA=${PGDATA:-/data}
[ -z "$POSTGRES_PASSWORD_FILE" ] || POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
mkdir -p "$PGDATA" /run/postgres
chown -R postgres "$PGDATA" /run/postgres
umask 077
[ -e "$PGDATA/PG_VERSION" ] || su postgres -s /bin/sh -c "
    echo '$POSTGRES_PASSWORD' > /run/postgres/password
    initdb -D '$PGDATA' -U '$POSTGRES_USER' --encoding=UTF8 --locale=C --auth=scram-sha-256 --pwfile=/run/postgres/password
    echo 'host all all all scram-sha-256' >> '$PGDATA/pg_hba.conf'
    echo \"CREATE DATABASE \\\"$POSTGRES_DB\\\"\" | postgres --single -D '$PGDATA' postgres"
[ "$#" = 0 ] || shift # "postgres": the rest are its options
unset POSTGRES_PASSWORD
export PGDATA
exec su postgres -s /bin/sh -c 'exec postgres -k /run/postgres -h "*" "$@"' -- postgres "$@"
