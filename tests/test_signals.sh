#!/bin/bash
# test_signals.sh SOURCE COMMAND: training that is told to stop, loses a rank, has a slow one, or too few cores.
# Exit 77: no launcher, or a command without MPI; what one process does is tested before.
set -euo pipefail
source=$1 command=$2

work=$(mktemp -d /tmp/fsmoe-signals-XXXXXX)
cd "$work"
started=()

fail() {
  echo "test_signals: $*" >&2
  for file in *.err; do
    [[ ! -s $file ]] || { echo "--- $file" && tail -n 5 "$file"; } >&2
  done
  exit 1
}

# Every process of this test that is still there: launchers, and ranks, which note who they are.
print_alive() {
  local pid state
  for pid in "${started[@]}" $(cat rank.* 2> /dev/null); do
    state=$(sed -n 's/^State:\s*\(.\).*/\1/p' "/proc/$pid/status" 2> /dev/null) || continue
    [[ -z $state || $state == Z ]] || echo "$pid"
  done
}

clean_up() {
  local pid
  for pid in $(print_alive); do
    kill -KILL "$pid" 2> /dev/null || true
  done
  rm -rf "$work"
}
trap clean_up EXIT

head -c 4000 "$source/data/austen/emma.txt" > train.txt
cat > config.yaml << END
model: {hidden: 16, ffn_hidden: 32, num_layers: 2, num_heads: 2, moe_every: 2}
moe: {num_experts: 4}
parallel: {threads: 1, schedule: dsmoe}
data: {train: train.txt, seq_len: 16}
train: {global_batch: 4, checkpoint_every: 100000}
END

cat > note.sh << 'END'
echo $$ > "rank.${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-}}"
exec "$@"
END

# until SECONDS COMMAND...: polls.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [[ $SECONDS -le $end ]] || return 1
    sleep 0.02
  done
}

lines() { # lines RUN: steps in its log
  local n=0
  [[ ! -f $1/log.jsonl ]] || n=$(wc -l < "$1/log.jsonl")
  echo "$n"
}

has_lines() { # has_lines RUN COUNT
  [[ $(lines "$1") -ge $2 ]]
}

# Signals that a script's background process would ignore are as for a user's.
start() { # start RUN COMMAND...: in the background, with its messages in RUN.err
  local run=$1
  shift
  rm -f rank.*
  env --default-signal=INT,TERM,HUP,PIPE "$@" > "$run.out" 2> "$run.err" < /dev/null &
  job=$!
  started+=("$job")
}

train() { # train RUN OPTION...: alone
  start "$1" "$command" train config.yaml --set run.dir="$1" "${@:2}"
}

train_ranks() { # train_ranks RANKS RUN OPTION...
  start "$2" "$source/scripts/mpirun" "$1" sh note.sh "$command" train config.yaml --set run.dir="$2" "${@:3}"
}

is_over() {
  ! kill -0 "$job" 2> /dev/null
}

finish() { # finish LIMIT_S: waits for the job; its exit code is $code
  until_true "$1" is_over || fail "still running after $1 s"
  code=0
  wait "$job" 2> /dev/null || code=$?
}

expect_finished() { # expect_finished LIMIT_S WHAT
  finish "$1"
  [[ $code -eq 0 ]] || fail "$2: exit code $code"
}

expect_gone() { # expect_gone WHAT
  all_gone() { [[ -z $(print_alive) ]]; }
  until_true 2 all_gone || fail "$1: left running: $(print_alive)"
}

losses() { # what does not depend on the time
  sed 's/"\(tokens_per_s\|step_s\|flops_per_s\|peak_share\)":[^,]*,//g' "$1/log.jsonl"
}

expect_same_losses() { # expect_same_losses RUN REFERENCE
  cmp <(losses "$1") <(losses "$2") || fail "the losses of $1 and $2 differ"
}

expect_stopped() { # expect_stopped RUN SIGNAL CODE
  local step
  step=$(sed -n "s/.*stopped by $2 after step \([0-9]*\); saved; resume with .* train $1\/config.yaml --resume/\1/p" "$1.err")
  [[ $code -eq $3 ]] || fail "stopped by $2: exit code $code, not $3"
  [[ $step -gt 0 ]] || fail "stopped by $2: it does not say so once"
  [[ $(lines "$1") -eq $step ]] || fail "stopped after step $step, but the log has $(lines "$1") steps"
  [[ -d $1/checkpoint-$step && ! -d $1/model ]] || fail "stopped after step $step: $(echo "$1"/*)"
}

# ---- one process ----

