/* Whose a run folder is: one live process has it, an ended run's steps aside whole, and nothing that a run has not made
 * is moved, replaced or removed, whatever it is called. */
#include "run_folder_case.h"

#include "run/folder.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { NOBODY = 65534 };

static fsm_run_folder begin_run(const char *dir)
{
    fsm_run_folder f;
    char moved_to[FSM_PATH_BYTES];
    assert_int_equal(fsm_run_folder_claim(dir, false, &f), FSMOE_OK);
    assert_int_equal(fsm_run_folder_begin(&f, moved_to), FSMOE_OK);
    assert_string_equal(moved_to, "");
    return f;
}

/* ---- one at a time ---- */

/* A process that has begun a run in `dir` and waits. */
static pid_t start_holder(const char *dir)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        fsm_run_folder f;
        char moved_to[FSM_PATH_BYTES];
        bool held = fsm_run_folder_claim(dir, false, &f) == FSMOE_OK && fsm_run_folder_begin(&f, moved_to) == FSMOE_OK;
        if (!held || write(ready[1], "", 1) != 1) _exit(1);
        for (;;) pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static void test_run_folder_of_a_live_run_is_refused_with_host_and_pid_until_that_is_killed(void **state)
{
    (void)state;
    fsm_run_folder f;
    char pid[32], host[256], moved_to[FSM_PATH_BYTES];
    pid_t holder = start_holder("run");
    gethostname(host, sizeof host);
    snprintf(pid, sizeof pid, "pid %ld", (long)holder);
    for (int resume = 0; resume <= 1; resume++) {
        assert_int_equal(fsm_run_folder_claim("run", resume, &f), FSMOE_ERROR_IO);
        assert_says(pid);
        assert_says(host);
        assert_says("'run'");
        fsm_run_folder_release(&f);
    }
    kill(holder, SIGKILL);
    waitpid(holder, NULL, 0);
    put("run/log.jsonl", "");
    assert_int_equal(fsm_run_folder_claim("run", false, &f), FSMOE_OK);
    assert_int_equal(fsm_run_folder_begin(&f, moved_to), FSMOE_OK);
    assert_string_equal(moved_to, "run.1");
    fsm_run_folder_release(&f);
}

static void test_run_folder_is_one_runs_within_a_process_too(void **state)
{
    (void)state;
    fsm_run_folder first = begin_run("run"), second;
    assert_int_equal(fsm_run_folder_claim("run", false, &second), FSMOE_ERROR_IO);
    fsm_run_folder_release(&second);
    fsm_run_folder_release(&first);
    assert_int_equal(fsm_run_folder_claim("run", true, &second), FSMOE_OK);
    assert_true(fsm_run_id_equal(&first.id, &second.id));
    fsm_run_folder_release(&second);
}

/* Two that both found no folder: who comes second is refused, whatever it saw before. */
static void test_run_folder_begun_by_another_meanwhile_is_refused(void **state)
{
    (void)state;
    fsm_run_folder late;
    char moved_to[FSM_PATH_BYTES];
    assert_int_equal(fsm_run_folder_claim("run", false, &late), FSMOE_OK);
    fsm_run_folder early = begin_run("run");
    assert_int_equal(fsm_run_folder_begin(&late, moved_to), FSMOE_ERROR_IO);
    put("run/log.jsonl", "");
    fsm_run_folder_release(&early);
    fsm_run_folder_release(&late);
    assert_int_equal(fsm_run_folder_begin(&late, moved_to), FSMOE_ERROR_IO);
    assert_says("meanwhile");
    fsm_run_folder_release(&late);
}

/* A process that gets ready to move an ended run aside is alive; that run's own is not. */
static void test_run_folder_that_is_claimed_names_who_claimed_it_last(void **state)
{
    (void)state;
    fsm_run_folder f, second;
    char pid[32];
    pid_t ended = start_holder("run");
    kill(ended, SIGKILL);
    waitpid(ended, NULL, 0);
    assert_int_equal(fsm_run_folder_claim("run", false, &f), FSMOE_OK);
    assert_int_equal(fsm_run_folder_claim("run", false, &second), FSMOE_ERROR_IO);
    snprintf(pid, sizeof pid, "pid %ld", (long)getpid());
    assert_says(pid);
    fsm_run_folder_release(&second);
    fsm_run_folder_release(&f);
}

/* ---- an earlier run ---- */

