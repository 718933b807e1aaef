/* What keeps a run from being lost: which checkpoints there are, what is said and refused when a run goes on, what an
 * interrupted or failed one leaves. Through the command, as a user has it. */
#define _GNU_SOURCE
#include "resume_case.h"

#include <sys/stat.h>
#include <time.h>

/* ---- which checkpoints there are ---- */

static void test_resume_keeps_the_newest_checkpoints_and_the_best_model(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(6), EVERY(1), "--set", "train.eval_every=2")));
    assert_int_equal(count_matches(c, "run/checkpoint-*"), 2);
    assert_true(has(c, "run/checkpoint-5/state.json") && has(c, "run/checkpoint-6/state.json"));
    assert_works(
        run(c, ARGS("train", "config.yaml", STEPS(6), EVERY(1), DIR("four"), "--set", "run.keep_checkpoints=4")));
    assert_int_equal(count_matches(c, "four/checkpoint-*"), 4);
    /* the validation loss falls, so the best is the last */
    assert_same_file(c, "run/best/model.safetensors", "run/model/model.safetensors");
}

/* The step of the least validation loss in a log; *last: of the last one. */
static int best_step(const command_case *c, const char *run, int *last)
{
    size_t n;
    double *losses = read_log(c, run, "val_loss", &n), least = INFINITY;
    int best = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(losses[i] > 0)) continue;
        *last = (int)i + 1;
        if (losses[i] < least) best = *last;
        least = fmin(least, losses[i]);
    }
    free(losses);
    return best;
}

/* At a rate so large that it gets worse sooner or later; what is best is what a run of so many steps ends with. */
static void test_resume_best_model_is_not_replaced_by_a_worse(void **state)
{
    const command_case *c = *state;
    char steps[32];
    int last = 0;
#define LARGE "--set", "train.lr=0.3", "--set", "train.min_lr=0.3", "--set", "train.eval_every=1"
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(12), LARGE)));
    int best = best_step(c, "run", &last);
    assert_true(best > 0 && best < last);
    snprintf(steps, sizeof steps, "train.steps=%d", best);
    assert_works(run(c, ARGS("train", "config.yaml", "--set", steps, LARGE, DIR("best"))));
    assert_same_file(c, "run/best/model.safetensors", "best/model/model.safetensors");
}

static void test_resume_of_the_clock_saves_without_a_number_of_steps(void **state)
{
    const command_case *c = *state;
    /* a thousandth of a second: after every step, but for what 5 % of the time forbids */
    assert_told(run(c, ARGS("train", "config.yaml", STEPS(300), "--set", "train.checkpoint_minutes=1e-5")),
                "so that it takes 5 % of the time");
    assert_int_equal(count_matches(c, "run/checkpoint-*"), 2);
    assert_true(has(c, "run/checkpoint-300"));
}

/* ---- damage ---- */

static void test_resume_names_an_older_checkpoint_that_is_sound_and_goes_on_from_it(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(4), EVERY(1), DIR("whole"), "--set", "train.min_lr=1e-3")));
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(4), EVERY(1), "--set", "train.min_lr=1e-3")));
    damage(c, "run/checkpoint-4/config.json");
    assert_fails(run(c, ARGS("train", "config.yaml", STEPS(4), "--resume", "--set", "train.min_lr=1e-3")),
                 FSMOE_ERROR_FORMAT, ARGS("run/checkpoint-4/config.json", "--resume-from checkpoint-3"));
    outcome o = run(c, ARGS("train", "config.yaml", STEPS(4), EVERY(1), "--resume-from", "checkpoint-3", "--set",
                            "train.min_lr=1e-3"));
    assert_int_equal(o.exit_code, 0);
    assert_non_null(strstr(o.err, "superseded"));
    assert_non_null(strstr(o.err, "steps 4 to 4, which are done again, are now in log.cut.jsonl"));
    forget(o);
    assert_same_file(c, "whole/model/model.safetensors", "run/model/model.safetensors");
    assert_losses_agree(c, "whole", "run", 0);
    assert_true(has(c, "run/checkpoint-4.superseded") && has(c, "run/log.cut.jsonl"));
    damage(c, "run/checkpoint-3/state.json");
    damage(c, "run/checkpoint-4/state.json");
    assert_fails(run(c, ARGS("train", "config.yaml", STEPS(4), "--resume", "--set", "train.min_lr=1e-3")),
                 FSMOE_ERROR_FORMAT, ARGS("run/checkpoint-4/state.json"));
    assert_fails(run(c, ARGS("train", "config.yaml", "--resume-from", "checkpoint-77")), FSMOE_ERROR_IO,
                 ARGS("checkpoint-77"));
}

