/* Where outputs go: through links, into what is no file, under names of their own while they grow; and printed text.
 * Oracles: bytes, kinds, modes and names on disk, looked at by the system's own calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "base/output.h"
#include "base/print.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEMPORARY(name) name ".tmp-fsmoe"

static char folder[64];

/* Every test works in a folder of its own. */
static int enter(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/fsmoe-output-XXXXXX");
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int leave(void **state)
{
    (void)state;
    return chdir("/") == 0 && fsm_file_remove_tree(folder) == FSMOE_OK ? 0 : -1;
}

static void assert_holds(const char *path, const char *text)
{
    char bytes[64] = "";
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, bytes, sizeof bytes - 1), strlen(text));
    assert_string_equal(bytes, text);
    close(fd);
}

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static fsmoe_status replace(const char *path, const char *text)
{
    return fsm_file_replace(path, text, strlen(text));
}

static struct stat look(const char *path)
{
    struct stat info;
    if (lstat(path, &info) != 0) fail_msg("'%s' is not there", path);
    return info;
}

static void assert_link(const char *path, const char *to)
{
    char text[256] = "";
    assert_int_equal(readlink(path, text, sizeof text - 1), strlen(to));
    assert_string_equal(text, to);
}

static size_t count_temporary(void)
{
    glob_t found;
    size_t count = glob("*.tmp*", 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    globfree(&found);
    return count;
}

/* ---- links ---- */

static void test_output_goes_to_what_a_link_leads_to_and_the_link_stays(void **state)
{
    (void)state;
    assert_int_equal(mkdir("there", 0777), 0);
    put("there/file", "old");
    assert_int_equal(symlink("there/file", "near"), 0);
    assert_int_equal(symlink("../near", "there/far"), 0);
    assert_int_equal(replace("there/far", "new"), FSMOE_OK);
    assert_holds("there/file", "new");
    assert_link("near", "there/file");
    assert_link("there/far", "../near");
    assert_true(S_ISREG(look("there/file").st_mode));
}

static void test_output_makes_what_a_link_leads_to_in_vain(void **state)
{
    (void)state;
    assert_int_equal(symlink("not yet", "link"), 0);
    assert_int_equal(fsm_file_can_write("link"), FSMOE_OK);
    assert_false(fsm_file_exists("not yet"));
    assert_int_equal(replace("link", "new"), FSMOE_OK);
    assert_holds("not yet", "new");
    assert_link("link", "not yet");
}

static void test_output_refuses_links_in_a_circle_and_folders(void **state)
{
    (void)state;
    assert_int_equal(symlink("a", "b"), 0);
    assert_int_equal(symlink("b", "a"), 0);
    assert_int_equal(mkdir("folder", 0777), 0);
    assert_int_equal(symlink("folder", "to-folder"), 0);
    const char *const paths[] = {"a", "folder", "to-folder", "nowhere/file", ""};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        assert_int_equal(replace(paths[i], "new"), FSMOE_ERROR_IO);
        assert_non_null(strstr(fsmoe_last_error(), paths[i]));
        assert_int_equal(fsm_file_can_write(paths[i]), FSMOE_ERROR_IO);
        assert_non_null(strstr(fsmoe_last_error(), paths[i]));
    }
    assert_true(S_ISDIR(look("folder").st_mode));
    assert_int_equal(count_temporary(), 0);
}

/* ---- what is no file ---- */

/* Root makes a device of its own, since a mistake here would cost the machine's; others could not harm that. */
static const char *device(const char *name, const char *of_machine, int minor_number)
{
    if (geteuid() != 0) return of_machine;
    if (mknod(name, S_IFCHR | 0666, makedev(1, (unsigned)minor_number)) != 0) skip();
    if (access(name, W_OK) != 0) skip(); /* a file system without devices */
    return name;
}

static void test_output_into_a_device_leaves_it_a_device(void **state)
{
    (void)state;
    const char *null = device("null", "/dev/null", 3), *full = device("full", "/dev/full", 7);
    assert_int_equal(symlink(null, "link"), 0);
    const char *const paths[] = {null, "link"};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fsm_file_can_write(paths[i]), FSMOE_OK);
        assert_int_equal(replace(paths[i], "gone"), FSMOE_OK);
        assert_true(S_ISCHR(look(null).st_mode));
    }
    assert_link("link", null);
    assert_int_equal(replace(full, "too much"), FSMOE_ERROR_IO);
    assert_non_null(strstr(fsmoe_last_error(), "No space left"));
    assert_true(S_ISCHR(look(full).st_mode));
    assert_int_equal(count_temporary(), 0);
}