static void test_run_folder_of_an_ended_run_is_moved_aside_whole(void **state)
{
    (void)state;
    char moved_to[FSM_PATH_BYTES];
    for (int i = 1; i <= 2; i++) {
        char log[64], aside[64];
        fsm_run_folder f;
        assert_int_equal(fsm_run_folder_claim("run/", false, &f), FSMOE_OK);
        assert_int_equal(fsm_run_folder_begin(&f, moved_to), FSMOE_OK);
        put("run/log.jsonl", i == 1 ? "first" : "second");
        publish("run/checkpoint-3", &f.id, "weights");
        publish("run/model", &f.id, "weights");
        fsm_run_folder_release(&f);
        snprintf(aside, sizeof aside, "run.%d", i - 1);
        snprintf(log, sizeof log, "run.%d/log.jsonl", i - 1);
        if (i == 1) assert_string_equal(moved_to, "");
        else assert_string_equal(moved_to, aside);
        if (i > 1) assert_holds(log, "first");
    }
    assert_holds("run.1/checkpoint-3/text", "weights");
}

/* Names that a run would take, made by somebody else, beside nothing or beside an earlier run. */
static void test_run_folder_with_what_is_nobodys_is_refused_and_left_alone(void **state)
{
    (void)state;
    static const char *const files[] = {"run/model/text",  "run/best/text", "run/checkpoint-7/text",
                                        "run/config.yaml", "run/log.jsonl", "run/report.html"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        fsm_run_folder f;
        char folder[64];
        snprintf(folder, sizeof folder, "%s", files[i]);
        *strrchr(folder, '/') = 0;
        assert_int_equal(fsm_file_make_dirs(folder), FSMOE_OK);
        put(files[i], "mine");
        assert_int_equal(fsm_run_folder_claim("run", false, &f), FSMOE_ERROR_IO);
        assert_says("no run.lock");
        fsm_run_folder_release(&f);
        assert_holds(files[i], "mine");
        assert_int_equal(fsm_file_remove_tree("run"), FSMOE_OK);
    }
}

static void test_run_folder_with_an_ended_run_and_something_else_is_not_moved(void **state)
{
    (void)state;
    static const char *const others[] = {"run/notes.txt", "run/model/tokenizer.json", "run/checkpoint-9/text"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        fsm_run_folder f = begin_run("run");
        publish("run/model", &f.id, "weights");
        put("run/log.jsonl", "");
        fsm_run_folder_release(&f);
        if (i == 2) assert_int_equal(fsm_file_make_dirs("run/checkpoint-9"), FSMOE_OK);
        put(others[i], "mine");
        assert_int_equal(fsm_run_folder_claim("run", false, &f), FSMOE_ERROR_IO);
        assert_says("not moved aside");
        fsm_run_folder_release(&f);
        assert_holds(others[i], "mine");
        assert_int_equal(fsm_file_remove_tree("run"), FSMOE_OK);
    }
}

/* Other files of a person's may lie in the folder of a first run. */
static void test_run_folder_may_hold_files_that_no_run_would_name(void **state)
{
    (void)state;
    assert_int_equal(fsm_file_make_dirs("run"), FSMOE_OK);
    put("run/data.txt", "mine");
    fsm_run_folder f = begin_run("run");
    fsm_run_folder_release(&f);
    assert_holds("run/data.txt", "mine");
}

static void test_run_folder_with_a_changed_model_is_not_gone_on_in(void **state)
{
    (void)state;
    fsm_run_folder f = begin_run("run");
    publish("run/model", &f.id, "weights");
    fsm_run_folder_release(&f);
    assert_int_equal(fsm_run_folder_claim("run", true, &f), FSMOE_OK);
    fsm_run_folder_release(&f);
    put("run/model/tokenizer.json", "mine");
    assert_int_equal(fsm_run_folder_claim("run", true, &f), FSMOE_ERROR_IO);
    assert_says("run/model");
    fsm_run_folder_release(&f);
}

/* Found when the folder is claimed, not when everything is ready. */
static void test_run_folder_that_cannot_be_renamed_is_refused_early(void **state)
{
    (void)state;
    fsm_run_folder f = begin_run("run");
    put("run/log.jsonl", "");
    fsm_run_folder_release(&f);
    assert_int_equal(chdir("run"), 0);
    assert_int_equal(fsm_run_folder_claim(".", false, &f), FSMOE_ERROR_IO);
    assert_says("cannot be renamed");
    fsm_run_folder_release(&f);
    assert_int_equal(fsm_run_folder_claim(".", true, &f), FSMOE_OK); /* it may go on */
    fsm_run_folder_release(&f);
    assert_int_equal(chdir(".."), 0);
    assert_int_equal(fsm_run_folder_claim("not/yet/there", false, &f), FSMOE_OK);
    fsm_run_folder_release(&f);
}