static void test_resume_of_a_renamed_checkpoint_is_refused(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(4))));
    assert_works(spawn(c, ARGS("mv", "run/checkpoint-4", "run/checkpoint-3"), (streams){0}));
    assert_fails(run(c, ARGS("train", "config.yaml", STEPS(6), "--resume")), FSMOE_ERROR_FORMAT,
                 ARGS("checkpoint-3", "after step 4"));
}

static void test_resume_from_another_runs_checkpoint_is_refused(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(2))));
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(4), DIR("other"))));
    assert_works(spawn(c, ARGS("cp", "-r", "other/checkpoint-4", "run/"), (streams){0}));
    assert_fails(run(c, ARGS("train", "config.yaml", STEPS(6), "--resume")), FSMOE_ERROR_FORMAT,
                 ARGS("another run's", "--resume-from checkpoint-2"));
}

/* ---- changes ---- */

static void test_resume_says_what_changed_and_allows_more_when_told(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(4))));
    assert_told(run(c, ARGS("train", "config.yaml", STEPS(4), "--resume")), "resumed after step 4");
    assert_told(run(c, ARGS("train", "config.yaml", STEPS(6), "--resume", "--set", "train.lr=0.002")),
                "changed since the checkpoint: train.steps 4 -> 6, train.lr 0.001 -> 0.002");
    assert_works(spawn(c, ARGS("cp", "train.txt", "moved.txt"), (streams){0}));
    assert_told(run(c, ARGS("train", "config.yaml", STEPS(8), "--resume", "--set", "data.train=moved.txt")),
                "data.train [\"train.txt\"] -> [\"moved.txt\"]");
    const char *const more[] = {"train", "config.yaml",          STEPS(10), "--resume", "--set", "data.train=valid.txt",
                                "--set", "train.global_batch=2", NULL};
    assert_fails(run(c, more), FSMOE_ERROR_CONFIG,
                 ARGS("train.global_batch 4 -> 2", ", the content of data.train", "--allow-changes"));
    assert_told(run(c, ARGS("train", "config.yaml", STEPS(10), "--resume", "--allow-changes", "--set",
                            "data.train=valid.txt", "--set", "train.global_batch=2")),
                "as allowed: train.global_batch 4 -> 2");
}

/* A line that is no step's stays, and a torn one is not lost in silence. */
static void test_resume_cuts_no_line_of_the_log_in_silence(void **state)
{
    const command_case *c = *state;
    size_t size, kept;
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(4))));
    char *log = read_text(c, "run/log.jsonl", &size);
    char *longer = malloc(size + 64);
    int extra = snprintf(longer, size + 64, "# a note\n%s{\"step\":5,\"lo", log);
    write_text(c, "run/log.jsonl", longer, (size_t)extra);
    free(longer);
    outcome o = run(c, ARGS("train", "config.yaml", STEPS(4), "--resume"));
    /* the page of such a log cannot be drawn; the model is there, and said */
    assert_int_equal(o.exit_code, fsmoe_status_exit_code(FSMOE_ERROR_FORMAT));
    assert_non_null(strstr(o.err, "model in run/model"));
    assert_non_null(strstr(o.err, "was not whole"));
    assert_non_null(strstr(o.err, "1 lines are no steps'"));
    forget(o);
    char *after = read_text(c, "run/log.jsonl", &kept), *cut = read_text(c, "run/log.cut.jsonl", NULL);
    assert_memory_equal(after, "# a note\n", 9);
    assert_memory_equal(after + 9, log, size);
    assert_string_equal(cut, "{\"step\":5,\"lo\n");
    free(after);
    free(cut);
    free(log);
}