/* More than a pipe holds, so that writer and reader take turns. */
static void test_output_into_a_fifo_reaches_its_reader_whole(void **state)
{
    (void)state;
    enum { BYTES = 300000 };
    char *sent = malloc(BYTES), *got = malloc(BYTES + 1);
    for (int i = 0; i < BYTES; i++) sent[i] = (char)(i * 7 % 251);
    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_int_equal(fsm_file_can_write("fifo"), FSMOE_OK); /* and waits for nobody */
    pid_t writer = fork();
    if (writer == 0) _exit(fsm_file_replace("fifo", sent, BYTES) == FSMOE_OK ? 0 : 1);
    size_t done = 0;
    int code, fd = open("fifo", O_RDONLY);
    for (ssize_t n; (n = read(fd, got + done, BYTES + 1 - done)) > 0;) done += (size_t)n;
    close(fd);
    assert_true(waitpid(writer, &code, 0) == writer && code == 0);
    assert_int_equal(done, BYTES);
    assert_memory_equal(sent, got, BYTES);
    assert_true(S_ISFIFO(look("fifo").st_mode));
    free(sent);
    free(got);
}

/* As /dev/stdout is: what was written before stays before. */
static void test_output_into_a_descriptor_goes_on_where_it_is(void **state)
{
    (void)state;
    char path[64];
    int fd = open("file", O_RDWR | O_CREAT, 0666);
    assert_int_equal(write(fd, "before ", 7), 7);
    snprintf(path, sizeof path, "/dev/fd/%d", fd);
    assert_int_equal(symlink(path, "link"), 0);
    assert_int_equal(fsm_file_can_write(path), FSMOE_OK);
    assert_int_equal(replace("link", "after"), FSMOE_OK);
    assert_holds("file", "before after");
    close(fd);
    assert_int_equal(fsm_file_can_write(path), FSMOE_ERROR_IO);
    assert_int_equal(replace(path, "lost"), FSMOE_ERROR_IO);
    int reader = open("file", O_RDONLY);
    snprintf(path, sizeof path, "/dev/fd/%d", reader);
    assert_int_equal(fsm_file_can_write(path), FSMOE_ERROR_IO);
    close(reader);
}

/* An output that fails in the middle has sent nothing to what cannot be taken back. */
static void test_output_that_fails_sends_nothing_through(void **state)
{
    (void)state;
    fsm_output output;
    char path[64];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    snprintf(path, sizeof path, "/dev/fd/%d", ends[1]);
    assert_int_equal(fsm_output_begin(path, &output), FSMOE_OK);
    assert_int_equal(fsm_output_write(&output, "half", 4), FSMOE_OK);
    assert_int_equal(fsm_output_end(&output, FSMOE_ERROR_FORMAT), FSMOE_ERROR_FORMAT);
    close(ends[1]);
    char byte;
    assert_int_equal(read(ends[0], &byte, 1), 0);
    close(ends[0]);
}

/* ---- asking ---- */

static void test_output_is_asked_for_without_a_change(void **state)
{
    (void)state;
    put("file", "old");
    struct stat before = look("file"), around = look(".");
    assert_int_equal(fsm_file_can_write("file"), FSMOE_OK);
    assert_int_equal(fsm_file_can_write("new"), FSMOE_OK);
    struct stat after = look("file"), around_after = look(".");
    assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof after.st_mtim);
    assert_memory_equal(&around.st_mtim, &around_after.st_mtim, sizeof around_after.st_mtim);
    assert_holds("file", "old");
    assert_false(fsm_file_exists("new"));
}

static void test_output_needs_a_folder_that_may_be_written(void **state)
{
    (void)state;
    assert_int_equal(mkdir("closed", 0555), 0);
    if (access("closed", W_OK) == 0) skip(); /* root may */
    assert_int_equal(fsm_file_can_write("closed/file"), FSMOE_ERROR_IO);
    assert_int_equal(replace("closed/file", "new"), FSMOE_ERROR_IO);
}

