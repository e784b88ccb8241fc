# Starts and stops peers on this machine, for the scripts beside it. Sourced, not run.
#
# RINGDOVE   the binary (built when unset)
# PORTS      three free ports on loopback (7401 7402 7403)
# Everything started here is ended here, by process id, and its data directory goes with it.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ -z "${RINGDOVE:-}" ]; then
    cargo build --quiet --manifest-path "$ROOT/Cargo.toml" --bin ringdove
    RINGDOVE=${CARGO_TARGET_DIR:-$ROOT/target}/debug/ringdove
fi
read -r -a PORT <<<"${PORTS:-7401 7402 7403}"
NAMES=(ann bob cyd)
SEEDS="127.0.0.1:${PORT[0]},127.0.0.1:${PORT[1]},127.0.0.1:${PORT[2]}"
HOME_DIR=$(mktemp -d)
PIDS=("" "" "")

say() { printf '\n# %s\n' "$*"; }

# start_peer 0|1|2: in the background, its log in a file of its own.
start_peer() {
    "$RINGDOVE" start --name "${NAMES[$1]}" --listen "127.0.0.1:${PORT[$1]}" --seeds "$SEEDS" \
        --data "$HOME_DIR/${NAMES[$1]}" --pages "$HOME_DIR" >>"$HOME_DIR/${NAMES[$1]}.log" 2>&1 &
    PIDS[$1]=$!
}

# at 0|1|2 COMMAND ...: a command for that peer.
at() {
    local peer=$1
    shift
    "$RINGDOVE" --endpoint "127.0.0.1:${PORT[$peer]}" "$@"
}

# eventually WHAT COMMAND ...: repeats a command until it succeeds, for at most a minute.
eventually() {
    local what=$1 try
    shift
    for try in $(seq 300); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.2
    done
    echo "gave up: $what" >&2
    tail -n 5 "$HOME_DIR"/*.log >&2
    return 1
}

# Waits until each peer says that the cluster is healthy.
all_see_each_other() { "$RINGDOVE" --endpoint "$SEEDS" status --wait 1m >/dev/null; }

# sees_up PEER COUNT: PEER counts that many members as up.
sees_up() { [ "$(at "$1" members -o json | grep -o '"UN"' | wc -l)" = "$2" ]; }

end_peers() {
    for pid in "${PIDS[@]}"; do
        if [ -n "$pid" ]; then
            kill -CONT "$pid" 2>/dev/null || true
            kill -KILL "$pid" 2>/dev/null || true
            wait "$pid" 2>/dev/null || true
        fi
    done
    rm -rf "$HOME_DIR"
}
trap end_peers EXIT
