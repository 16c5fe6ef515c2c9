# The reference cluster by hand, as fast as a shell gets it: every host in the background, waiting only for what it needs.
# It is what site.yml's first run is measured against, and no part of the collection. bench/README.md says what it reaches.
#   floor.sh PREFIX WORK SOURCE WORKER...      PREFIX: of the containers' names; WORK: a directory of this run's own;
#                                              SOURCE: the tree on app1
# FLOOR_ANCHOR is a file of authorities that the hosts are to trust, FLOOR_INDEX a package index; both may be empty.
set -euo pipefail
prefix=$1 work=$2 source=$3
shift 3
workers=("$@")
hosts=(broker1 db1 app1 "${workers[@]}")
here=$(dirname "$(readlink -f "$0")")
umask 077
mkdir -p "$work"
rm -f "$work"/*.done "$work/failed"

address() { docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$prefix$1"; }

# The host's own part, with what it needs as variables; nothing secret is an argument of a process.
run() {
    local host=$1 part
    shift
    {
        printf 'host=%q\nsource=%q\nindex=%q\n' "$host" "$source" "${FLOOR_INDEX:-}"
        cat "$work/variables"
        for part in ca.pem "tls/$host.pem" "tls/$host.key" source_key source_key.pub host_key definitions.json anchor; do
            [ ! -s "$work/$part" ] || printf '%s=%q\n' "file_$(basename "${part/$host/cert}" | tr . _)" "$(<"$work/$part")"
        done
        cat "$here/host.sh"
        # A step that reads its input must not read the steps after it.
        printf 'steps() {\n'
        printf '%s\n' "$@"
        printf '}\nsteps </dev/null\n'
    } | docker exec -i "$prefix$host" bash -s
}

is_done() { touch "$work/$1.done"; }
await() {
    until [ -e "$work/$1.done" ]; do
        [ ! -e "$work/failed" ] || exit 1
        sleep 0.1
    done
}

certificate() {
    [ -s "$work/tls/$1.pem" ] && return
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$work/tls/$1.key" -subj "/CN=$1" \
        -out "$work/tls/$1.csr" 2>/dev/null
    openssl x509 -req -in "$work/tls/$1.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -days 365 -out "$work/tls/$1.pem" \
        -set_serial "0x$(openssl rand -hex 16)" \
        -extfile <(echo "subjectAltName=DNS:$1,DNS:localhost,DNS:fileshelf-broker,IP:$(address "$1")") 2>/dev/null
}

# A password as the broker keeps it.
hashed() {
    { printf 'salt'; printf 'salt%s' "$1" | openssl dgst -sha256 -binary; } | base64
}

prepare() {
    mkdir -p "$work/tls"
    if [ ! -s "$work/ca.pem" ]; then
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$work/ca.key" -out "$work/ca.pem" \
            -days 3650 -subj /CN=fileshelf -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>/dev/null
    fi
    [ -s "$work/source_key" ] || ssh-keygen -q -t ed25519 -N '' -f "$work/source_key"
    [ -z "${FLOOR_ANCHOR:-}" ] || cp "$FLOOR_ANCHOR" "$work/anchor"
    local pids=() host user rest
    for host in "${hosts[@]}"; do certificate "$host" & pids+=($!); done
    {
        printf 'readers=%q\n' "$(for host in app1 "${workers[@]}"; do address "$host"; done | tr '\n' ' ')"
        printf 'owners=%q\n' "$(address app1)"
        cat "$here/secrets.sh"
    } >"$work/variables"
    # shellcheck disable=SC1091
    . "$here/secrets.sh"
    rest=$(sed -e "s|@ADMIN@|$(hashed "$admin_password")|" -e "s|@WORKER@|$(hashed "$worker_password")|" \
        -e "s|@PRODUCER@|$(hashed "$producer_password")|" -e "s|@FLOWER@|$(hashed "$flower_password")|" "$here/definitions.json")
    printf '%s\n' "$rest" >"$work/definitions.json"
    for host in "${pids[@]}"; do wait "$host"; done
}

broker() {
    run broker1 "common rabbitmq-server" broker
    is_done broker
}
database() {
    run db1 "common postgresql-15" database
    is_done database
}
application() {
    run app1 "common openssh-server nginx" source_host
    docker exec "${prefix}app1" cat /etc/ssh/ssh_host_ed25519_key.pub >"$work/host_key"
    is_done source
    run app1 code
    await database
    run app1 tables
    is_done tables
    await broker
    run app1 beat flower
}
worker() {
    run "$1" common
    await source
    run "$1" code
    await tables
    await broker
    run "$1" worker
}

prepare
pids=()
# No `||`: behind it, a command that fails would not end its function.
start() {
    (
        trap '[ $? = 0 ] || touch "$work/failed"' EXIT
        "$@"
    ) &
    pids+=($!)
}
start broker
start database
start application
for one in "${workers[@]}"; do start worker "$one"; done
failed=0
for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
exit "$failed"
