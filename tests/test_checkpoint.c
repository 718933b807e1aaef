/* Checkpoints as the command writes and reads them: going on is exact, a kill at any change of the disk loses nothing,
 * damage is named and nothing is touched. */
#define _GNU_SOURCE
#include "command_case.h"

#include "model/safetensors_writer.h"

#include <fts.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <xxhash.h>

/* Everything that a resumed run must keep: order, noise, accumulation, and a rate that depends on the step. */
#define HARD "--set", "moe.noisy=true", "--set", "train.micro_batch=2", "--set", "train.warmup_steps=2"
#define DIR(name) "--set", "run.dir=" name
#define STEPS(n) "--set", "train.steps=" #n
#define EVERY_STEP "--set", "train.checkpoint_every=1"

/* ---- what is on disk ---- */

static int by_path(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* A number that changes with any name, size or time of change below the folder, but for run.lock: a process that looks
 * signs it. */
static uint64_t fingerprint(const command_case *c, const char *name)
{
    char path[FSM_PATH_BYTES];
    char *roots[] = {(char *)path_in(c, name, path), NULL};
    XXH3_state_t *hash = XXH3_createState();
    XXH3_64bits_reset(hash);
    FTS *walk = fts_open(roots, FTS_PHYSICAL, by_path);
    assert_non_null(walk);
    for (FTSENT *entry; (entry = fts_read(walk));) {
        const struct stat *info = entry->fts_statp;
        if (entry->fts_info == FTS_DP || strcmp(entry->fts_name, "run.lock") == 0) continue;
        XXH3_64bits_update(hash, entry->fts_path, entry->fts_pathlen);
        XXH3_64bits_update(hash, &info->st_size, sizeof info->st_size);
        XXH3_64bits_update(hash, &info->st_mtim.tv_sec, sizeof info->st_mtim.tv_sec);
        XXH3_64bits_update(hash, &info->st_mtim.tv_nsec, sizeof info->st_mtim.tv_nsec);
    }
    fts_close(walk);
    uint64_t value = XXH3_64bits_digest(hash);
    XXH3_freeState(hash);
    return value;
}

static void remove_folder(const command_case *c, const char *name)
{
    char path[FSM_PATH_BYTES];
    assert_int_equal(fsm_file_remove_tree(path_in(c, name, path)), FSMOE_OK);
}

static void copy_folder(const command_case *c, const char *from, const char *to)
{
    remove_folder(c, to);
    assert_works(spawn(c, ARGS("cp", "-a", from, to), (streams){0}));
}

static void assert_same_run(const command_case *c, const char *a, const char *b, int step)
{
    static const char *const files[] = {"checkpoint-%d/model.safetensors", "checkpoint-%d/optimizer.safetensors",
                                        "model/model.safetensors"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char name[64], paths[2][128];
        snprintf(name, sizeof name, files[i], step);
        snprintf(paths[0], sizeof paths[0], "%s/%s", a, name);
        snprintf(paths[1], sizeof paths[1], "%s/%s", b, name);
        assert_same_file(c, paths[0], paths[1]);
    }
    assert_losses_agree(c, a, b, 0);
}

/* ---- going on ---- */

/* At a constant rate the first half of a run of 6 steps is a run of 3. */
#define CONSTANT "--set", "train.min_lr=1e-3", "--set", "moe.noisy=true", "--set", "train.micro_batch=2"
#define LAYOUT "--set", "parallel.ep_size=2", "--set", "parallel.esp_size=2", "--set", "parallel.mp_size=2"

static void test_checkpoint_resumes_bit_for_bit_alone(void **state)
{
    const command_case *c = *state;
    assert_works(run(c, ARGS("train", "config.yaml", CONSTANT, STEPS(6), DIR("whole"))));
    assert_works(run(c, ARGS("train", "config.yaml", CONSTANT, STEPS(3), DIR("halves"))));
    assert_works(run(c, ARGS("train", "config.yaml", CONSTANT, STEPS(6), DIR("halves"), "--resume")));
    assert_same_run(c, "whole", "halves", 6);
    assert_int_equal(count_matches(c, "halves/checkpoint-*"), 2); /* run.keep_checkpoints */
}

static void test_checkpoint_resumes_bit_for_bit_on_four_ranks_and_on_another_layout(void **state)
{
    const command_case *c = *state;
    if (!has_mpi(c)) skip();
    assert_works(run_ranks(c, "4", ARGS("train", "config.yaml", CONSTANT, LAYOUT, STEPS(6), DIR("whole"))));
    assert_works(run_ranks(c, "4", ARGS("train", "config.yaml", CONSTANT, LAYOUT, STEPS(3), DIR("halves"))));
    copy_folder(c, "halves", "alone");
    assert_works(
        run_ranks(c, "4", ARGS("train", "config.yaml", CONSTANT, LAYOUT, STEPS(6), DIR("halves"), "--resume")));
    assert_same_run(c, "whole", "halves", 6);
    assert_works(run(c, ARGS("train", "config.yaml", CONSTANT, STEPS(6), DIR("alone"), "--resume")));
    assert_losses_agree(c, "whole", "alone", 1e-4);
}

/* ---- kills ---- */

/* Whether a system call changes the disk; what follows it is where a crash can leave something half done. */
static bool changes_disk(const struct __ptrace_syscall_info *call)
{
    switch (call->entry.nr) {
    case SYS_write:
        return call->entry.args[0] > STDERR_FILENO;
    case SYS_openat:
        return (call->entry.args[2] & O_CREAT) != 0;
    case SYS_fsync:
    case SYS_unlinkat:
    case SYS_mkdirat:
    case SYS_renameat:
    case SYS_renameat2:
#ifdef SYS_rename /* the older calls, which not every machine has */
    case SYS_rename:
    case SYS_unlink:
    case SYS_rmdir:
    case SYS_mkdir:
#endif
        return true;
    default:
        return false;
    }
}

static void become_traced(const command_case *c, const char *const *args)
{
    const char *argv[MOST_ARGS] = {FSMOE_COMMAND};
    for (int i = 0; args[i]; i++) argv[i + 1] = args[i];
    set_streams(c, &(streams){0}, -1, -1);
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* leaks cannot be looked for under ptrace */
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(125);
    alarm(LIMIT_S);
    raise(SIGSTOP);
    execv(argv[0], (char *const *)argv);
    _exit(127);
}

/* Runs the command up to its n-th change of the disk (from 1) and kills it there, so that this change does not happen.
 * Whether it came so far; -1 where processes may not be traced. */
static int kill_before_change(const command_case *c, int n, const char *const *args)
{
    int wait_status, seen = 0, signal_to_pass = 0;
    bool entering = true;
    pid_t child = fork();
    if (child == 0) become_traced(c, args);
    assert_true(waitpid(child, &wait_status, 0) == child);
    if (WIFEXITED(wait_status)) return -1;
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
    assert_int_equal(ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)options), 0);
    while (ptrace(PTRACE_SYSCALL, child, NULL, (void *)(intptr_t)signal_to_pass) == 0) {
        assert_true(waitpid(child, &wait_status, 0) == child);
        if (!WIFSTOPPED(wait_status)) break;
        bool at_call = WSTOPSIG(wait_status) == (SIGTRAP | 0x80);
        signal_to_pass = at_call || WSTOPSIG(wait_status) == SIGTRAP ? 0 : WSTOPSIG(wait_status);
        if (!at_call) continue;
        struct __ptrace_syscall_info call = {0};
        if (entering && ptrace(PTRACE_GET_SYSCALL_INFO, child, (void *)sizeof call, &call) > 0 && changes_disk(&call) &&
            ++seen == n) {
            kill(child, SIGKILL);
            waitpid(child, &wait_status, 0);
            return true;
        }
        entering = !entering;
    }
    if (code_of(wait_status) != 0) fail_msg("exit code %d: %s", code_of(wait_status), read_text(c, ".err", NULL));
    assert_true(seen > 0);
    return false;
}