/* ---- the new file ---- */

static void test_output_keeps_who_may_read(void **state)
{
    (void)state;
    put("secret", "old");
    assert_int_equal(chmod("secret", 0600), 0);
    assert_int_equal(replace("secret", "new"), FSMOE_OK);
    assert_int_equal(look("secret").st_mode & 0777, 0600);
}

/* A file size limit stands for a full disk. */
static void test_output_on_a_full_disk_keeps_the_old_and_leaves_nothing(void **state)
{
    (void)state;
    static char large[1 << 20];
    struct rlimit before, little = {4096, RLIM_INFINITY};
    getrlimit(RLIMIT_FSIZE, &before);
    little.rlim_max = before.rlim_max;
    put("file", "old");
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &little);
    fsmoe_status status = fsm_file_replace("file", large, sizeof large);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(status, FSMOE_ERROR_IO);
    assert_non_null(strstr(fsmoe_last_error(), "'file'"));
    assert_holds("file", "old");
    assert_int_equal(count_temporary(), 0);
}

/* ---- names that are taken ---- */

static void test_output_removes_what_a_killed_process_left(void **state)
{
    (void)state;
    put(TEMPORARY("file"), "half of so");
    assert_int_equal(replace("file", "whole"), FSMOE_OK);
    assert_holds("file", "whole");
    assert_int_equal(count_temporary(), 0);
}

static void test_output_leaves_what_others_write(void **state)
{
    (void)state;
    put(TEMPORARY("file"), "theirs");
    int theirs = open(TEMPORARY("file"), O_RDWR);
    assert_int_equal(flock(theirs, LOCK_EX), 0);
    assert_int_equal(replace("file", "ours"), FSMOE_OK);
    assert_holds("file", "ours");
    assert_holds(TEMPORARY("file"), "theirs");
    assert_int_equal(count_temporary(), 1);
    close(theirs);
}

static void test_output_leaves_what_is_not_its_own(void **state)
{
    (void)state;
    put("precious", "precious");
    put("file.tmp", "somebody's");
    assert_int_equal(symlink("precious", TEMPORARY("file")), 0);
    assert_int_equal(mkdir("file.tmp-fsmoe-1", 0777), 0);
    assert_int_equal(mkfifo("file.tmp-fsmoe-2", 0600), 0);
    assert_int_equal(replace("file", "new"), FSMOE_OK);
    assert_holds("file", "new");
    assert_holds("precious", "precious");
    assert_holds("file.tmp", "somebody's");
    assert_link(TEMPORARY("file"), "precious");
    assert_true(S_ISDIR(look("file.tmp-fsmoe-1").st_mode) && S_ISFIFO(look("file.tmp-fsmoe-2").st_mode));
    assert_int_equal(count_temporary(), 4);
}

/* Eight at once: the file is one of theirs, whole, and nobody fails. */
static void test_output_of_many_at_once_is_that_of_one(void **state)
{
    (void)state;
    enum { WRITERS = 8, ROUNDS = 50, BYTES = 20000 };
    static char bytes[BYTES];
    for (int w = 0; w < WRITERS; w++) {
        if (fork() != 0) continue;
        memset(bytes, 'a' + w, sizeof bytes);
        for (int i = 0; i < ROUNDS; i++)
            if (fsm_file_replace("file", bytes, sizeof bytes) != FSMOE_OK) _exit(1);
        _exit(0);
    }
    int code, failed = 0;
    while (wait(&code) > 0) failed += code != 0;
    assert_int_equal(failed, 0);
    size_t size;
    char *got;
    assert_int_equal(fsm_file_read("file", &got, &size), FSMOE_OK);
    assert_int_equal(size, BYTES);
    for (size_t i = 1; i < size; i++) assert_int_equal(got[i], got[0]);
    free(got);
    assert_int_equal(count_temporary(), 0);
}

static void test_output_of_the_longest_name_is_written(void **state)
{
    (void)state;
    char name[256];
    memset(name, 'n', 255);
    name[255] = 0;
    assert_int_equal(replace(name, "new"), FSMOE_OK);
    assert_holds(name, "new");
}

