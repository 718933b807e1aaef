#!/bin/bash
# test_vcluster.sh SOURCE: the virtual cluster's links have the rates asked for, its launcher hands on what it should,
# and nothing is left of it, whatever was killed. Exit 77: it cannot be built here.
set -euo pipefail
source=${1:-$(dirname "$(readlink -f "$0")")/..}
name=links
cluster=("$source/scripts/vcluster" --name "$name")
state=/run/fsmoe-vcluster-$name
intra_mbit=400 inter_mbit=100

fail() {
  echo "test_vcluster: $*" >&2
  exit 1
}

work=$(mktemp -d /tmp/fsmoe-vcluster-XXXXXX)
trap '"${cluster[@]}" down; rm -rf "$work"' EXIT
cd "$work"

expect_exit() { # expect_exit CODE COMMAND...
  local expected=$1 code=0
  shift
  "$@" > out 2>&1 || code=$?
  [[ $code -eq $expected ]] || fail "'$*' exits with $code, not $expected: $(cat out)"
}

# All that a cluster could leave behind: mounts, interfaces, named namespaces, files, processes in other namespaces.
# Other clusters may come and go meanwhile.
print_leftovers() {
  local ns
  grep -e "$state" -e boot_id /proc/self/mountinfo || true
  ip -o link show | sed 's/^[0-9]*: \([^:]*\):.*/\1/'
  find /run /tmp /dev/shm -maxdepth 1 \( -name "*vcluster-$name*" -o -name "*fsmoe-$name-*" \)
  for ns in /proc/[0-9]*/ns/uts; do
    nsenter --uts="$ns" hostname 2> /dev/null || true
  done | grep "^fsmoe-$name-" || true
}

expect_clean() { # expect_clean WHEN
  print_leftovers | diff before - || fail "$1, this is left or missing"
}

processes_in_rank() { # processes_in_rank RANK
  local inode file
  inode=$(stat -L -c %i "$state/net$1")
  for file in /proc/[0-9]*; do
    [[ $(readlink "$file/ns/net" 2> /dev/null) != "net:[$inode]" ]] || echo "${file#/proc/}"
  done
}

all_processes_inside() {
  local rank
  for rank in 0 1 2 3; do
    processes_in_rank "$rank"
  done
}

# Starts a run that never ends; returns when every rank is there. The launcher's process is $!.
start_endless_run() {
  rm -f rank.*
  set -m # a job of its own: bash lets background jobs ignore Ctrl-C otherwise
  # shellcheck disable=SC2016
  "${cluster[@]}" run bash -c 'touch rank.$OMPI_COMM_WORLD_RANK; sleep 1000' > endless.log 2>&1 &
  set +m
  local tenth
  for ((tenth = 0; tenth < 100; tenth++)); do
    [[ $(find . -name 'rank.?' | wc -l) -lt 4 ]] || return 0
    sleep 0.1
  done
  fail "the ranks do not start: $(cat endless.log)"
}

expect_empty() { # expect_empty WHEN
  local tenth
  for ((tenth = 0; tenth < 50; tenth++)); do
    [[ -n $(all_processes_inside) ]] || return 0
    sleep 0.1
  done
  fail "$1, these processes are left: $(all_processes_inside | xargs -n 1 ps -o pid=,args= -p)"
}

# Rank 0 exchanges messages with rank 1 (its node), then with rank 2, both ways at once, and prints Mbit/s each way.
cat > links.c << 'END'
#include <mpi.h>
#include <stdio.h>

enum { BYTES = 2 << 20, MESSAGES = 4 };
static char sent[BYTES], received[BYTES];

