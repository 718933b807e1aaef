#!/bin/bash
# The command as a person uses it: resume bit for bit, killed saves, bad input, streams. Every child has a time limit.
# usage: test_command.sh FSMOE SOURCE_DIR
set -u
fsmoe=$1 source=$2
folder=$(mktemp -d /tmp/fsmoe-command-XXXXXX)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
failures=0
fail() { echo "FAILED: $*"; failures=$((failures + 1)); }
ranks() { timeout -k 5 120 "$source/scripts/mpirun" "$@"; }
one() { timeout -k 5 120 "$fsmoe" "$@"; }

cat > tiny.yaml <<Y
model: {hidden: 16, ffn_hidden: 32, num_layers: 2, num_heads: 4, num_kv_heads: 2}
moe: {num_experts: 4, top_k: 2, noisy: true}
data: {train: [$source/data/austen/emma.txt], valid: [$source/data/austen/persuasion.txt], seq_len: 16}
train: {steps: 8, global_batch: 8, micro_batch: 4, lr: 1.0e-2, warmup_steps: 2, eval_tokens: 1024}
run: {dir: run}
Y
four="--set parallel.nodes=2 --set parallel.ep_size=2 --set parallel.esp_size=2 --set parallel.mp_size=2 --set parallel.ranks_per_node=2"

losses() { grep -o '"loss":[^,]*' "$1/log.jsonl"; }

# 2N steps equal N, save, kill, resume, N. The kill comes after checkpoint-4 is whole.
check_resume() { # name, launcher words...
  local name=$1
  shift
  "$@" --set run.dir="$name-whole" --set train.checkpoint_every=4 2> /dev/null || fail "$name: whole run"
  "$@" --set run.dir="$name-half" --set train.checkpoint_every=4 2> /dev/null || fail "$name: half run"
  # what a kill after step 4 leaves: the checkpoint of step 4 and a log that may be ahead of it
  rm -rf "$name-half/checkpoint-8" "$name-half/model"
  cp -r "$name-keep" "$name-half/checkpoint-4" 2> /dev/null || fail "$name: no checkpoint kept"
  "$@" --set run.dir="$name-half" --set train.checkpoint_every=4 --resume 2> /dev/null || fail "$name: resume"
  for file in model optimizer; do
    cmp -s "$name-whole/checkpoint-8/$file.safetensors" "$name-half/checkpoint-8/$file.safetensors" ||
      fail "$name: $file.safetensors differs after resume"
  done
  [ "$(losses "$name-whole")" = "$(losses "$name-half")" ] || fail "$name: losses differ after resume"
  [ "$(losses "$name-whole" | wc -l)" -eq 8 ] || fail "$name: the log has not one line a step"
}

# The checkpoint after 4 steps, taken from a run that is killed as soon as it is there.
keep_checkpoint() { # name, launcher words...
  local name=$1 pid
  shift
  setsid "$@" --set run.dir="$name-killed" --set train.checkpoint_every=4 2> /dev/null &
  pid=$!
  for _ in $(seq 1000); do
    [ -d "$name-killed/checkpoint-4" ] && cp -r "$name-killed/checkpoint-4" "$name-keep" 2> /dev/null && break
    [ -d "$name-killed/checkpoint-8" ] && break
    sleep 0.01
  done
  kill -KILL -- -"$pid" 2> /dev/null
  wait "$pid" 2> /dev/null
}

slow="--set train.steps=8 --set data.seq_len=128 --set model.max_seq_len=128 --set model.hidden=64 --set train.global_batch=16"
keep_checkpoint one "$fsmoe" train tiny.yaml $slow
check_resume one one train tiny.yaml $slow
keep_checkpoint four "$source/scripts/mpirun" 4 "$fsmoe" train tiny.yaml $slow $four
check_resume four ranks 4 "$fsmoe" train tiny.yaml $slow $four

# Another layout goes on from the same checkpoint.
cp -r four-keep other-keep && mkdir other && mv other-keep other/checkpoint-4
one train tiny.yaml $slow --set run.dir=other --resume 2> /dev/null || fail "resume on another layout"
[ "$(losses other | wc -l)" -eq 4 ] || fail "resume on another layout: not 4 steps"

