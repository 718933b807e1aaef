/* A folder of its own for tests of what a run leaves on disk.
 * In:  names in it. Out: files and folders made, looked at and gone with the test.
 */
#ifndef FSM_TESTS_RUN_FOLDER_CASE_H
#define FSM_TESTS_RUN_FOLDER_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "run/owned.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Tests run in the folder itself, so names are relative to it. */
static inline int enter_folder(void **state)
{
    char *folder = strdup("/tmp/fsmoe-run-XXXXXX");
    if (!folder || !mkdtemp(folder) || chdir(folder) != 0) return -1;
    *state = folder;
    return 0;
}

static inline int leave_folder(void **state)
{
    if (chdir("/") != 0 || fsm_file_remove_tree(*state) != FSMOE_OK) return -1;
    free(*state);
    return 0;
}

static inline void put(const char *name, const char *text)
{
    assert_int_equal(fsm_file_replace(name, text, strlen(text)), FSMOE_OK);
}

static inline void assert_holds(const char *name, const char *text)
{
    char *found;
    size_t size;
    assert_int_equal(fsm_file_read(name, &found, &size), FSMOE_OK);
    assert_string_equal(found, text);
    free(found);
}

static inline void assert_says(const char *part)
{
    if (!strstr(fsmoe_last_error(), part)) fail_msg("'%s' is not in: %s", part, fsmoe_last_error());
}

/* A published folder with one file, text. */
static inline void publish(const char *name, const fsm_run_id *id, const char *text)
{
    char temporary[FSM_PATH_BYTES], path[FSM_PATH_BYTES];
    assert_int_equal(fsm_owned_begin(name, id, temporary), FSMOE_OK);
    assert_int_equal(fsm_file_path(temporary, "text", path), FSMOE_OK);
    put(path, text);
    assert_int_equal(fsm_owned_publish(temporary, name, id, NULL, 0), FSMOE_OK);
}

#endif