/* Whatever a kill left, the run goes on to what it would have been, and cleans up. */
static void assert_goes_on(const command_case *c, int n, const char *whole, int steps, const char *const *args)
{
    outcome o = run(c, args);
    if (o.exit_code != 0) fail_msg("killed before change %d: exit code %d: %s", n, o.exit_code, o.err);
    forget(o);
    assert_same_run(c, whole, "killed", steps);
    assert_int_equal(count_matches(c, "killed/*.tmp*"), 0);
    assert_int_equal(count_matches(c, "killed/*/*.tmp*"), 0);
    assert_int_equal(count_matches(c, "killed/*.old*"), 0);
    assert_int_equal(count_matches(c, "killed/checkpoint-*"), 2);
}

/* Every third change; the next test takes every one of a save. */
static void test_checkpoint_survives_a_kill_at_any_change_of_a_new_run(void **state)
{
    const command_case *c = *state;
    int n = 1, came, before_first = 0;
    assert_works(run(c, ARGS("train", "config.yaml", HARD, EVERY_STEP, STEPS(2), DIR("whole"))));
    for (; (came = kill_before_change(c, n, ARGS("train", "config.yaml", HARD, EVERY_STEP, STEPS(2), DIR("killed")))) ==
           1;
         n += 3) {
        bool any = count_matches(c, "killed/checkpoint-[0-9]") > 0;
        if (any)
            assert_goes_on(c, n, "whole", 2,
                           ARGS("train", "config.yaml", HARD, EVERY_STEP, STEPS(2), DIR("killed"), "--resume"));
        else
            assert_fails(run(c, ARGS("train", "config.yaml", DIR("killed"), "--resume")), FSMOE_ERROR_IO,
                         ARGS("to resume"));
        before_first += !any;
        remove_folder(c, "killed");
    }
    if (came < 0) skip();
    assert_true(before_first > 5 && n / 3 > before_first + 5); /* kills fell before and after the first checkpoint */
}