static void exchange(int peer, int bytes)
{
    MPI_Sendrecv(sent, bytes, MPI_CHAR, peer, 0, received, bytes, MPI_CHAR, peer, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

static double rate_mbit(int peer)
{
    exchange(peer, BYTES); /* opens the connection */
    exchange(peer, 1);     /* and when this has come, all of that has */
    double start_s = MPI_Wtime();
    for (int i = 0; i < MESSAGES; i++) exchange(peer, BYTES);
    exchange(peer, 1);
    return 8e-6 * BYTES * MESSAGES / (MPI_Wtime() - start_s);
}

int main(int argc, char **argv)
{
    int rank;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    for (int peer = 1; peer <= 2; peer++) {
        if (rank != 0 && rank != peer) continue;
        double mbit = rate_mbit(rank ? 0 : peer);
        if (rank == 0) printf("%.0f\n", mbit);
    }
    MPI_Finalize();
    return 0;
}
END

near() { # near VALUE EXPECTED: within a quarter
  ((4 * $1 >= 3 * $2 && 4 * $1 <= 5 * $2))
}

expect_rates() { # expect_rates INTRA INTER: another program's burst may spoil one measurement, not three
  local attempt intra inter
  for attempt in 1 2 3; do
    "${cluster[@]}" run ./links > rates || fail "the program that measures fails"
    { read -r intra && read -r inter; } < rates
    echo "links: $intra Mbit/s inside a node (asked for $1), $inter between nodes ($2), attempt $attempt"
    if near "$intra" "$1" && near "$inter" "$2"; then return 0; fi
  done
  fail "the links have other rates than asked for"
}

# ------------------------------------------------------------------------------------------------------------ wrong use
expect_exit 2 "${cluster[@]}" up 2 2 fast 1gbit
expect_exit 2 "${cluster[@]}" up 2 2 250mbit 1000
expect_exit 2 "${cluster[@]}" up 200 2 250mbit 1gbit
expect_exit 2 "${cluster[@]}" sideways
expect_exit 0 "${cluster[@]}" down
expect_exit 1 "${cluster[@]}" status
expect_exit 1 "${cluster[@]}" run true

# ------------------------------------------------------------------------------------------------------------------ up
code=0
"${cluster[@]}" up 2 2 ${inter_mbit}mbit ${intra_mbit}mbit > up.log 2>&1 || code=$?
if [[ $code -eq 77 ]] || ! { type mpicc && type mpirun; } > /dev/null 2>&1; then
  echo "test_vcluster: skipped: $(cat up.log)" >&2
  exit 77
fi
[[ $code -eq 0 ]] || fail "up fails: $(cat up.log)"
"${cluster[@]}" down
print_leftovers > before
grep -qx lo before || fail "this test does not see the machine's interfaces"

"${cluster[@]}" up 2 2 ${inter_mbit}mbit ${intra_mbit}mbit > up.log
expect_exit 0 "${cluster[@]}" up 2 2 ${inter_mbit}mbit ${intra_mbit}mbit # the same again is no mistake
expect_exit 1 "${cluster[@]}" up 2 1 ${inter_mbit}mbit ${intra_mbit}mbit
expect_exit 0 "${cluster[@]}" status
grep -q '2 nodes x 2 ranks' out || fail "status does not show the shape: $(cat out)"

# -------------------------------------------------------------------------------------------------------- run and exec
mpicc -O2 -o links links.c
expect_rates $intra_mbit $inter_mbit
"${cluster[@]}" shape 200mbit 200mbit
expect_rates 200 200

# shellcheck disable=SC2016
FSMOE_SEED="a b" "${cluster[@]}" run sh -c 'echo "$OMPI_COMM_WORLD_RANK $FSMOE_NODE $FSMOE_SEED $PWD"' |
  sort > environment
for rank in 0 1 2 3; do
  echo "$rank $((rank / 2)) a b $work"
done | diff - environment || fail "the ranks' environment or folder differs"
[[ $("${cluster[@]}" run -n 2 -- echo -n x) == xx ]] || fail "mpirun's options are not handed on"
# the timeout: not to wait half a minute for a job that ends by itself
expect_exit 3 "${cluster[@]}" run --mca odls_base_sigkill_timeout 0 -- bash -c 'exit 3'
expect_exit 4 "${cluster[@]}" exec 3 bash -c 'exit 4'
expect_exit 2 "${cluster[@]}" exec 4 true
[[ $("${cluster[@]}" exec 2 ip -4 -o address show eth0) == *" $("${cluster[@]}" address 2)/"* ]] ||
  fail "rank 2's address is not what \`address\` says"
[[ $("${cluster[@]}" exec 0 cat /proc/sys/kernel/random/boot_id) != $(cat /proc/sys/kernel/random/boot_id) ]] ||
  fail "a rank sees the machine's boot id"

# ------------------------------------------------------------------------------------------------ nothing stays behind
start_endless_run
kill -INT $! # of the script alone, as a service manager would; on a terminal, mpirun does not get it either
wait $! && fail "an interrupted run exits with 0"
expect_empty "after Ctrl-C"

start_endless_run
all_processes_inside | xargs kill -KILL
wait $! && fail "a killed run exits with 0"
"${cluster[@]}" down
expect_clean "after kill -9 of everything and down"

"${cluster[@]}" up 2 2 ${inter_mbit}mbit memory > up.log
start_endless_run
"${cluster[@]}" down
wait $! && fail "a run whose cluster is taken down exits with 0"
expect_clean "after down in the middle of a run"

set -m
"${cluster[@]}" up 20 10 ${inter_mbit}mbit ${intra_mbit}mbit > up.log 2>&1 &
set +m
sleep 0.5
kill -INT $!
wait $! && fail "an interrupted up exits with 0"
expect_clean "after Ctrl-C in up"

set -m
"${cluster[@]}" up 20 10 ${inter_mbit}mbit ${intra_mbit}mbit > up.log 2>&1 &
set +m
sleep 0.5
kill -KILL $!
wait $! 2> /dev/null || true
expect_exit 1 "${cluster[@]}" status
"${cluster[@]}" down
expect_clean "after kill -9 of up and down"