# Killed at any moment of frequent saves, there is a whole checkpoint to go on from.
for i in 1 2 3 4 5 6; do
  rm -rf killed
  setsid "$fsmoe" train tiny.yaml --set run.dir=killed --set train.steps=100000 --set train.checkpoint_every=1 2> /dev/null &
  pid=$!
  for _ in $(seq 500); do [ -d killed/checkpoint-2 ] || ls -d killed/checkpoint-*[0-9] > /dev/null 2>&1 && break; sleep 0.01; done
  sleep "0.0$((i * 13))"
  kill -KILL -- -"$pid" 2> /dev/null
  wait "$pid" 2> /dev/null
  newest=$(ls killed | sed -n 's/^checkpoint-\([0-9]*\)$/\1/p' | sort -n | tail -n 1)
  [ -n "$newest" ] || { fail "kill $i: no checkpoint"; continue; }
  one train tiny.yaml --set run.dir=killed --set train.steps=$((newest + 2)) --set train.warmup_steps=1 --resume 2> message ||
    fail "kill $i: cannot resume: $(tail -n 1 message)"
done

# Damage is found and named; nothing is changed.
one train tiny.yaml --set run.dir=damaged 2> /dev/null || fail "run to damage"
printf '\377' | dd of=damaged/checkpoint-8/optimizer.safetensors bs=1 seek=5000 conv=notrunc 2> /dev/null
expect() { # exit code, text, launcher words...
  local code=$1 text=$2 got
  shift 2
  "$@" > out 2> err
  got=$?
  [ "$got" -eq "$code" ] || fail "$*: exit code $got, not $code: $(head -n 1 err)"
  [ "$(grep -c 'fsmoe: error:' err)" -eq 1 ] || fail "$*: not one message: $(head -n 3 err)"
  grep -q -- "$text" err || fail "$*: no '$text' in: $(grep error err)"
}
expect 5 "optimizer.safetensors' is damaged" one train tiny.yaml --set run.dir=damaged --set train.steps=9 --resume
expect 4 "no checkpoint" one train tiny.yaml --set run.dir=nothing --resume
one train tiny.yaml --set run.dir=good 2> /dev/null || fail "run"
expect 3 "seed" one train tiny.yaml --set run.dir=good --set train.steps=9 --set train.seed=5 --resume

# Bad input.
expect 4 "missing.yaml" one train missing.yaml
expect 4 "missing.txt" one train tiny.yaml --set 'data.train=[missing.txt]' --set run.dir=bad
: > empty.txt
expect 5 "empty.txt" one train tiny.yaml --set 'data.train=[empty.txt]' --set run.dir=bad
echo "short" > short.txt
expect 3 "shorter than one sample" one train tiny.yaml --set 'data.train=[short.txt]' --set run.dir=bad
sed 's/num_experts/num_expert/' tiny.yaml > typo.yaml
expect 3 "typo.yaml:2: unknown key 'moe.num_expert'; did you mean 'moe.num_experts'" one train typo.yaml --set run.dir=bad
sed 's/top_k: 2/top_k: 2, top_k: 1/' tiny.yaml > twice.yaml
expect 3 "twice.yaml:2" one train twice.yaml --set run.dir=bad
expect 3 "has no effect" one train tiny.yaml --set moe.capacity_group=8 --set run.dir=bad
expect 6 "parallel.ep_size = 3 does not divide 4 ranks" ranks 4 "$fsmoe" train tiny.yaml --set moe.num_experts=6 --set parallel.ep_size=3 --set run.dir=bad
expect 6 "is not the 4 ranks started" ranks 4 "$fsmoe" train tiny.yaml --set parallel.nodes=3 --set parallel.ranks_per_node=2 --set run.dir=bad
[ ! -e bad ] || fail "bad input left a run folder: $(ls bad)"

