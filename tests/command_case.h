/* Runs the command as a user does: in a folder of its own, alone or under mpirun, and never longer than a limit.
 * In:  arguments of `fsmoe`; what its streams are. Out: exit code, stdout and stderr.
 * The folder holds config.yaml, train.txt and valid.txt of a model so small that a run takes a few hundredths of a
 * second.
 */
#ifndef FSM_TESTS_COMMAND_CASE_H
#define FSM_TESTS_COMMAND_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "reading.h"
#include "run/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <jansson.h>
#include <math.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

enum { MOST_ARGS = 64, LIMIT_S = 60, TRAIN_BYTES = 4000, VALID_BYTES = 1000 };

typedef struct command_case {
    char dir[64];
} command_case;

typedef struct outcome {
    int exit_code; /* 128 + the signal that ended it */
    char *out, *err;
    size_t out_bytes;
} outcome;

typedef struct streams {
    bool closed_out;   /* stdout is closed */
    bool broken_out;   /* stdout is a pipe that nobody reads */
    bool terminal_err; /* stderr is a terminal */
    const char *in;    /* file that stdin is piped from; NULL: /dev/null */
} streams;

/* ---- files ---- */

static inline const char *path_in(const command_case *c, const char *name, char path[FSM_PATH_BYTES])
{
    snprintf(path, FSM_PATH_BYTES, "%s/%s", c->dir, name);
    return path;
}

static inline bool has(const command_case *c, const char *name)
{
    char path[FSM_PATH_BYTES];
    return fsm_file_exists(path_in(c, name, path));
}