/* The old model or the new one, never anything else. */
static void assert_model_is_whole(const command_case *c)
{
    size_t sizes[3];
    char *found = read_text(c, "killed/model/model.safetensors", &sizes[0]);
    char *old = read_text(c, "base/model/model.safetensors", &sizes[1]);
    char *new = read_text(c, "whole/model/model.safetensors", &sizes[2]);
    assert_true(sizes[0] == sizes[1] && sizes[0] == sizes[2]);
    assert_true(memcmp(found, old, sizes[0]) == 0 || memcmp(found, new, sizes[0]) == 0);
    assert_same_file(c, "killed/model/config.json", "base/model/config.json");
    free(found);
    free(old);
    free(new);
}

/* The second time checkpoints, and the model folder, take the place of earlier ones. */
static void test_checkpoint_survives_a_kill_at_any_change_of_a_resumed_run(void **state)
{
    const command_case *c = *state;
    int came;
    assert_works(run(c, ARGS("train", "config.yaml", CONSTANT, STEPS(3), DIR("whole"))));
    assert_works(run(c, ARGS("train", "config.yaml", CONSTANT, STEPS(2), DIR("base"))));
    for (int n = 1;; n++) {
        copy_folder(c, "base", "killed");
        came = kill_before_change(c, n, ARGS("train", "config.yaml", CONSTANT, STEPS(3), DIR("killed"), "--resume"));
        if (came != 1) break;
        assert_model_is_whole(c);
        assert_goes_on(c, n, "whole", 3, ARGS("train", "config.yaml", CONSTANT, STEPS(3), DIR("killed"), "--resume"));
    }
    if (came < 0) skip();
}

/* ---- damage ---- */

static void flip_byte(const command_case *c, const char *name, size_t from_end)
{
    size_t size;
    char *bytes = read_text(c, name, &size);
    bytes[size - from_end] ^= 1;
    write_text(c, name, bytes, size);
    free(bytes);
}

static void cut(const command_case *c, const char *name, size_t bytes_off)
{
    size_t size;
    char *bytes = read_text(c, name, &size);
    write_text(c, name, bytes, size - bytes_off);
    free(bytes);
}

static void assert_resume_refuses(const command_case *c, fsmoe_status status, const char *const *parts)
{
    uint64_t before = fingerprint(c, "run");
    assert_fails(run(c, ARGS("train", "config.yaml", STEPS(6), "--resume")), status, parts);
    assert_true(fingerprint(c, "run") == before);
}

