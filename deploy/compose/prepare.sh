#!/bin/sh
# Make secrets/ beside this file: a password for each login, an authority and a certificate for NATS, the settings of
# each part. What is there already stays. Needs openssl.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
cd secrets
chmod 0700 .

missing() {
    [ ! -s "$1" ]
}

quietly() { # the command $@, which tells much, and what it told only where it fails
    "$@" 2>said || {
        cat said >&2
        exit 1
    }
    rm said
}

command -v openssl >/dev/null || {
    echo "prepare.sh needs openssl" >&2
    exit 1
}
users="publisher applier command query durable live operator system"
for name in db_postgres db_publisher db_applier db_reader grafana_admin $(printf 'nats_%s ' $users); do
    if missing "$name"; then
        made=$(openssl rand -hex 24)
        printf '%s' "$made" >"$name"
    fi
done

certified() { # by an authority of its own, $1-ca.pem: $1.pem with its key, for servers, good for $2
    if missing "$1-ca.pem" || missing "$1.key" || missing "$1.pem"; then
        rm -f "$1.pem" # what there is of it is of another authority
        quietly openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=iMi registry: $1" \
            -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" \
            -keyout "$1-ca.key" -out "$1-ca.pem"
        quietly openssl req -newkey rsa:2048 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr"
        cat >"$1.ext" <<EOF
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = $2
subjectAltName = DNS:nats-1, DNS:nats-2, DNS:nats-3, DNS:localhost, IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
EOF
        quietly openssl x509 -req -in "$1.csr" -days 825 -CA "$1-ca.pem" -CAkey "$1-ca.key" -CAcreateserial \
            -extfile "$1.ext" -out "$1.pem.new"
        mv "$1.pem.new" "$1.pem"
        rm -f "$1.csr" "$1.ext" "$1-ca.srl"
    fi
}

certified nats serverAuth
certified routes "serverAuth, clientAuth" # who is a route does everything: its authority vouches for nobody else

for user in $users; do
    echo "$(echo "$user" | tr '[:lower:]' '[:upper:]')_PASSWORD = \"$(cat "nats_$user")\""
done >nats-local.conf

database() { # URL of the user $1
    echo "postgresql://$1:$(cat "db_$1")@postgres/imi_registry"
}

settings() { # of the user of NATS $1, whose inboxes begin with $2
    echo 'nats_url = "tls://nats-1:4222,tls://nats-2:4222,tls://nats-3:4222"'
    echo 'nats_tls_ca = "/run/secrets/nats_ca"'
    echo "nats_user = \"$1\""
    echo "nats_password = \"$(cat "nats_$1")\""
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

# The folder keeps others out; containers, whose users have other numbers, are given single files of it.
chmod 0644 ./*
chmod 0600 nats-ca.key routes-ca.key
echo "secrets/ is there: passwords, certificates, and the settings of publisher, applier and operator"
