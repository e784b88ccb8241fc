#!/usr/bin/env bash
# A dictionary through a crash: three peers from seeds, a hundred thousand words written through
# one, another killed half way and started again, every word read back at `all` from the third.
set -euo pipefail
source "$(dirname "$0")/peers.sh"

WORDS=/usr/share/dict/american-english
if [ ! -f "$WORDS" ]; then
    say "the word list is missing: installing Debian's package wamerican"
    apt-get install -y -q wamerican >/dev/null || { apt-get update -q >/dev/null && apt-get install -y -q wamerican >/dev/null; }
fi
TABLE=$HOME_DIR/words.tsv
awk 'NR <= 100000 { printf "%s\t%d:%s\n", $0, NR, $0 }' "$WORDS" >"$TABLE"
COUNT=$(wc -l <"$TABLE")

say "three peers that know nothing but each other's addresses"
for peer in 0 1 2; do start_peer $peer; done
all_see_each_other
at 0 members

say "$COUNT words through ${NAMES[0]}; ${NAMES[1]} is killed half way"
HALF=$((COUNT / 2))
# The second half is fed only after the kill, while the first may still be on its way.
feed() {
    head -n "$HALF" "$TABLE"
    until [ -e "$HOME_DIR/killed" ]; do sleep 0.02; done
    tail -n "+$((HALF + 1))" "$TABLE"
}
feed | at 0 put --lines - >"$HOME_DIR/load.out" 2>&1 &
LOAD=$!
well_under_way() {
    [ "$(at 0 status -o json | grep -o '"keys": *[0-9]*' | grep -o '[0-9]*$')" -ge $((COUNT * 2 / 5)) ]
}
eventually "the load is well under way" well_under_way
kill -KILL "${PIDS[1]}"
wait "${PIDS[1]}" 2>/dev/null || true
PIDS[1]=""
touch "$HOME_DIR/killed"
wait "$LOAD"
cat "$HOME_DIR/load.out"

say "${NAMES[1]} starts again from its own disk"
start_peer 1
all_see_each_other

say "every word at level all, through ${NAMES[2]}"
cut -f 1 "$TABLE" | at 2 get --lines - -r all >"$HOME_DIR/read.tsv"
if cmp "$TABLE" "$HOME_DIR/read.tsv"; then
    echo "$COUNT words written, $(wc -l <"$HOME_DIR/read.tsv") read back: none missing, none wrong"
else
    echo "the words that came back differ from those written" >&2
    diff "$TABLE" "$HOME_DIR/read.tsv" | head -n 5 >&2
    exit 1
fi