static void test_checkpoint_damage_is_named_and_nothing_is_changed(void **state)
{
    const command_case *c = *state;
    static const char *const files[] = {"model.safetensors", "optimizer.safetensors", "config.json", "state.json"};
    assert_works(run(c, ARGS("train", "config.yaml", DIR("sound"))));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char name[64];
        snprintf(name, sizeof name, "run/checkpoint-4/%s", files[i]);
        copy_folder(c, "sound", "run");
        flip_byte(c, name, 100);
        assert_resume_refuses(c, FSMOE_ERROR_FORMAT, ARGS(name, "damaged"));
        copy_folder(c, "sound", "run");
        cut(c, name, 10);
        assert_resume_refuses(c, FSMOE_ERROR_FORMAT, ARGS(name, "damaged"));
        copy_folder(c, "sound", "run");
        assert_works(spawn(c, ARGS("rm", name), (streams){0}));
        assert_resume_refuses(c, FSMOE_ERROR_IO, ARGS(name, "No such file"));
    }
    copy_folder(c, "sound", "run");
    cut(c, "run/checkpoint-4/checksums", 1);
    assert_resume_refuses(c, FSMOE_ERROR_FORMAT, ARGS("checkpoint-4/checksums", "damaged"));
    /* the copy is sound: without damage it goes on */
    copy_folder(c, "sound", "run");
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(6), "--resume")));
}

typedef enum change { NO_CHANGE, LEAVE_OUT, ADD, RESHAPE } change;

/* Writes the tensors of `from` to `to`, the one called `name` changed. */
static void rewrite(const command_case *c, const char *from, const char *to, const char *name, change what)
{
    char path[FSM_PATH_BYTES];
    fsm_safetensors *file;
    fsm_safetensors_writer *writer;
    fsm_tensor_spec specs[256];
    const fsm_tensor_info *infos[256];
    size_t n = 0;
    assert_int_equal(fsm_safetensors_open(path_in(c, from, path), &file), FSMOE_OK);
    assert_true(what == NO_CHANGE || what == ADD || fsm_safetensors_find(file, name));
    for (size_t i = 0; i < fsm_safetensors_count(file); i++) {
        const fsm_tensor_info *info = fsm_safetensors_find(file, fsm_safetensors_name(file, i));
        bool meant = strcmp(info->name, name) == 0;
        if (meant && what == LEAVE_OUT) continue;
        specs[n] = (fsm_tensor_spec){.name = info->name, .dtype = info->dtype, .rank = info->rank};
        memcpy(specs[n].shape, info->shape, sizeof info->shape);
        if (meant && what == RESHAPE) {
            specs[n].shape[0] = info->shape[0] / 2;
            specs[n].shape[1] = info->shape[1] * 2;
        }
        infos[n++] = info;
    }
    if (what == ADD) {
        specs[n] = specs[0];
        specs[n].name = name;
        infos[n++] = infos[0];
    }
    assert_int_equal(fsm_safetensors_writer_create(path_in(c, to, path), NULL, 0, specs, n, &writer), FSMOE_OK);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(fsm_safetensors_writer_append(writer, infos[i]->data, infos[i]->bytes), FSMOE_OK);
    assert_int_equal(fsm_safetensors_writer_finish(writer, NULL), FSMOE_OK);
    fsm_safetensors_close(file);
}

static void test_checkpoint_with_other_tensors_is_refused_by_name(void **state)
{
    const command_case *c = *state;
    static const struct {
        const char *file, *tensor;
        change what;
    } cases[] = {
        {"model.safetensors", "model.norm.weight", LEAVE_OUT},
        {"model.safetensors", "model.extra.weight", ADD},
        {"model.safetensors", "lm_head.weight", RESHAPE},
        {"optimizer.safetensors", "m.model.norm.weight", LEAVE_OUT},
        {"optimizer.safetensors", "w.model.norm.weight", ADD},
        {"optimizer.safetensors", "v.lm_head.weight", RESHAPE},
    };
    assert_works(run(c, ARGS("train", "config.yaml", DIR("sound"))));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char from[64], to[64];
        snprintf(from, sizeof from, "sound/checkpoint-4/%s", cases[i].file);
        snprintf(to, sizeof to, "run/checkpoint-4/%s", cases[i].file);
        copy_folder(c, "sound", "run");
        rewrite(c, from, to, cases[i].tensor, cases[i].what);
        seal(c, "run/checkpoint-4");
        assert_resume_refuses(c, FSMOE_ERROR_FORMAT, ARGS(cases[i].tensor));
    }
    /* what rewrites and seals is not what is refused */
    copy_folder(c, "sound", "run");
    rewrite(c, "sound/checkpoint-4/model.safetensors", "run/checkpoint-4/model.safetensors", "", NO_CHANGE);
    seal(c, "run/checkpoint-4");
    assert_works(run(c, ARGS("train", "config.yaml", STEPS(6), "--resume")));
}

