#!/bin/sh
# test_apart.sh SOURCE FSMOE [MPIRUN]: tensors where nothing but operations, copies and communication reaches them
# (FSMOE_DEVICE=apart). The demo's model takes 20 steps there, stopped and resumed at the tenth, with a hook that
# changes rows; it generates; with MPIRUN, the script that launches ranks, it takes 3 steps on four; and all of it has
# the bits of the same on the host. A touch of a tensor by anybody else is a segmentation fault.
set -eu
source=$1 fsmoe=$2 mpirun=${3:-}
work=$(mktemp -d /tmp/fsmoe-apart-XXXXXX)
trap 'rm -rf "$work"' EXIT
export OMP_WAIT_POLICY=passive

fail() {
  echo "test_apart: $*" >&2
  cat "$work/log" >&2
  exit 1
}

# train DEVICE STEPS FOLDER OPTION...: small batches
train() {
  device=$1 steps=$2 folder=$3
  shift 3
  FSMOE_DEVICE=$device ${ranks:+"$mpirun" "$ranks"} "$fsmoe" train "$source/examples/austen.yaml" \
    --set "run.dir=$folder" --set "train.steps=$steps" --set train.warmup_steps=2 --set train.global_batch=2 \
    --set train.micro_batch=2 --set train.eval_tokens=512 --set 'moe.hooks=[wire_bf16, token_histogram]' \
    --set train.checkpoint_every=10 "$@" > "$work/log" 2>&1
}

# train_alone DEVICE STEPS FOLDER: on one process
train_alone() {
  ranks=
  train "$@" --set parallel.nodes=1 --set parallel.ranks_per_node=1 --set parallel.ep_size=1 --set parallel.esp_size=1 \
    --set parallel.mp_size=1
}

# train_ranks DEVICE STEPS FOLDER: on four
train_ranks() {
  ranks=4
  train "$@" --set parallel.ep_size=2 --set parallel.esp_size=1 --set parallel.mp_size=2
}

cd "$source"
train_alone host 20 "$work/host" || fail "training on the host fails"
train_alone apart 20 "$work/apart" || fail "training apart fails"
cmp "$work/host/model/model.safetensors" "$work/apart/model/model.safetensors" || fail "other weights apart"

grep -q "copied to the host and back for: moe.hooks: wire_bf16, moe.hooks: token_histogram" "$work/log" ||
  fail "what runs on the host is not said"

# from the tenth step on, again
rm -rf "$work/apart/checkpoint-20" "$work/apart/model"
FSMOE_DEVICE=apart "$fsmoe" train "$work/apart/config.yaml" --resume > "$work/log" 2>&1 || fail "resuming apart fails"
grep -q "resumed after step 10" "$work/log" || fail "not resumed where it was stopped"
cmp "$work/host/model/model.safetensors" "$work/apart/model/model.safetensors" ||
  fail "other weights when resumed apart"

if [ -n "$mpirun" ]; then
  export OMPI_MCA_btl_vader_single_copy_mechanism=none # else another process would reach them
  train_ranks host 3 "$work/host-ranks" || fail "training on ranks of the host fails"
  train_ranks apart 3 "$work/apart-ranks" || fail "training on ranks apart fails"
  grep -q "DP 2, MP 2, EP 2" "$work/log" || fail "another layout"
  cmp "$work/host-ranks/model/model.safetensors" "$work/apart-ranks/model/model.safetensors" ||
    fail "other weights on ranks apart"
fi

for device in host apart; do
  FSMOE_DEVICE=$device "$fsmoe" generate "$work/host/model" --prompt "It is a truth" --max-tokens 24 \
    > "$work/$device.txt" 2> "$work/log" || fail "generating on $device fails"
done
cmp "$work/host.txt" "$work/apart.txt" || fail "another text apart"

if FSMOE_DEVICE=nowhere "$fsmoe" generate "$work/host/model" --prompt "It" > "$work/log" 2>&1; then
  fail "a device that is not there"
fi
grep -q "FSMOE_DEVICE: no device is named 'nowhere'" "$work/log" || fail "a device that is not there is not named"