/* ---- runs that fail ---- */

#define WILD "--set", "train.lr=1e3", "--set", "train.warmup_steps=3", "--set", "train.min_lr=0"

static void test_resume_after_a_step_that_was_not_finite_has_the_state_before_it(void **state)
{
    const command_case *c = *state;
    outcome o = run(c, ARGS("train", "config.yaml", STEPS(200), WILD));
    assert_int_equal(o.exit_code, fsmoe_status_exit_code(FSMOE_ERROR_NUMERIC));
    const char *saved = strstr(o.err, "is saved in 'run/checkpoint-");
    assert_non_null(saved);
    int step = atoi(saved + strlen("is saved in 'run/checkpoint-"));
    forget(o);
    size_t steps;
    double *losses = read_log(c, "run", "loss", &steps);
    free(losses);
    assert_int_equal(steps, step);
    assert_int_equal(count_matches(c, "run/checkpoint-*"), 1);
    assert_true(has(c, "run/report.html"));
    /* it is whole: it loads, whatever becomes of the next step */
    o = run(c, ARGS("train", "config.yaml", STEPS(200), "--resume", "--set", "train.lr=1e-9"));
    assert_non_null(strstr(o.err, "resumed after step"));
    forget(o);
}

/* The step itself was well: its line is in the log, as its state is in the checkpoint. */
static void test_resume_after_a_validation_that_was_not_finite_has_the_whole_log(void **state)
{
    const command_case *c = *state;
    outcome o = run(c, ARGS("train", "config.yaml", STEPS(200), WILD, "--set", "train.eval_every=1", "--set",
                            "train.weight_decay=30"));
    assert_int_equal(o.exit_code, fsmoe_status_exit_code(FSMOE_ERROR_NUMERIC));
    const char *after = strstr(o.err, "the validation loss after step ");
    assert_non_null(after);
    int step = atoi(after + strlen("the validation loss after step "));
    forget(o);
    size_t steps;
    free(read_log(c, "run", "loss", &steps));
    assert_int_equal(steps, step);
}

static void test_resume_without_clipping_says_that_the_state_is_lost(void **state)
{
    const command_case *c = *state;
    assert_fails(run(c, ARGS("train", "config.yaml", STEPS(200), WILD, "--set", "train.clip_grad=0")),
                 FSMOE_ERROR_NUMERIC, ARGS("without train.clip_grad", "is lost"));
    assert_int_equal(count_matches(c, "run/checkpoint-*"), 0);
}

/* p -= lr decay p: a thousand times the weight a step, without a gradient that would not be finite. */
static void test_resume_infinite_weights_take_no_checkpoint_with_them(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(1))));
    outcome o = run(c, ARGS("train", "config.yaml", STEPS(60), EVERY(1), "--resume", "--set", "train.lr=1", "--set",
                            "train.min_lr=1", "--set", "train.weight_decay=1000", "--set", "train.clip_grad=0"));
    assert_int_equal(o.exit_code, fsmoe_status_exit_code(FSMOE_ERROR_NUMERIC));
    forget(o);
    /* what is there is finite, and loads; one step at a rate of nothing leaves it so */
    assert_true(count_matches(c, "run/checkpoint-*") >= 1);
    outcome again = run(c, ARGS("train", "config.yaml", STEPS(60), "--resume", "--set", "train.lr=0"));
    assert_non_null(strstr(again.err, "resumed after step"));
    assert_null(strstr(again.err, "tensor"));
    forget(again);
}

/* ---- whose folder it is ---- */