/* ---- pieces ---- */

static void test_output_of_pieces_reads_back_as_their_sum(void **state)
{
    (void)state;
    enum { BYTES = 3 * FSM_OUTPUT_BUFFER_BYTES + 5 };
    static char bytes[BYTES];
    for (int i = 0; i < BYTES; i++) bytes[i] = (char)(i % 253);
    fsm_output output;
    uint64_t back, head, expected_head;
    assert_int_equal(fsm_output_begin("file", &output), FSMOE_OK);
    for (size_t done = 0, piece = 1; done < BYTES; done += piece, piece = piece * 3 % 9001 + 1) {
        if (piece > BYTES - done) piece = BYTES - done;
        assert_int_equal(fsm_output_write(&output, bytes + done, piece), FSMOE_OK);
    }
    assert_int_equal(fsm_output_rewind(&output), FSMOE_OK);
    assert_int_equal(fsm_output_write(&output, "HEAD", 4), FSMOE_OK);
    memcpy(bytes, "HEAD", 4);
    assert_int_equal(fsm_output_read_back(&output, 0, BYTES, &back), FSMOE_OK);
    assert_int_equal(fsm_output_read_back(&output, 0, 4, &head), FSMOE_OK);
    assert_int_equal(fsm_output_read_back(&output, 0, BYTES + 1, &expected_head), FSMOE_ERROR_IO); /* one too many */
    assert_int_not_equal(back, head);
    assert_int_equal(fsm_output_end(&output, FSMOE_OK), FSMOE_OK);
    size_t size;
    char *got;
    assert_int_equal(fsm_file_read("file", &got, &size), FSMOE_OK);
    assert_int_equal(size, BYTES);
    assert_memory_equal(got, bytes, BYTES);
    free(got);
}

static void test_print_gives_all_of_it_or_an_error(void **state)
{
    (void)state;
    fsm_print print;
    char *text;
    assert_int_equal(fsm_print_begin(&print), FSMOE_OK);
    for (int i = 0; i < 10000; i++) fprintf(print.out, "%d ", i);
    assert_int_equal(fsm_print_end(&print, FSMOE_OK, "numbers", &text), FSMOE_OK);
    char *at = text;
    for (int i = 0; i < 10000; i++) assert_int_equal(strtol(at, &at, 10), i);
    assert_string_equal(at, " ");
    free(text);
    assert_int_equal(fsm_print_begin(&print), FSMOE_OK);
    assert_int_equal(fsm_print_end(&print, FSMOE_OK, "nothing", &text), FSMOE_OK);
    assert_string_equal(text, "");
    free(text);
    assert_int_equal(fsm_print_begin(&print), FSMOE_OK);
    fputs("half", print.out);
    assert_int_equal(fsm_print_write(&print, FSMOE_ERROR_FORMAT, "file"), FSMOE_ERROR_FORMAT);
    assert_false(fsm_file_exists("file"));
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, enter, leave)
    const struct CMUnitTest tests[] = {
        CASE(test_output_goes_to_what_a_link_leads_to_and_the_link_stays),
        CASE(test_output_makes_what_a_link_leads_to_in_vain),
        CASE(test_output_refuses_links_in_a_circle_and_folders),
        CASE(test_output_into_a_device_leaves_it_a_device),
        CASE(test_output_into_a_fifo_reaches_its_reader_whole),
        CASE(test_output_into_a_descriptor_goes_on_where_it_is),
        CASE(test_output_that_fails_sends_nothing_through),
        CASE(test_output_is_asked_for_without_a_change),
        CASE(test_output_needs_a_folder_that_may_be_written),
        CASE(test_output_keeps_who_may_read),
        CASE(test_output_on_a_full_disk_keeps_the_old_and_leaves_nothing),
        CASE(test_output_removes_what_a_killed_process_left),
        CASE(test_output_leaves_what_others_write),
        CASE(test_output_leaves_what_is_not_its_own),
        CASE(test_output_of_many_at_once_is_that_of_one),
        CASE(test_output_of_the_longest_name_is_written),
        CASE(test_output_of_pieces_reads_back_as_their_sum),
        CASE(test_print_gives_all_of_it_or_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
