#!/bin/sh
# What the official image of PostgreSQL does with its environment, as far as the tests need it.
set -e
mkdir -p /data /run/postgres
chown -R postgres /data /run/postgres
umask 077
[ -e /data/PG_VERSION ] || su postgres -s /bin/sh -c "
    echo '$POSTGRES_PASSWORD' > /run/postgres/password
    initdb -D /data -U '$POSTGRES_USER' --encoding=UTF8 --locale=C --auth=scram-sha-256 --pwfile=/run/postgres/password
    echo 'host all all all scram-sha-256' >> /data/pg_hba.conf
    echo \"CREATE DATABASE \\\"$POSTGRES_DB\\\"\" | postgres --single -D /data postgres"
shift # "postgres": the rest are its options
exec su postgres -s /bin/sh -c 'exec postgres -D /data -k /run/postgres -h "*" "$@"' -- postgres "$@"