static void test_run_folder_damage_of_the_lock_is_said(void **state)
{
    (void)state;
    fsm_run_folder f = begin_run("run");
    fsm_run_folder_release(&f);
    put("run/run.lock", "run 12345");
    assert_int_equal(fsm_run_folder_claim("run", true, &f), FSMOE_ERROR_FORMAT);
    assert_says("run/run.lock");
    fsm_run_folder_release(&f);
    put("run/run.lock", "");
    assert_int_equal(fsm_run_folder_claim("run", true, &f), FSMOE_ERROR_IO);
    assert_says("before there was anything");
    fsm_run_folder_release(&f);
}

/* The link leads to where there is room, and goes on doing so. */
static void test_run_folder_behind_a_link_is_moved_aside_and_the_link_stays(void **state)
{
    char moved_to[FSM_PATH_BYTES], aside[FSM_PATH_BYTES];
    fsm_run_folder f;
    struct stat info;
    assert_int_equal(fsm_file_make_dirs("disk/big"), FSMOE_OK);
    assert_int_equal(symlink("disk/big", "run"), 0);
    f = begin_run("run/");
    put("run/log.jsonl", "first");
    fsm_run_folder_release(&f);
    assert_int_equal(fsm_run_folder_claim("run/", false, &f), FSMOE_OK);
    assert_int_equal(fsm_run_folder_begin(&f, moved_to), FSMOE_OK);
    fsm_run_folder_release(&f);
    assert_int_equal(lstat("run", &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_holds("disk/big.1/log.jsonl", "first");
    assert_true(fsm_file_exists("disk/big/run.lock"));
    snprintf(aside, sizeof aside, "%s/disk/big.1", (const char *)*state);
    assert_string_equal(moved_to, aside);
}

/* As long as it cannot be seen what is there, nothing is taken for nobody's. */
static void test_run_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(void **state)
{
    bool root = geteuid() == 0;
    fsm_run_folder f;
    if (root) assert_int_equal(chown(*state, NOBODY, NOBODY) | seteuid(NOBODY), 0);
    assert_int_equal(mkdir("run", 0777), 0);
    put("run/config.yaml", "mine");
    assert_int_equal(chmod("run", 0333), 0);
    fsmoe_status status = fsm_run_folder_claim("run", false, &f);
    fsm_run_folder_release(&f);
    chmod("run", 0777);
    if (root) assert_int_equal(seteuid(0), 0);
    assert_int_equal(status, FSMOE_ERROR_IO);
    assert_says("cannot read 'run'");
    assert_false(fsm_file_exists("run/run.lock"));
}

/* ---- owned folders ---- */

static int cannot(const char *from, const char *to)
{
    (void)from, (void)to;
    errno = EINVAL;
    return -1;
}

static void test_owned_folder_takes_a_name_without_exchange(void **state)
{
    (void)state;
    char temporary[FSM_PATH_BYTES], path[FSM_PATH_BYTES];
    fsm_run_id id;
    assert_int_equal(fsm_run_id_make(&id), FSMOE_OK);
    publish("model", &id, "old");
    assert_int_equal(fsm_owned_begin("model", &id, temporary), FSMOE_OK);
    assert_int_equal(fsm_file_path(temporary, "text", path), FSMOE_OK);
    put(path, "new");
    assert_int_equal(fsm_seal_write(temporary, &id, NULL, 0), FSMOE_OK);
    assert_int_equal(fsm_owned_take_name(cannot, temporary, "model", &id), FSMOE_OK);
    assert_holds("model/text", "new");
    assert_false(fsm_file_exists(temporary));
}

/* A kill between the two renames of that. */
static void test_owned_folder_gets_its_name_back_after_a_kill(void **state)
{
    (void)state;
    char aside[64], temporary[64];
    fsm_run_id id;
    assert_int_equal(fsm_run_id_make(&id), FSMOE_OK);
    publish("model", &id, "old");
    snprintf(aside, sizeof aside, "model.old-%.8s", id.text);
    snprintf(temporary, sizeof temporary, "model.tmp-%.8s", id.text);
    assert_int_equal(rename("model", aside), 0);
    assert_int_equal(mkdir(temporary, 0777), 0);
    assert_true(fsm_owned_is_left(aside, &id) && fsm_owned_is_left(temporary, &id));
    assert_int_equal(fsm_owned_recover(".", &id), FSMOE_OK);
    assert_holds("model/text", "old");
    assert_false(fsm_file_exists(temporary) || fsm_file_exists(aside));
    /* and when the kill came after both */
    assert_int_equal(mkdir(aside, 0777), 0);
    assert_int_equal(fsm_owned_recover(".", &id), FSMOE_OK);
    assert_holds("model/text", "old");
    assert_false(fsm_file_exists(aside));
}

static void test_owned_folder_of_another_stays(void **state)
{
    (void)state;
    fsm_run_id mine, other;
    char temporary[FSM_PATH_BYTES];
    bool removed = true;
    assert_int_equal(fsm_run_id_make(&mine), FSMOE_OK);
    assert_int_equal(fsm_run_id_make(&other), FSMOE_OK);
    publish("model", &other, "other");
    assert_int_equal(fsm_owned_remove("model", &mine, &removed), FSMOE_OK);
    assert_false(removed);
    assert_int_equal(fsm_owned_begin("model", &mine, temporary), FSMOE_OK);
    assert_int_equal(fsm_owned_publish(temporary, "model", &mine, NULL, 0), FSMOE_ERROR_IO);
    assert_says("not this run's");
    assert_holds("model/text", "other");
    char left[64];
    snprintf(left, sizeof left, "model.tmp-%.8s", other.text);
    assert_int_equal(mkdir(left, 0777), 0);
    assert_int_equal(fsm_owned_recover(".", &mine), FSMOE_OK);
    assert_true(fsm_file_exists(left) && !fsm_file_exists(temporary));
    assert_int_equal(fsm_owned_remove("model", &other, &removed), FSMOE_OK);
    assert_true(removed && !fsm_file_exists("model"));
}

/* Nothing of it goes, and the run goes on. For root nothing is protected, so root is somebody else here. */
static void test_owned_folder_protected_against_writing_stays(void **state)
{
    bool removed = true, root = geteuid() == 0;
    fsm_run_id id;
    if (root) assert_int_equal(chown(*state, NOBODY, NOBODY) | seteuid(NOBODY), 0);
    assert_int_equal(fsm_run_id_make(&id), FSMOE_OK);
    publish("checkpoint-1", &id, "weights");
    assert_int_equal(chmod("checkpoint-1", 0555), 0);
    fsmoe_status status = fsm_owned_remove("checkpoint-1", &id, &removed);
    chmod("checkpoint-1", 0777);
    if (root) assert_int_equal(seteuid(0), 0);
    assert_int_equal(status, FSMOE_OK);
    assert_false(removed);
    assert_holds("checkpoint-1/text", "weights");
}

static void test_owned_folder_read_back_otherwise_than_written_is_not_named(void **state)
{
    (void)state;
    fsm_run_id id;
    char temporary[FSM_PATH_BYTES], path[FSM_PATH_BYTES];
    const fsm_seal_known known = {"text", 12345};
    assert_int_equal(fsm_run_id_make(&id), FSMOE_OK);
    assert_int_equal(fsm_owned_begin("model", &id, temporary), FSMOE_OK);
    assert_int_equal(fsm_file_path(temporary, "text", path), FSMOE_OK);
    put(path, "weights");
    assert_int_equal(fsm_owned_publish(temporary, "model", &id, &known, 1), FSMOE_ERROR_IO);
    assert_says("reads back otherwise");
    assert_false(fsm_file_exists("model"));
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, enter_folder, leave_folder)
    const struct CMUnitTest tests[] = {
        CASE(test_run_folder_of_a_live_run_is_refused_with_host_and_pid_until_that_is_killed),
        CASE(test_run_folder_is_one_runs_within_a_process_too),
        CASE(test_run_folder_begun_by_another_meanwhile_is_refused),
        CASE(test_run_folder_of_an_ended_run_is_moved_aside_whole),
        CASE(test_run_folder_with_what_is_nobodys_is_refused_and_left_alone),
        CASE(test_run_folder_with_an_ended_run_and_something_else_is_not_moved),
        CASE(test_run_folder_may_hold_files_that_no_run_would_name),
        CASE(test_run_folder_with_a_changed_model_is_not_gone_on_in),
        CASE(test_run_folder_that_cannot_be_renamed_is_refused_early),
        CASE(test_run_folder_damage_of_the_lock_is_said),
        CASE(test_run_folder_that_is_claimed_names_who_claimed_it_last),
        CASE(test_run_folder_behind_a_link_is_moved_aside_and_the_link_stays),
        CASE(test_run_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one),
        CASE(test_owned_folder_takes_a_name_without_exchange),
        CASE(test_owned_folder_gets_its_name_back_after_a_kill),
        CASE(test_owned_folder_of_another_stays),
        CASE(test_owned_folder_protected_against_writing_stays),
        CASE(test_owned_folder_read_back_otherwise_than_written_is_not_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
