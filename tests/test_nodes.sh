#!/bin/bash
# test_nodes.sh SOURCE FSMOE: ranks that the launcher dealt out to two nodes in turn train as those that it placed node by
# node do, on a virtual cluster; nodes that are claimed must lie within machines. Exit 77: it cannot be built here.
set -euo pipefail
source=$1 fsmoe=$2
cluster=("$source/scripts/vcluster" --name deal)

fail() {
  echo "test_nodes: $*" >&2
  exit 1
}

work=$(mktemp -d /tmp/fsmoe-nodes-XXXXXX)
trap '"${cluster[@]}" down; rm -rf "$work"' EXIT
cd "$work"
head -c 4000 "$source/data/austen/emma.txt" > train.txt
cat > config.yaml << 'END'
model: {hidden: 16, ffn_hidden: 32, num_layers: 2, num_heads: 2}
moe: {num_experts: 4}
parallel: {threads: 1, ep_size: 2, esp_size: 2, mp_size: 2, schedule: dsmoe}
data: {train: train.txt, seq_len: 16}
train: {steps: 4, global_batch: 4}
END

train() { # train NAME MAPPING OPTIONS...
  local name=$1 mapping=$2
  shift 2
  "${cluster[@]}" run --map-by "$mapping" -- "$fsmoe" train config.yaml --set run.dir="$name" "$@" > "$name.log" 2>&1
}

losses() { # losses NAME: every step's, to the last digit
  sed 's/.*"loss": *\([^,]*\),.*/\1/' "$1/log.jsonl"
}

code=0
"${cluster[@]}" up 2 2 1gbit memory > up.log 2>&1 || code=$?
if [[ $code -eq 77 ]] || ! type mpirun > /dev/null 2>&1; then
  echo "test_nodes: skipped: $(cat up.log)" >&2
  exit 77
fi
[[ $code -eq 0 ]] || fail "up fails: $(cat up.log)"

# shellcheck disable=SC2016
"${cluster[@]}" run --map-by node -- sh -c 'echo "$OMPI_COMM_WORLD_RANK $(hostname)"' | sort > placed
printf '0 fsmoe-deal-0\n1 fsmoe-deal-1\n2 fsmoe-deal-0\n3 fsmoe-deal-1\n' | diff - placed ||
  fail "the launcher does not deal ranks out in turn"

train by-slot slot || fail "by slot: $(cat by-slot.log)"
train said node --set parallel.nodes=2 --set parallel.ranks_per_node=2 || # refused if those of a node were on two machines
  fail "with the layout said: $(cat said.log)"
train by-node node || fail "by node: $(cat by-node.log)"
for name in by-slot by-node said; do
  grep -q '4 ranks on 2 nodes: DP 2, MP 2, EP 2, ESP 2, expert-DP 1' $name.log ||
    fail "$name has another layout: $(cat $name.log)"
  [[ $(losses $name | wc -l) -eq 4 ]] || fail "$name does not log four losses: $(cat $name/log.jsonl)"
done
diff <(losses by-slot) <(losses by-node) || fail "the losses differ"

# What the hosts say by themselves, as on a cluster of machines.
"${cluster[@]}" run --map-by node -- env -u FSMOE_NODE "$fsmoe" train config.yaml --set run.dir=unsaid > unsaid.log 2>&1 ||
  fail "without FSMOE_NODE: $(cat unsaid.log)"
grep -q '4 ranks on 2 nodes' unsaid.log || fail "hosts are no nodes: $(cat unsaid.log)"
diff <(losses by-slot) <(losses unsaid) || fail "the losses differ without FSMOE_NODE"

train finer node --set parallel.nodes=4 || fail "a rank a node: $(cat finer.log)"
grep -q '4 ranks on 4 nodes' finer.log || fail "the nodes asked for are not taken: $(cat finer.log)"
train coarser node --set parallel.nodes=1 && fail "one node of two machines is accepted"
grep -q 'parallel.nodes.*ranks 0 to 3.*machine.*alone' coarser.log || fail "the refusal does not say why: $(cat coarser.log)"
"${cluster[@]}" run -n 3 -- "$fsmoe" train config.yaml --set parallel.ep_size=1 --set parallel.esp_size=1 \
  --set parallel.mp_size=1 --set run.dir=uneven > uneven.log 2>&1 && fail "uneven nodes are accepted"
grep -q 'different numbers of ranks' uneven.log || fail "the refusal of uneven nodes does not say why: $(cat uneven.log)"
