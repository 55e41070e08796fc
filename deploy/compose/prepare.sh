#!/bin/sh
# Make secrets/ beside this file: a password for each login, an authority and a certificate for NATS, the settings of
# each part. What is there already stays. Needs openssl.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
cd secrets

missing() {
    [ ! -s "$1" ]
}

password() { # of the name $1
    missing "$1" && openssl rand -hex 24 | tr -d '\n' >"$1"
    cat "$1"
}

if missing nats-ca.pem || missing nats.pem; then
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=iMi registry: NATS" \
        -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" \
        -keyout nats-ca.key -out nats-ca.pem 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -subj "/CN=nats" -keyout nats.key -out nats.csr 2>/dev/null
    cat >nats.ext <<EOF
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = DNS:nats-1, DNS:nats-2, DNS:nats-3, DNS:localhost, IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
EOF
    openssl x509 -req -in nats.csr -days 825 -CA nats-ca.pem -CAkey nats-ca.key -CAcreateserial -extfile nats.ext \
        -out nats.pem 2>/dev/null
    rm -f nats.csr nats.ext nats-ca.srl
fi

password db_postgres >/dev/null
for user in PUBLISHER APPLIER COMMAND QUERY DURABLE LIVE OPERATOR SYSTEM; do
    echo "${user}_PASSWORD = \"$(password "nats_$(echo "$user" | tr '[:upper:]' '[:lower:]')")\""
done >nats-local.conf

database() { # URL of the user $1
    echo "postgresql://$1:$(password "db_$1")@postgres/imi_registry"
}

settings() { # of the user of NATS $1, whose inboxes begin with $2
    echo 'nats_url = "tls://nats-1:4222,tls://nats-2:4222,tls://nats-3:4222"'
    echo 'nats_tls_ca = "/run/secrets/nats_ca"'
    echo "nats_user = \"$1\""
    echo "nats_password = \"$(password "nats_$1")\""
    echo "nats_inbox_prefix = \"$2\""
    echo 'stream_replicas = 3'
}

{
    echo "publisher_database_url = \"$(database publisher)\""
    echo "reader_database_url = \"$(database reader)\""
    settings publisher _INBOX.publisher
} >publisher.toml
{
    echo "applier_database_url = \"$(database applier)\""
    echo "reader_database_url = \"$(database reader)\""
    settings applier _INBOX.applier
} >applier.toml
{
    echo "database_url = \"$(database postgres)\""
    settings operator _INBOX
} >operator.toml

password grafana_admin >/dev/null
# The folder keeps others out; containers, whose users have other numbers, are given single files of it.
chmod 0644 ./*
chmod 0600 nats-ca.key
echo "secrets/ is there: passwords, certificates, and the settings of publisher, applier and operator"
