#!/bin/bash
# test_streams.sh SOURCE PROGRAM: on a virtual cluster of 2 nodes x 2 ranks, chunks of a layer are dispatched, gathered and
# computed at the same time. Exit 77: it cannot be built here.
set -u
cluster=("$1/scripts/vcluster" --name streams)
trap '"${cluster[@]}" down > /dev/null 2>&1' EXIT
"${cluster[@]}" up 2 2 100mbit 400mbit > /dev/null
code=$?
[[ $code -eq 0 ]] || exit "$code"
"${cluster[@]}" run "$2"