static void test_resume_two_runs_in_one_folder_do_not_mix(void **state)
{
    const command_case *c = *state;
    pid_t first = fork();
    if (first == 0) {
        set_streams(c, &(streams){0}, -1, -1);
        execl(FSMOE_COMMAND, FSMOE_COMMAND, "train", "config.yaml", STEPS(1000000), NULL);
        _exit(127);
    }
    for (int i = 0; i < 2000 && !has(c, "run/log.jsonl"); i++) nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    char pid[32];
    snprintf(pid, sizeof pid, "pid %ld", (long)first);
    assert_fails(run(c, ARGS("train", "config.yaml")), FSMOE_ERROR_IO, ARGS("'run'", "alive", pid));
    assert_fails(run(c, ARGS("train", "config.yaml", "--resume")), FSMOE_ERROR_IO, ARGS("alive", pid));
    assert_false(has(c, "run.1"));
    kill(first, SIGTERM);
    int wait_status;
    waitpid(first, &wait_status, 0);
    assert_int_equal(code_of(wait_status), 128 + SIGTERM);
    assert_true(has(c, "run/report.html")); /* an interrupted run has its report */
}

static void test_resume_a_users_model_in_the_run_folder_is_never_touched(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS("train", "config.yaml", DIR("before"))));
    assert_works(spawn(c, ARGS("mkdir", "run"), (streams){0}));
    assert_works(spawn(c, ARGS("cp", "-r", "before/model", "run/model"), (streams){0}));
    assert_fails(run(c, ARGS("train", "config.yaml", "--init", "run/model")), FSMOE_ERROR_IO,
                 ARGS("run.lock", "model"));
    assert_same_file(c, "run/model/model.safetensors", "before/model/model.safetensors");
}

/* An ended run that a new one has moved aside, and a copy, are runs of their own. */
static void test_resume_a_run_that_was_moved_goes_on_as_itself(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(4))));
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(2))));
    assert_told(run(c, ARGS("train", "run.1/config.yaml", "--resume", STEPS(6))), "resumed after step 4");
    assert_true(has(c, "run.1/checkpoint-6") && has(c, "run/checkpoint-2") && !has(c, "run/checkpoint-6"));
    assert_told(run(c, ARGS("train", "run.1/config.yaml", "--resume", STEPS(6), DIR("run"), "--allow-changes")),
                "resumed after step 2");
}

static void test_resume_a_run_inside_anothers_folder_is_refused(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(2))));
    assert_fails(run(c, ARGS("train", "config.yaml", DIR("run/model"))), FSMOE_ERROR_IO, ARGS("inside", "'run'"));
    assert_fails(run(c, ARGS("train", "config.yaml", DIR("run/a/b"))), FSMOE_ERROR_IO, ARGS("inside", "'run'"));
}

static void test_resume_damaged_weights_of_a_sealed_folder_are_not_used(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(2))));
    damage(c, "run/model/model.safetensors");
    damage(c, "run/checkpoint-2/model.safetensors");
    for (int i = 0; i < 2; i++) {
        const char *folder = i ? "run/model" : "run/checkpoint-2";
        assert_fails(run(c, ARGS("train", "config.yaml", "--init", folder, DIR("new"))), FSMOE_ERROR_FORMAT,
                     ARGS(folder, "model.safetensors", "checksum"));
        assert_fails(run(c, ARGS("eval", folder, "--data", "valid.txt", "--seq-len", "8")), FSMOE_ERROR_FORMAT,
                     ARGS(folder, "checksum"));
        assert_fails(run(c, ARGS("generate", folder, "--prompt", "a", "--max-tokens", "1")), FSMOE_ERROR_FORMAT,
                     ARGS(folder, "checksum"));
    }
}