stop_alone() { # stop_alone SIGNAL NUMBER
  train "$1" --set train.steps=$steps_alone
  until_true 20 has_lines "$1" 20 || fail "no steps"
  kill -s "$1" "$job"
  finish 20
  expect_stopped "$1" "SIG$1" $((128 + $2))
  train "$1" --set train.steps=$steps_alone --resume
  expect_finished 20 "resumed after $1"
  expect_same_losses "$1" alone
}

# About two seconds of steps, whatever the machine and the build.
train probe --set train.steps=100
begin_ms=$(($(date +%s%N) / 1000000))
expect_finished 60 "the first steps"
steps_alone=$((2000 * 100 / ($(date +%s%N) / 1000000 - begin_ms + 1)))
[[ $steps_alone -ge 200 ]] || steps_alone=200
[[ $steps_alone -le 4000 ]] || steps_alone=4000
steps_ranks=$((steps_alone / 2))

train alone --set train.steps=$steps_alone
expect_finished 20 "never stopped"
stop_alone INT 2
stop_alone TERM 15
stop_alone HUP 1

# Nobody reads the messages any more, with and without the Ctrl-C that ends `| tee`: the reader takes a line and ends.
pipe_to_reader() { # pipe_to_reader RUN COMMAND...: its exit code is in RUN.code
  { env --default-signal=INT,TERM,PIPE "${@:2}" 2>&1 && echo 0 > "$1.code" || echo $? > "$1.code"; } | head -n 1 > /dev/null
}
pipe_to_reader piped "$command" train config.yaml --set run.dir=piped --set train.steps=100000000
[[ $(cat piped.code) -eq 141 ]] || fail "a reader that ends: exit code $(cat piped.code)"
[[ -n $(find piped -name 'checkpoint-*') && -f piped/report.html ]] || fail "a reader that ends: nothing is saved"

# An interrupted run has its report.
[[ -f INT/report.html ]] || fail "an interrupted run has no report"

# A step that takes seconds.
train twice --set train.steps=2 --set model.hidden=128 --set model.ffn_hidden=1024 --set model.moe_every=1 \
  --set train.global_batch=8192 --set train.micro_batch=256
until_true 20 grep -q "one process" twice.err || fail "no steps"
sleep 0.5 # it is on its way to the first step
kill -TERM "$job"
until_true 5 grep -q "another signal" twice.err || fail "a signal is not answered"
sleep 1.2
kill -TERM "$job"
finish 3
[[ $code -eq 143 ]] || fail "a second signal: exit code $code"
[[ -z $(find twice -name 'checkpoint*') && $(lines twice) -eq 0 ]] || fail "a second signal: it saved or went on"

# ---- ranks ----

command -v "${MPIRUN:-mpirun}" > /dev/null || exit 77
"$source/scripts/mpirun" 2 "$command" train config.yaml --set run.dir=probe --set train.steps=1 > probe.err 2>&1 || true
grep -q "one process" probe.err && exit 77 # built without MPI
grep -q "2 ranks" probe.err || fail "two ranks do not start: $(cat probe.err)"

train_ranks 4 ranks --set train.steps=$steps_ranks
expect_finished 40 "four ranks"

# Told through the launcher all ranks know of it, told directly only one.
train_ranks 4 told --set train.steps=$steps_ranks
until_true 20 has_lines told 20 || fail "no steps"
kill -TERM "$job"
finish 20
expect_stopped told SIGUSR1 143
expect_gone "after SIGTERM"
train_ranks 4 told --set train.steps=$steps_ranks --resume
until_true 20 has_lines told $((steps_ranks / 2)) || fail "no steps"
kill -TERM "$(cat rank.2)"
finish 20
expect_stopped told SIGTERM 143
train_ranks 4 told --set train.steps=$steps_ranks --resume
expect_finished 40 "four ranks, resumed"
expect_same_losses told ranks

# The same through the launcher, whose own output is the pipe: a Ctrl-C reaches the script as the reader ends.
(
  setsid env --default-signal=INT,TERM,PIPE "$source/scripts/mpirun" 2 sh note.sh "$command" train config.yaml \
    --set run.dir=tee --set train.steps=100000000 2>&1 &
  launcher=$!
  until_true 20 has_lines tee 20
  kill -INT "$launcher"
  code=0
  wait "$launcher" || code=$?
  echo "$code" > tee.code
) | until_true 20 has_lines tee 20
# whichever of the two a rank notices first
[[ $(cat tee.code) -eq 130 || $(cat tee.code) -eq 141 ]] || fail "Ctrl-C under tee: exit code $(cat tee.code)"
[[ -n $(find tee -name 'checkpoint-*') ]] || fail "Ctrl-C under tee: nothing is saved"

