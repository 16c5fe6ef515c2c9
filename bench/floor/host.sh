# The host's part of floor.sh, which sends variables before it and the names of the steps after it. Every step looks first.
set -euo pipefail
# What is placed from a pipe tells that it changed.
shopt -s lastpipe
export DEBIAN_FRONTEND=noninteractive
root=/opt/fileshelf
state=/var/lib/fileshelf
config=$root/config
changed=

# place MODE OWNER:GROUP PATH <content: a file is written only when it differs, and `changed` says so
place() {
    local new
    new=$(mktemp)
    cat >"$new"
    if cmp -s "$new" "$3"; then rm "$new"; return; fi
    install -D -m "$1" -o "${2%:*}" -g "${2#*:}" "$new" "$3"
    rm "$new"
    changed=1
}
# run_unit UNIT: enabled and running, with its present files
run_unit() {
    [ -z "$changed" ] || systemctl daemon-reload
    systemctl is-enabled --quiet "$1" || systemctl enable --quiet "$1"
    if ! systemctl is-active --quiet "$1"; then systemctl start "$1"
    elif [ -n "$changed" ]; then systemctl restart "$1"; fi
}

common() {
    local wanted=(acl ca-certificates openssh-client openssl python3 python3-venv rsync util-linux "$@") directory
    if ! dpkg-query --show "${wanted[@]}" >/dev/null 2>&1; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
        apt-get -q -o Acquire::Retries=3 update >/dev/null
        apt-get -q -o Acquire::Retries=3 install -y --no-install-recommends "${wanted[@]}" >/dev/null
        rm /usr/sbin/policy-rc.d
    fi
    if [ -n "${file_anchor:-}" ]; then
        changed=
        printf '%s\n' "$file_anchor" | place 644 root:root /usr/local/share/ca-certificates/fileshelf-floor.crt
        [ -z "$changed" ] || update-ca-certificates >/dev/null 2>&1
    fi
    id fileshelf >/dev/null 2>&1 || useradd --system --user-group --home-dir $state --shell /usr/sbin/nologin fileshelf
    install -d -m 750 -o root -g fileshelf $root $config $config/tls
    for directory in $state $state/worker-intake $state/worker-text $state/beat $state/flower; do
        install -d -m 750 -o fileshelf -g fileshelf "$directory"
    done
    printf '%s\n' "$file_ca_pem" | place 640 root:fileshelf $config/ca.pem
    printf '%s\n' "$file_cert_pem" | place 644 root:root $config/tls/cert.pem
    printf '%s\n' "$file_cert_key" | place 600 root:root $config/tls/key.pem
    changed=
}

broker() {
    place 644 root:root /etc/systemd/system/epmd.socket.d/fileshelf.conf <<'END'
[Socket]
ListenStream=
ListenStream=127.0.0.1:4369
END
    place 644 root:root /etc/systemd/system/rabbitmq-server.service.d/fileshelf.conf <<'END'
[Unit]
StartLimitIntervalSec=0

[Service]
LimitNOFILE=16384
Restart=on-failure
RestartSec=2
END
    install -d -m 755 /etc/rabbitmq/tls
    local file
    for file in ca.pem cert.pem key.pem; do
        case $file in ca.pem) cat $config/ca.pem ;; *) cat "$config/tls/$file" ;; esac | place 640 root:rabbitmq "/etc/rabbitmq/tls/$file"
    done
    place 640 root:rabbitmq /etc/rabbitmq/rabbitmq-env.conf <<'END'
export ERL_EPMD_ADDRESS=127.0.0.1
export ERL_INETRC=/etc/rabbitmq/erl_inetrc
DIST_PORT=25672
SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
END
    # Its own name leads to where the port mapper listens.
    place 644 root:root /etc/rabbitmq/erl_inetrc <<'END'
{host, {127,0,0,1}, ["broker1"]}.
{lookup, [file, native]}.
END
    place 640 root:rabbitmq /etc/rabbitmq/rabbitmq.conf <<'END'
listeners.tcp = none
listeners.ssl.default = 5671
ssl_options.cacertfile = /etc/rabbitmq/tls/ca.pem
ssl_options.certfile = /etc/rabbitmq/tls/cert.pem
ssl_options.keyfile = /etc/rabbitmq/tls/key.pem
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
ssl_options.versions.1 = tlsv1.3
ssl_options.versions.2 = tlsv1.2
management.ssl.port = 15671
management.ssl.cacertfile = /etc/rabbitmq/tls/ca.pem
management.ssl.certfile = /etc/rabbitmq/tls/cert.pem
management.ssl.keyfile = /etc/rabbitmq/tls/key.pem
load_definitions = /etc/rabbitmq/definitions.json
heartbeat = 60
consumer_timeout = 7200000
vm_memory_high_watermark.relative = 0.4
disk_free_limit.absolute = 1GB
END
    echo '[rabbitmq_management].' | place 644 root:root /etc/rabbitmq/enabled_plugins
    printf '%s\n' "$file_definitions_json" | place 640 root:rabbitmq /etc/rabbitmq/definitions.json
    run_unit rabbitmq-server.service
}