static void test_resume_a_trace_may_lie_in_the_runs_folder_and_over_nothing_else(void **state)
{
    const command_case *c = *state;
    for (int i = 0; i < 2; i++) assert_works(run(c, ARGS("train", "config.yaml", "--trace", "run/trace.json")));
    assert_true(has(c, "run.1/trace.json") && has(c, "run/trace.json"));
    const char *const taken[] = {"config.yaml", "train.txt", "run/log.jsonl"};
    for (int i = 0; i < 3; i++)
        assert_fails(run(c, ARGS("train", "config.yaml", "--trace", taken[i], DIR("other"))), FSMOE_ERROR_USAGE,
                     ARGS("written over"));
    assert_false(has(c, "other"));
    assert_works(run(c, ARGS("train", "config.yaml", DIR("other"))));
}

static void test_resume_with_other_validation_data_looks_for_the_best_anew(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(4), "--set", "train.eval_every=2")));
    assert_told(run(c, ARGS("train", "config.yaml", STEPS(6), "--resume", "--set", "train.eval_every=2", "--set",
                            "data.valid=[train.txt]")),
                "the best model is looked for anew");
    assert_same_file(c, "run/best/model.safetensors", "run/model/model.safetensors");
}

/* ---- experts ---- */

/* The hash gate sends a token by its id alone: with 97 experts not all letters' are ever met. */
static void test_resume_a_later_checkpoint_of_nobodys_is_not_moved(void **state)
{
    const command_case *c = *state;
    char path[FSM_PATH_BYTES];
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(4), EVERY(2))));
    assert_int_equal(fsm_file_make_dirs(path_in(c, "run/checkpoint-99", path)), FSMOE_OK);
    write_text(c, "run/checkpoint-99/notes", "mine", 4);
    assert_fails(run(c, ARGS("train", "run/config.yaml", "--resume-from", "checkpoint-4")), FSMOE_ERROR_IO,
                 ARGS("run/checkpoint-99", "not moved aside"));
    assert_true(has(c, "run/checkpoint-99/notes"));
}

/* The warnings of a log, a line each, with their steps. */
static void assert_same_warnings(const command_case *c, const char *a, const char *b)
{
    char command[512];
    snprintf(command, sizeof command,
             "for run in %s %s; do sed -n 's/.*\"step\":\\([0-9]*\\),.*\"warning\":/\\1 /p' $run/log.jsonl > "
             "$run.warnings; done; "
             "test -s %s.warnings && cmp %s.warnings %s.warnings",
             a, b, a, a, b);
    assert_works(spawn(c, ARGS("sh", "-c", command), (streams){0}));
}

#define IDLE                                                                                                          \
    "--set", "moe.gate=hash", "--set", "moe.num_experts=97", "--set", "moe.top_k=1", "--set", "moe.aux_loss_coeff=0", \
        "--set", "train.idle_expert_steps=5", "--set", "train.min_lr=1e-3"

static void test_resume_counts_idle_experts_on(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(9), IDLE, DIR("whole"))));
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(3), IDLE, DIR("halves"))));
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(9), IDLE, DIR("halves"), "--resume")));
    assert_same_warnings(c, "whole", "halves");
}

/* Not when it ended, which is when the record is written the last time. */
static void test_resume_the_record_says_when_a_run_started(void **state)
{
    const command_case *c = *state;
    char path[FSM_PATH_BYTES];
    struct stat lock;
    struct tm utc = {0};
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(10000))));
    json_t *record = json_load_file(path_in(c, "run/run.json", path), 0, NULL);
    const char *started = json_string_value(json_object_get(record, "started"));
    assert_non_null(started);
    assert_non_null(strptime(started, "%Y-%m-%d %H:%M:%S UTC", &utc));
    assert_int_equal(stat(path_in(c, "run/run.lock", path), &lock), 0); /* written as it starts */
    assert_true(timegm(&utc) <= lock.st_mtime);
    json_decref(record);
}

