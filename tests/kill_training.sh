#!/bin/bash
# kill_training.sh SOURCE COMMAND KILLS RANKS: training with a checkpoint a step is killed (SIGKILL) KILLS times at random
# moments and resumed each time. Nothing may be lost: every resumption finds the newest checkpoint sound, no step is lost
# that a checkpoint held, and a run that came to its end through kills has the log and the model of one that was never
# disturbed, to the bit. Prints how many kills there were, and where they fell.
# Exit 77: no launcher for more than one rank, or a command without MPI.
set -euo pipefail
source=$(realpath "$1") command=$(realpath "$2") kills=$3 ranks=$4
steps=${KILL_STEPS:-200}
work=$(mktemp -d "${TMPDIR:-/tmp}/fsmoe-kills-XXXXXX")
cd "$work"
job=

clean_up() {
  [[ -z $job ]] || kill -KILL "-$job" 2> /dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT

fail() {
  echo "kill_training: $*" >&2
  tail -n 3 out >&2
  cp -r "$work" /tmp/fsmoe-kills-failed && echo "kept in /tmp/fsmoe-kills-failed" >&2
  exit 1
}

if [[ $ranks -gt 1 ]]; then
  command -v "${MPIRUN:-mpirun}" > /dev/null || exit 77
  launch=("$source/scripts/mpirun" "$ranks" sh note.sh)
else
  launch=(sh note.sh)
fi
echo 'echo $$ > "rank.${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-0}}"; exec "$@"' > note.sh
head -c 3000 "$source/data/austen/emma.txt" > train.txt
head -c 600 "$source/data/austen/persuasion.txt" > valid.txt
cat > config.yaml << END
model: {hidden: 8, ffn_hidden: 16, num_layers: 2, num_heads: 2, moe_every: 2}
moe: {num_experts: 4, noisy: true}
parallel: {threads: 1, schedule: dsmoe, nodes: 1, ranks_per_node: $ranks, ep_size: $ranks}
data: {train: train.txt, valid: valid.txt, seq_len: 16}
train: {steps: $steps, global_batch: 8, micro_batch: 4, warmup_steps: 5, checkpoint_every: 1, eval_every: 7}
END

train() { # train RUN OPTION...: in a process group of its own
  rm -f rank.*
  setsid "${launch[@]}" "$command" train config.yaml --set run.dir="$1" "${@:2}" > out 2>&1 < /dev/null &
  job=$!
}

newest() { # newest RUN: its last checkpoint's number, 0: none
  local folder last=0
  for folder in "$1"/checkpoint-[0-9]*; do
    [[ $folder =~ checkpoint-([0-9]+)$ && ${BASH_REMATCH[1]} -gt $last ]] && last=${BASH_REMATCH[1]}
  done
  echo "$last"
}

log_of() { # what does not depend on the time
  sed 's/"\(tokens_per_s\|step_s\|flops_per_s\|peak_share\)":[^,]*,//g' "$1/log.jsonl"
}

# Ends one rank, or the launcher and all ranks, whatever they are doing.
kill_somebody() {
  local victim pids
  pids=($(cat rank.* 2> /dev/null || true))
  if [[ $ranks -gt 1 && ${#pids[@]} -gt 0 && $((RANDOM % 2)) -eq 0 ]]; then
    victim=${pids[$((RANDOM % ${#pids[@]}))]}
    kill -KILL "$victim" 2> /dev/null || true
    wait "$job" 2> /dev/null || true # the launcher ends the others
  fi
  for victim in "${pids[@]}"; do kill -KILL "$victim" 2> /dev/null || true; done
  kill -KILL "-$job" 2> /dev/null || true
  wait "$job" 2> /dev/null || true
}

sleep_ms() {
  sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"
}

# Three of four kills fall while steps are done, the others anywhere.
wait_a_random_time() {
  local before=0
  [[ ! -f run/log.jsonl ]] || before=$(stat -c %s run/log.jsonl)
  if [[ $((RANDOM % 4)) -eq 0 ]]; then
    sleep_ms $((RANDOM % whole_ms))
    return
  fi
  while kill -0 "$job" 2> /dev/null && [[ $(stat -c %s run/log.jsonl 2> /dev/null || echo 0) -eq $before ]]; do
    sleep 0.01
  done
  sleep_ms $((RANDOM % (steps_ms + 1)))
}

train whole
begin_ns=$(date +%s%N)
until [[ -s whole/log.jsonl ]] || ! kill -0 "$job"; do sleep 0.01; done
first_ns=$(date +%s%N)
code=0
wait "$job" || code=$?
[[ $ranks -eq 1 ]] || ! grep -q "one process" out || exit 77 # built without MPI
[[ $code -eq 0 ]] || fail "the undisturbed run fails"
whole_ms=$((($(date +%s%N) - begin_ns) / 1000000 + 1))
steps_ms=$((($(date +%s%N) - first_ns) / 1000000 / 8))

done_kills=0 finished=0 before_first=0
while [[ $done_kills -lt $kills ]]; do
  held=$(newest run)
  option=
  if [[ $held -gt 0 ]]; then option=--resume; else rm -rf run run.[0-9]*; fi
  train run $option
  wait_a_random_time
  if kill -0 "$job" 2> /dev/null; then
    kill_somebody
    done_kills=$((done_kills + 1))
    [[ $(newest run) -gt 0 ]] || before_first=$((before_first + 1))
  else
    wait "$job" || fail "after $done_kills kills, at step $held: $(tail -n 1 out)"
  fi
  [[ $(newest run) -ge $held ]] || fail "a checkpoint is lost: $held was there, now $(newest run)"
  ! grep -q "error:" out || fail "after $done_kills kills: $(grep error: out)"
  [[ -f run/model/model.safetensors && $(newest run) -eq $steps ]] || continue
  train run --resume # a kill at the very end leaves nothing to do but to look
  wait "$job" || fail "the end of a run cannot be resumed: $(tail -n 1 out)"
  cmp <(log_of whole) <(log_of run) || fail "the log of a killed run differs"
  cmp whole/model/model.safetensors run/model/model.safetensors || fail "the model of a killed run differs"
  cmp whole/best/model.safetensors run/best/model.safetensors || fail "the best model of a killed run differs"
  [[ -z $(find run -name '*.tmp*' -o -name '*.old-*') ]] || fail "left behind: $(find run -name '*.tmp*')"
  finished=$((finished + 1))
  rm -rf run run.[0-9]*
done
echo "kill_training: $done_kills kills of $ranks rank(s), $before_first before the first checkpoint, $finished runs came to" \
  "their end, 0 lost"