database() {
    local directory=/etc/postgresql/15/main file
    for file in ca.pem cert.pem key.pem; do
        case $file in ca.pem) cat $config/ca.pem ;; *) cat "$config/tls/$file" ;; esac | place 600 postgres:postgres "$directory/$file"
    done
    place 644 postgres:postgres $directory/conf.d/fileshelf.conf <<END
listen_addresses = '*'
max_connections = 100
password_encryption = 'scram-sha-256'
ssl = on
ssl_min_protocol_version = 'TLSv1.2'
ssl_ca_file = '$directory/ca.pem'
ssl_cert_file = '$directory/cert.pem'
ssl_key_file = '$directory/key.pem'
END
    run_unit postgresql@15-main.service
    local address lines
    lines=$(
        for address in $readers; do echo "hostssl fileshelf fileshelf $address/32 scram-sha-256"; done
        for address in $owners; do echo "hostssl fileshelf fileshelf_owner $address/32 scram-sha-256"; done
    )
    changed=
    { sed '/ fileshelf /d; /fileshelf_owner/d' $directory/pg_hba.conf; echo "$lines"; } | place 640 postgres:postgres $directory/pg_hba.conf
    [ -z "$changed" ] || systemctl reload postgresql@15-main.service
    cd /
    runuser -u postgres -- psql -qAtv ON_ERROR_STOP=1 >/dev/null <<END
SET client_min_messages = warning;
SELECT 'CREATE ROLE fileshelf_owner LOGIN PASSWORD ''$owner_password''' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'fileshelf_owner') \gexec
SELECT 'CREATE ROLE fileshelf LOGIN PASSWORD ''$database_password''' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'fileshelf') \gexec
SELECT 'CREATE DATABASE fileshelf OWNER fileshelf_owner TEMPLATE template0 ENCODING ''UTF8''' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'fileshelf') \gexec
\c fileshelf
GRANT CONNECT ON DATABASE fileshelf TO fileshelf;
GRANT USAGE ON SCHEMA public TO fileshelf;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO fileshelf;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO fileshelf;
ALTER DEFAULT PRIVILEGES FOR ROLE fileshelf_owner IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO fileshelf;
ALTER DEFAULT PRIVILEGES FOR ROLE fileshelf_owner IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO fileshelf;
END
}

source_host() {
    id fileshelf-source >/dev/null 2>&1 || useradd --system --create-home --home-dir /var/lib/fileshelf-source --shell /bin/sh --password '*' fileshelf-source
    install -d -m 700 -o fileshelf-source -g fileshelf-source /var/lib/fileshelf-source/.ssh
    echo "restrict,command=\"/usr/bin/rrsync -ro $source\" $file_source_key_pub" |
        place 600 fileshelf-source:fileshelf-source /var/lib/fileshelf-source/.ssh/authorized_keys
    changed=
    run_unit ssh.service
}

code() {
    local from=$source/ rsync=(rsync --recursive --links --perms --times --delete --chown=root:fileshelf)
    rsync+=(--chmod=Dg=rx,Do=,Fg=rX,Fo= --exclude=__pycache__)
    changed=
    if [ "$host" != app1 ]; then
        install -d -m 700 $root/ssh
        printf '%s\n' "$file_source_key" | place 600 root:root $root/ssh/source_key
        echo "app1 $file_host_key" | place 644 root:root $root/ssh/known_hosts
        from=fileshelf-source@app1:./
        rsync+=("--rsh=ssh -i $root/ssh/source_key -o BatchMode=yes -o IdentitiesOnly=yes -o UserKnownHostsFile=$root/ssh/known_hosts")
    fi
    changed=
    "${rsync[@]}" "$from" $root/code/
    export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt HOME=/root
    export UV_CACHE_DIR=$root/cache UV_COMPILE_BYTECODE=1
    [ -z "$index" ] || export PIP_INDEX_URL=$index UV_DEFAULT_INDEX=$index
    if ! cmp -s $root/code/requirements.lock $root/installed; then
        [ -x $root/tools/bin/uv ] || { /usr/bin/python3 -m venv $root/tools; $root/tools/bin/pip install --quiet uv==0.13.8; }
        $root/tools/bin/uv venv --quiet --allow-existing --python /usr/bin/python3 $root/venv
        $root/tools/bin/uv pip install --quiet --python $root/venv/bin/python --requirements $root/code/requirements.lock
        cp $root/code/requirements.lock $root/installed
    fi
}