static void test_resume_an_idle_expert_is_warned_of_once_and_in_the_report(void **state)
{
    const command_case *c = *state;
    outcome o =
        run(c, ARGS("train", "config.yaml", STEPS(9), "--set", "moe.gate=hash", "--set", "moe.num_experts=97", "--set",
                    "moe.top_k=1", "--set", "moe.aux_loss_coeff=0", "--set", "train.idle_expert_steps=3"));
    assert_int_equal(o.exit_code, 0);
    const char *first = strstr(o.err, "had no token for 3 steps");
    assert_non_null(first);
    assert_non_null(strstr(o.err, "step 3:"));
    forget(o);
    size_t size;
    char *page = read_text(c, "run/report.html", &size);
    assert_non_null(strstr(page, "had no token for 3 steps"));
    free(page);
}

static void test_resume_names_the_command_that_was_used(void **state)
{
    const command_case *c = *state;
    assert_works(
        run(c, ARGS("train", "config.yaml", "--set", "run.sample_prompt=it's", "--set", "run.sample_tokens=4")));
    char *text = read_text(c, "run/run.json", NULL);
    assert_non_null(strstr(text, "'run.sample_prompt=it'\\\\''s'"));
    assert_non_null(strstr(text, "train run/config.yaml --resume"));
    assert_non_null(strstr(text, FSMOE_COMMAND));
    free(text);
    if (!has_mpi(c)) return;
    assert_works(run_ranks(c, "2", ARGS("train", "config.yaml", DIR("ranks"))));
    text = read_text(c, "ranks/run.json", NULL);
    assert_non_null(strstr(text, "scripts/mpirun 2 " FSMOE_COMMAND " train ranks/config.yaml --resume"));
    free(text);
}

static void test_resume_has_no_breakdown_left_of_earlier_steps(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(4), "--breakdown")));
    assert_true(has(c, "run/breakdown.json"));
    assert_told(run(c, ARGS("train", "config.yaml", "--resume", STEPS(4), "--breakdown")),
                "no step has been done, so there is no breakdown of one");
    assert_true(has(c, "run/breakdown.json")); /* of the last steps that there were */
    assert_works(run(c, ARGS("train", "config.yaml", "--resume", STEPS(6))));
    assert_false(has(c, "run/breakdown.json"));
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, make_case, remove_case)
    const struct CMUnitTest tests[] = {
        CASE(test_resume_keeps_the_newest_checkpoints_and_the_best_model),
        CASE(test_resume_best_model_is_not_replaced_by_a_worse),
        CASE(test_resume_of_the_clock_saves_without_a_number_of_steps),
        CASE(test_resume_names_an_older_checkpoint_that_is_sound_and_goes_on_from_it),
        CASE(test_resume_of_a_renamed_checkpoint_is_refused),
        CASE(test_resume_from_another_runs_checkpoint_is_refused),
        CASE(test_resume_says_what_changed_and_allows_more_when_told),
        CASE(test_resume_cuts_no_line_of_the_log_in_silence),
        CASE(test_resume_after_a_step_that_was_not_finite_has_the_state_before_it),
        CASE(test_resume_after_a_validation_that_was_not_finite_has_the_whole_log),
        CASE(test_resume_without_clipping_says_that_the_state_is_lost),
        CASE(test_resume_infinite_weights_take_no_checkpoint_with_them),
        CASE(test_resume_two_runs_in_one_folder_do_not_mix),
        CASE(test_resume_a_users_model_in_the_run_folder_is_never_touched),
        CASE(test_resume_a_later_checkpoint_of_nobodys_is_not_moved),
        CASE(test_resume_a_run_that_was_moved_goes_on_as_itself),
        CASE(test_resume_a_run_inside_anothers_folder_is_refused),
        CASE(test_resume_damaged_weights_of_a_sealed_folder_are_not_used),
        CASE(test_resume_a_trace_may_lie_in_the_runs_folder_and_over_nothing_else),
        CASE(test_resume_with_other_validation_data_looks_for_the_best_anew),
        CASE(test_resume_counts_idle_experts_on),
        CASE(test_resume_the_record_says_when_a_run_started),
        CASE(test_resume_an_idle_expert_is_warned_of_once_and_in_the_report),
        CASE(test_resume_names_the_command_that_was_used),
        CASE(test_resume_has_no_breakdown_left_of_earlier_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