/* How many names in the folder match. */
static inline size_t count_matches(const command_case *c, const char *pattern)
{
    char path[FSM_PATH_BYTES];
    glob_t found;
    size_t count = glob(path_in(c, pattern, path), 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    globfree(&found);
    return count;
}

static inline char *read_text(const command_case *c, const char *name, size_t *size)
{
    char path[FSM_PATH_BYTES], *bytes = NULL;
    size_t ignored;
    if (fsm_file_read(path_in(c, name, path), &bytes, size ? size : &ignored) != FSMOE_OK)
        fail_msg("%s", fsmoe_last_error());
    return bytes;
}

static inline void write_text(const command_case *c, const char *name, const void *bytes, size_t size)
{
    char path[FSM_PATH_BYTES];
    if (fsm_file_replace(path_in(c, name, path), bytes, size) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
}

static inline void assert_same_file(const command_case *c, const char *a, const char *b)
{
    size_t sizes[2];
    char *x = read_text(c, a, &sizes[0]), *y = read_text(c, b, &sizes[1]);
    if (sizes[0] != sizes[1] || memcmp(x, y, sizes[0]) != 0) fail_msg("%s and %s differ", a, b);
    free(x);
    free(y);
}

/* Overwrites elements first … first + n - 1 of a float32 tensor of a safetensors file, in a folder without a seal. */
static inline void overwrite_tensor(const command_case *c, const char *file, const char *tensor, size_t first, size_t n,
                                    float value)
{
    size_t size;
    uint64_t header_bytes;
    char *bytes = read_text(c, file, &size);
    memcpy(&header_bytes, bytes, sizeof header_bytes);
    json_t *header = json_loadb(bytes + sizeof header_bytes, header_bytes, 0, NULL);
    json_t *begin = json_array_get(json_object_get(json_object_get(header, tensor), "data_offsets"), 0);
    assert_non_null(begin);
    char *at = bytes + sizeof header_bytes + header_bytes + json_integer_value(begin);
    for (size_t i = first; i < first + n; i++) memcpy(at + i * sizeof value, &value, sizeof value);
    json_decref(header);
    write_text(c, file, bytes, size);
    free(bytes);
}

/* Seals the folder anew for the same run, as whoever meddles with care would. */
static inline void seal(const command_case *c, const char *checkpoint)
{
    char path[FSM_PATH_BYTES], file[256];
    size_t size;
    fsm_run_id id;
    snprintf(file, sizeof file, "%s/checksums", checkpoint);
    char *text = read_text(c, file, &size);
    assert_int_equal(sscanf(text, "run %32s", id.text), 1);
    free(text);
    assert_int_equal(fsm_seal_write(path_in(c, checkpoint, path), &id, NULL, 0), FSMOE_OK);
}

/* ---- running ---- */

static inline void redirect(const char *path, int flags, int to)
{
    int fd = open(path, flags, 0666);
    if (fd < 0 || dup2(fd, to) < 0) _exit(126);
    close(fd);
}

static inline void set_streams(const command_case *c, const streams *s, int terminal, int out)
{
    if (chdir(c->dir) != 0) _exit(126);
    redirect(s->in ? s->in : "/dev/null", O_RDONLY, STDIN_FILENO);
    redirect(".out", O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO);
    redirect(".err", O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
    if (out >= 0) dup2(out, STDOUT_FILENO);
    if (terminal >= 0) dup2(terminal, STDERR_FILENO);
    if (s->closed_out) close(STDOUT_FILENO);
}

static inline int code_of(int wait_status)
{
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

/* Waits; beyond the limit the whole process group is ended (politely first, so that mpirun ends its ranks). */
static inline int wait_within(pid_t child, double limit_s, int terminal, FILE *shown)
{
    double start_s = fsm_clock_s();
    int wait_status, ending = 0;
    for (;;) {
        char bytes[512];
        ssize_t n;
        pid_t ended = waitpid(child, &wait_status, WNOHANG);
        while (terminal >= 0 && (n = read(terminal, bytes, sizeof bytes)) > 0) fwrite(bytes, 1, (size_t)n, shown);
        if (ended == child) break;
        double waited_s = fsm_clock_s() - start_s;
        if (waited_s > limit_s && ending == 0) ending = kill(-child, SIGTERM) == 0;
        if (waited_s > limit_s + 3) kill(-child, SIGKILL);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    if (ending) fail_msg("still running after %g s", limit_s);
    return code_of(wait_status);
}

static inline outcome spawn(const command_case *c, const char *const *argv, streams s)
{
    int terminal[2] = {-1, -1}, pipe_ends[2] = {-1, -1};
    char *shown = NULL;
    size_t shown_bytes = 0;
    FILE *screen = s.terminal_err ? open_memstream(&shown, &shown_bytes) : NULL;
    if (s.terminal_err) assert_int_equal(openpty(&terminal[0], &terminal[1], NULL, NULL, NULL), 0);
    if (s.broken_out) assert_int_equal(pipe(pipe_ends), 0);
    if (s.terminal_err) fcntl(terminal[0], F_SETFL, O_NONBLOCK);
    pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        set_streams(c, &s, terminal[1], pipe_ends[1]);
        if (pipe_ends[0] >= 0) close(pipe_ends[0]);
        if (pipe_ends[1] >= 0) close(pipe_ends[1]);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    assert_true(child > 0);
    setpgid(child, child);
    if (s.broken_out) close(pipe_ends[0]), close(pipe_ends[1]);
    outcome o = {.exit_code = wait_within(child, LIMIT_S, terminal[0], screen)};
    o.out = read_text(c, ".out", &o.out_bytes);
    o.err = s.terminal_err ? NULL : read_text(c, ".err", NULL);
    if (s.terminal_err) {
        fclose(screen);
        o.err = shown;
        close(terminal[0]), close(terminal[1]);
    }
    return o;
}

static inline void forget(outcome o)
{
    free(o.out);
    free(o.err);
}

static inline outcome run_with(const command_case *c, streams s, const char *const *args)
{
    const char *argv[MOST_ARGS] = {FSMOE_COMMAND};
    for (int i = 0; args[i]; i++) argv[i + 1] = args[i];
    return spawn(c, argv, s);
}

static inline outcome run(const command_case *c, const char *const *args)
{
    return run_with(c, (streams){0}, args);
}

static inline void remove_matches(const command_case *c, const char *pattern)
{
    char path[FSM_PATH_BYTES];
    glob_t found;
    if (glob(path_in(c, pattern, path), 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++) unlink(found.gl_pathv[i]);
    globfree(&found);
}

/* The exit code of the ranks, which must all have the same one. Each left it in a file code.PID. */
static inline int agreed_code(const command_case *c, size_t ranks)
{
    char path[FSM_PATH_BYTES];
    glob_t found;
    int code = -1;
    assert_int_equal(glob(path_in(c, "code.*", path), 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, ranks);
    for (size_t i = 0; i < ranks; i++) {
        char *text = read_text(c, strrchr(found.gl_pathv[i], '/') + 1, NULL);
        if (i > 0) assert_int_equal(atoi(text), code);
        code = atoi(text);
        free(text);
    }
    globfree(&found);
    return code;
}

/* Under mpirun, which has_mpi must have found. A sanitizer does not look for leaks of a rank: what MPI
 * keeps until the process ends cannot be told apart (tests/CMakeLists.txt). */
static inline outcome run_ranks(const command_case *c, const char *ranks, const char *const *args)
{
    static const char note_code[] = "ASAN_OPTIONS=detect_leaks=0 \"$0\" \"$@\"; echo $? > code.$$";
    const char *argv[MOST_ARGS] = {FSMOE_SOURCE_DIR "/scripts/mpirun", ranks, "sh", "-c", note_code, FSMOE_COMMAND};
    for (int i = 0; args[i]; i++) argv[i + 6] = args[i];
    remove_matches(c, "code.*");
    outcome o = spawn(c, argv, (streams){0});
    o.exit_code = agreed_code(c, strtoul(ranks, NULL, 10));
    return o;
}

/* Whether ranks started together find each other: mpirun is there and the command was built with MPI. */
static inline bool has_mpi(const command_case *c)
{
    const char *const argv[] = {
        FSMOE_SOURCE_DIR "/scripts/mpirun", "2", FSMOE_COMMAND, "train", "config.yaml", "--set", "run.dir=probe", NULL};
    outcome o = spawn(c, argv, (streams){0});
    bool found = strstr(o.err, "2 ranks") != NULL;
    forget(o);
    return found;
}

/* ---- asserting ---- */

static inline void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("'%s' is not in: %s", part, text);
}

static inline void assert_works(outcome o)
{
    if (o.exit_code != 0) fail_msg("exit code %d: %s", o.exit_code, o.err);
    forget(o);
}

/* Ends with `code` and says `parts`, all of them in its one line of error. */
static inline void assert_fails(outcome o, fsmoe_status status, const char *const *parts)
{
    if (o.exit_code != fsmoe_status_exit_code(status)) fail_msg("exit code %d: %s", o.exit_code, o.err);
    assert_int_equal(count_text(o.err, "fsmoe: error:"), 1);
    char *line = strstr(o.err, "fsmoe: error:");
    line[strcspn(line, "\n")] = 0;
    for (; *parts; parts++) assert_has(line, *parts);
    forget(o);
}

/* The numbers under `key` in the log of a run, NaN in steps that have none; the caller frees them. */
static inline double *read_log(const command_case *c, const char *run_dir, const char *key, size_t *count)
{
    char name[256];
    snprintf(name, sizeof name, "%s/log.jsonl", run_dir);
    char *text = read_text(c, name, NULL), *save = NULL;
    double *values = calloc(strlen(text) + 1, sizeof *values);
    *count = 0;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        json_t *step = json_loads(line, 0, NULL), *value = json_object_get(step, key);
        assert_non_null(step);
        assert_int_equal(json_integer_value(json_object_get(step, "step")), *count + 1);
        values[(*count)++] = value ? json_number_value(value) : NAN;
        json_decref(step);
    }
    free(text);
    return values;
}

static inline void assert_losses_agree(const command_case *c, const char *a, const char *b, double tolerance)
{
    size_t counts[2];
    double *x = read_log(c, a, "loss", &counts[0]), *y = read_log(c, b, "loss", &counts[1]);
    assert_int_equal(counts[0], counts[1]);
    assert_true(counts[0] > 0);
    for (size_t i = 0; i < counts[0]; i++)
        if (!(fabs(x[i] - y[i]) <= tolerance)) fail_msg("step %zu: %.9g in %s, %.9g in %s", i + 1, x[i], a, y[i], b);
    free(x);
    free(y);
}

/* ---- the case ---- */

static inline void copy_head(const command_case *c, const char *from, const char *name, size_t size)
{
    char *bytes;
    size_t all;
    assert_int_equal(fsm_file_read(from, &bytes, &all), FSMOE_OK);
    assert_true(size <= all);
    write_text(c, name, bytes, size);
    free(bytes);
}

static inline int make_case(void **state)
{
    static const char config[] = "model: {hidden: 16, ffn_hidden: 32, num_layers: 2, num_heads: 2, moe_every: 2}\n"
                                 "moe: {num_experts: 4}\n"
                                 "parallel: {threads: 1}\n"
                                 "data: {train: train.txt, valid: valid.txt, seq_len: 16}\n"
                                 "train: {steps: 4, global_batch: 4}\n"
                                 "run: {dir: run}\n";
    command_case *c = calloc(1, sizeof *c);
    if (!c) return -1;
    strcpy(c->dir, "/tmp/fsmoe-command-XXXXXX");
    if (!mkdtemp(c->dir)) return -1;
    write_text(c, "config.yaml", config, strlen(config));
    copy_head(c, FSMOE_SOURCE_DIR "/data/austen/emma.txt", "train.txt", TRAIN_BYTES);
    copy_head(c, FSMOE_SOURCE_DIR "/data/austen/persuasion.txt", "valid.txt", VALID_BYTES);
    *state = c;
    return 0;
}

static inline int remove_case(void **state)
{
    command_case *c = *state;
    fsmoe_status status = fsm_file_remove_tree(c->dir);
    free(c);
    return status == FSMOE_OK ? 0 : -1;
}

#endif