/* ---- another configuration ---- */

static void test_checkpoint_of_another_order_of_samples_is_refused_by_key(void **state)
{
    const command_case *c = *state;
    static const char *const settings[][2] = {
        {"train.seed=2", "train.seed 1 -> 2"},
        {"train.global_batch=8", "train.global_batch 4 -> 8"},
        {"train.micro_batch=2", "train.micro_batch 4 -> 2"},
        {"data.seq_len=8", "data.seq_len 16 -> 8"},
        {"data.shuffle=false", "data.shuffle true -> false"},
        {"moe.capacity_factor=1.0", "moe.capacity_factor 0.0 -> 1.0"},
        {"data.train=valid.txt", "the content of data.train"},
        {"train.steps=2", "'train.steps' is 2"},
        {"model.hidden=32", "'model.hidden' is 32"},
    };
    assert_works(run(c, ARGS("train", "config.yaml")));
    uint64_t before = fingerprint(c, "run");
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        assert_fails(run(c, ARGS("train", "config.yaml", STEPS(6), "--set", settings[i][0], "--resume")),
                     FSMOE_ERROR_CONFIG, ARGS(settings[i][1]));
    assert_true(fingerprint(c, "run") == before);
    assert_fails(run(c, ARGS("train", "config.yaml", DIR("none"), "--resume")), FSMOE_ERROR_IO,
                 ARGS("no run in 'none' to resume"));
    assert_false(has(c, "none"));
}

static void test_checkpoint_init_takes_the_shape_or_names_key_and_line(void **state)
{
    const command_case *c = *state;
    static const char open_shape[] = "data: {train: train.txt, seq_len: 16}\nparallel: {threads: 1}\n"
                                     "train: {steps: 0}\nrun: {dir: copy}\n";
    assert_works(run(c, ARGS("train", "config.yaml")));
    write_text(c, "open.yaml", open_shape, strlen(open_shape));
    assert_works(run(c, ARGS("train", "open.yaml", "--init", "run/model")));
    assert_same_file(c, "run/model/model.safetensors", "copy/model/model.safetensors");
    assert_same_file(c, "run/model/config.json", "copy/model/config.json");
    static const char other_shape[] =
        "data: {train: train.txt, seq_len: 16}\nmodel:\n  hidden: 32\nrun: {dir: other}\n";
    write_text(c, "other.yaml", other_shape, strlen(other_shape));
    assert_fails(run(c, ARGS("train", "other.yaml", "--init", "run/model")), FSMOE_ERROR_CONFIG,
                 ARGS("other.yaml:3: 'model.hidden' is 32, but 16", "run/model"));
    assert_fails(run(c, ARGS("train", "open.yaml", "--init", "nowhere", DIR("other"))), FSMOE_ERROR_IO,
                 ARGS("nowhere/config.json"));
    assert_false(has(c, "other"));
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, make_case, remove_case)
    const struct CMUnitTest tests[] = {
        CASE(test_checkpoint_resumes_bit_for_bit_alone),
        CASE(test_checkpoint_resumes_bit_for_bit_on_four_ranks_and_on_another_layout),
        CASE(test_checkpoint_survives_a_kill_at_any_change_of_a_new_run),
        CASE(test_checkpoint_survives_a_kill_at_any_change_of_a_resumed_run),
        CASE(test_checkpoint_damage_is_named_and_nothing_is_changed),
        CASE(test_checkpoint_with_other_tensors_is_refused_by_name),
        CASE(test_checkpoint_of_another_order_of_samples_is_refused_by_key),
        CASE(test_checkpoint_init_takes_the_shape_or_names_key_and_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