# A loss that is not finite ends all ranks, keeps the last checkpoint and a readable log.
wild="--set train.lr=1000 --set train.min_lr=1000 --set train.warmup_steps=0 --set train.clip_grad=0 --set train.weight_decay=1000 --set train.checkpoint_every=1 --set train.steps=200"
expect 7 "not finite" ranks 4 "$fsmoe" train tiny.yaml $four $wild --set run.dir=wild
ls -d wild/checkpoint-*[0-9] > /dev/null 2>&1 || fail "no checkpoint before the loss that is not finite"
one report wild > /dev/null 2>&1 || fail "the log is not readable after a loss that is not finite"

# Streams and formats.
one --help > out 2> err && [ -s out ] && [ ! -s err ] || fail "--help"
one --version > out 2> err && grep -q '^fsmoe [0-9]' out || fail "--version"
expect_usage() { "$@" > out 2> err; [ $? -eq 2 ] && [ ! -s out ] || fail "$*: not exit code 2 with a message on stderr"; }
expect_usage one frobnicate
expect_usage one train
expect_usage one eval good/model --no-such-option
one config --dump > dump.yaml && one config --dump dump.yaml > again.yaml && cmp -s dump.yaml again.yaml || fail "config --dump"
one train tiny.yaml --set run.dir=streams > out 2> err && [ ! -s out ] && ! grep -q "$(printf '\033')" err || fail "train's streams"
one eval good/model --data "$source/data/austen/persuasion.txt" --seq-len 16 --json > out 2> err || fail "eval"
grep -qE '^\{"loss_per_token": [0-9.e+-]+, "loss_per_byte": [0-9.e+-]+, "perplexity": [0-9.e+-]+, "tokens": [0-9]+\}$' out || fail "eval --json: $(cat out)"
head -c 1025 "$source/data/austen/persuasion.txt" > windows.txt
one eval good/model --data windows.txt --seq-len 16 --json > out 2> /dev/null
logged=$(grep -o '"val_loss":[0-9.]*' good/log.jsonl | tail -n 1 | cut -d: -f2)
evaluated=$(sed 's/.*"loss_per_token": \([0-9.]*\).*/\1/' out)
awk -v a="$logged" -v b="$evaluated" 'BEGIN { d = a - b; exit !(a > 0 && d < 1e-6 && d > -1e-6) }' ||
  fail "eval gives $evaluated, the run logged $logged"
one generate good/model --prompt "Emma " --max-tokens 10 --seed 3 > a && one generate good/model --prompt "Emma " --max-tokens 10 --seed 3 > b || fail "generate"
cmp -s a b || fail "generate: the same seed gives other text"
# With the cache, greedy text is what a growing prompt without one gives.
one generate good/model --prompt "Em" --max-tokens 8 --temperature 0 > a
text="Em"
for _ in 1 2 3 4 5 6 7 8; do text=$(one generate good/model --prompt "$text" --max-tokens 1 --temperature 0; echo x); text=${text%?x}; done
[ "$(cat a; echo x)" = "$text"$'\n'x ] || fail "generate: the cache changes the text"
expect 3 "positions" one generate good/model --prompt "a prompt that is longer than sixteen"
one tokenize "$source/data/austen/emma.txt" emma.tokens --tokenizer bytes 2> /dev/null || fail "tokenize"
one train tiny.yaml --set run.dir=tokens --set 'data.train=[emma.tokens]' 2> /dev/null || fail "train on tokens"
[ "$(losses tokens)" = "$(losses good)" ] || fail "tokens train otherwise than text"
one train tiny.yaml --set run.dir=good 2> err && [ -d good.1 ] && grep -q "good.1" err || fail "an earlier run is not moved aside"
ranks 4 "$fsmoe" train tiny.yaml $four --set run.dir=traced --set train.steps=2 --trace trace.json 2> /dev/null || fail "trace"
for rank in 0 1 2 3; do
  grep -q "\"expert.forward\[layer 1, micro 1, rows 0-[0-9]*\]\",\"cat\":\"forward\",\"pid\":$rank" trace.json || fail "trace: rank $rank lacks a task"
done
one generate good/model --prompt "Emma " --max-tokens 10 2> /dev/null | head -c 1 > /dev/null

if [ "$failures" -gt 0 ]; then echo "$failures failed"; exit 1; fi
echo "all passed"