# A reader that ends without any signal: the launcher's script notices with the next line.
{
  env --default-signal=INT,TERM,PIPE timeout 60 "$source/scripts/mpirun" 2 sh note.sh "$command" train config.yaml \
    --set run.dir=head --set train.steps=40000 2>&1 && code=0 || code=$?
  echo "$code" > head.code
} | head -n 5 > /dev/null
[[ $(cat head.code) -eq 141 ]] || fail "a launcher's reader ends: exit code $(cat head.code)"
[[ -n $(find head -name 'checkpoint-*') && -f head/report.html ]] || fail "a launcher's reader ends: nothing is saved"

# Its name as a shell reads it.
mkdir "a folder"
ln -s "$source/scripts/mpirun" "a folder/mpirun"
"a folder/mpirun" 2 "$command" train config.yaml --set run.dir=quoted --set train.steps=1 > /dev/null 2>&1 || true
grep -qF 'a\\ folder/mpirun 2 ' quoted/run.json || fail "a launcher in a folder with a space: $(grep command quoted/run.json)"

# A rank that does nothing for a second, twice.
train_ranks 4 slow --set train.steps=$steps_ranks
for after in 20 $((steps_ranks / 2)); do
  until_true 20 has_lines slow $after || fail "no steps"
  pid=$(cat rank.1)
  kill -STOP "$pid"
  sleep 0.2
  seen=$(lines slow)
  sleep 0.8
  [[ $(lines slow) -eq $seen && $seen -lt $steps_ranks ]] || fail "a stopped rank did not hold up the others"
  kill -CONT "$pid"
done
expect_finished 40 "a slow rank"
expect_same_losses slow ranks

# A rank that dies.
train_ranks 4 killed --set train.steps=100000
until_true 20 has_lines killed 20 || fail "no steps"
kill -KILL "$(cat rank.3)"
finish 10
[[ $code -ne 0 && -s killed.err ]] || fail "a rank was killed: exit code $code"
expect_gone "a rank was killed"

# A rank that neither dies nor goes on, when another is told to stop.
train_ranks 4 stuck --set train.steps=100000
until_true 20 has_lines stuck 20 || fail "no steps"
kill -STOP "$(cat rank.3)"
kill -TERM "$(cat rank.1)"
finish 12
[[ $code -ne 0 ]] || fail "a rank is stuck: exit code 0"
grep -q "communication has stopped" stuck.err || fail "a rank is stuck: nobody says so"
expect_gone "a rank is stuck"

# The same without a signal: the others say so, and go on when it does. It takes half a minute, so it is for the long tests.
if [[ -n ${FSMOE_TEST_LONG:-} ]]; then
  train_ranks 4 paused --set train.steps=100000000
  until_true 20 has_lines paused 20 || fail "no steps"
  pid=$(cat rank.2)
  kill -STOP "$pid"
  until_true 45 grep -q "a rank may be stopped or hang" paused.err || fail "nobody says that a rank is stopped"
  seen=$(lines paused)
  kill -CONT "$pid"
  until_true 20 has_lines paused $((seen + 20)) || fail "a rank that was stopped does not go on"
  kill -TERM "$job"
  finish 20
  expect_stopped paused SIGUSR1 143

  # A rank that hangs while the others wait for it to evaluate, after a signal.
  train_ranks 4 evaluates --set train.steps=100000000 --set train.eval_every=1 --set data.valid=train.txt \
    --set train.global_batch=4
  until_true 20 has_lines evaluates 20 || fail "no steps"
  kill -STOP "$(cat rank.3)"
  kill -TERM "$(cat rank.1)"
  finish 60
  [[ $code -ne 0 ]] || fail "a rank hangs beside an evaluation: exit code 0"
  grep -q "communication has stopped" evaluates.err || fail "a rank hangs beside an evaluation: nobody says so"
  expect_gone "a rank hangs beside an evaluation"
fi

# More threads than cores.
for progress in thread tasks; do
  cores=$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')
  train_ranks 8 crowd-$progress --set train.steps=3 --set train.global_batch=8 --set parallel.threads=2 \
    --set parallel.progress=$progress
  taskset -acp "$cores-$((cores + 1))" "$job" > /dev/null 2>&1 || true
  expect_finished 30 "eight ranks, $progress"
  has_lines crowd-$progress 3 || fail "eight ranks, $progress: $(lines crowd-$progress) steps"
done