# connection IDENTITY PASSWORD
connection() {
    local settings='{"broker_native_delayed_delivery_queue_type": "quorum", "broker_transport_options": {"confirm_publish": true}'
    settings+=", \"broker_use_ssl\": {\"ca_certs\": \"$config/ca.pem\", \"cert_reqs\": 2, \"server_hostname\": \"fileshelf-broker\"}"
    settings+=', "task_acks_late": true, "task_reject_on_worker_lost": true, "task_create_missing_queue_exchange_type": "topic"'
    settings+=', "task_create_missing_queue_type": "quorum", "task_default_exchange_type": "topic", "task_default_queue_type": "quorum"}'
    place 600 root:root "$config/$1.env" <<END
HOME=$state
PYTHONUNBUFFERED=1
PYTHONPATH=$root/code
SSL_CERT_FILE=$config/ca.pem
CELERY_BROKER_URL='amqp://fileshelf-$1:$2@broker1:5671/fileshelf'
CELERY_RESULT_BACKEND='db+postgresql+psycopg://fileshelf:$database_password@db1:5432/fileshelf?sslmode=verify-full&sslrootcert=$config/ca.pem'
CELERY_SETTINGS='$settings'
END
}
# unit NAME IDENTITY STOP ARGUMENTS: a service of the application
unit() {
    place 644 root:root "/etc/systemd/system/fileshelf-$1.service" <<END
[Unit]
Description=Celery $1 of fileshelf
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
User=fileshelf
Group=fileshelf
WorkingDirectory=$state/$1
EnvironmentFile=$config/$2.env
EnvironmentFile=-$config/$1-options.env
ExecStart=$root/venv/bin/python -m celery -A fileshelf.celery:app $4
KillMode=mixed
TimeoutStopSec=$3
Restart=always
RestartSec=5
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ReadWritePaths=$state/$1

[Install]
WantedBy=multi-user.target
END
}

tables() {
    [ ! -e $state/tables-made ] || return 0
    cd $root/code
    export CELERY_RESULT_BACKEND="db+postgresql+psycopg://fileshelf_owner:$owner_password@db1:5432/fileshelf?sslmode=verify-full&sslrootcert=$config/ca.pem"
    $root/venv/bin/python -c 'from fileshelf.celery import app; app.backend.ResultSession()'
    touch $state/tables-made
}

worker() {
    local common="--loglevel INFO --without-gossip --without-mingle --heartbeat-interval 10"
    connection worker "$worker_password"
    unit worker-intake worker 900 "worker --hostname intake@%H --queues celery,intake $common --concurrency=2"
    unit worker-text worker 900 "worker --hostname text@%H --queues text,reports $common --concurrency=2 --prefetch-multiplier=1 --max-tasks-per-child=200"
    run_unit fileshelf-worker-intake.service
    run_unit fileshelf-worker-text.service
}

beat() {
    connection producer "$producer_password"
    unit beat producer 30 "beat --loglevel INFO --schedule $state/beat/schedule"
    run_unit fileshelf-beat.service
}

flower() {
    changed=
    connection flower "$flower_password"
    place 600 root:root $config/flower-options.env <<END
FLOWER_ADDRESS=127.0.0.1
FLOWER_PORT=5556
FLOWER_BASIC_AUTH=admin:$flower_password
FLOWER_PERSISTENT=true
FLOWER_DB=$state/flower/flower.db
END
    unit flower flower 30 flower
    run_unit fileshelf-flower.service
    changed=
    place 644 root:root /etc/nginx/sites-enabled/fileshelf <<END
server {
    listen 0.0.0.0:5555 ssl;
    server_name app1;
    server_tokens off;
    ssl_certificate $config/tls/cert.pem;
    ssl_certificate_key $config/tls/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    add_header X-Frame-Options DENY always;
    proxy_http_version 1.1;
    proxy_set_header Host \$http_host;
    proxy_set_header X-Real-IP \$remote_addr;
    proxy_set_header X-Forwarded-Proto https;

    location = /metrics { deny all; }
    location = /healthcheck { deny all; }
    location / { proxy_pass http://127.0.0.1:5556; }
}
END
    if [ -e /etc/nginx/sites-enabled/default ]; then rm /etc/nginx/sites-enabled/default; changed=1; fi
    run_unit nginx.service
}

