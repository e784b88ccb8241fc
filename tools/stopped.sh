#!/usr/bin/env bash
# Two sides of one key: a peer is stopped in its sleep (SIGSTOP) while others write, wakes, and the
# conflict is listed, shown, explained and resolved.
set -euo pipefail
source "$(dirname "$0")/peers.sh"

run() {
    printf '\n$ ringdove %s\n' "$*"
    at 0 "$@" || printf '(exit code %d)\n' $?
}

say "three peers"
for peer in 0 1 2; do start_peer $peer; done
all_see_each_other

say "a cart that everybody has"
run put cart "book"
at 2 get cart -o json >"$HOME_DIR/before.json"
CONTEXT=$(grep -o '"context": *"[^"]*"' "$HOME_DIR/before.json" | cut -d '"' -f 4)

say "${NAMES[2]} is stopped; the others go on, and write what they saw plus a pen"
kill -STOP "${PIDS[2]}"
eventually "${NAMES[0]} notices" sees_up 0 2
run members
run put cart "book, pen" --context "$CONTEXT"

say "${NAMES[2]} wakes; a client that had read the cart before adds a lamp there"
kill -CONT "${PIDS[2]}"
at 2 status --wait 1m >/dev/null
at 2 put cart "book, lamp" --context "$CONTEXT" >/dev/null

both() { [ "$(at 0 siblings list -o json | grep -c '"cart"')" = 1 ]; }
eventually "the conflict shows" both
run siblings list
run get cart
run siblings show cart
run explain cart
run siblings resolve cart --value "book, pen, lamp"
run get cart -r all
none() { [ "$(at 0 siblings list -o json | grep -c '"cart"' || true)" = 0 ]; }
eventually "the conflict is gone everywhere" none
run siblings list
