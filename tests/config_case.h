/* What tests of configurations share: a temporary folder to work in, so that messages name plain "demo.yaml", and
 * configurations made from text and compared as text.
 */
#ifndef FSM_TESTS_CONFIG_CASE_H
#define FSM_TESTS_CONFIG_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "config/config.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static char folder[] = "/tmp/fsmoe-test-config-XXXXXX";

static inline int enter_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static inline int leave_folder(void **state)
{
    (void)state;
    return chdir("/") == 0 && fsm_file_remove_tree(folder) == FSMOE_OK ? 0 : -1;
}

static inline void write_file(const char *path, const char *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static inline fsmoe_config *create(void)
{
    fsmoe_config *config;
    assert_int_equal(fsmoe_config_create(&config), FSMOE_OK);
    return config;
}

static inline void expect_ok(fsmoe_status status)
{
    if (status != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
}

static inline fsmoe_status load_text(fsmoe_config *config, const char *yaml)
{
    write_file("demo.yaml", yaml, strlen(yaml));
    return fsmoe_config_load(config, "demo.yaml");
}

static inline char *dump(const fsmoe_config *config, bool comments)
{
    char *text;
    expect_ok(fsmoe_config_dump(config, comments, &text));
    return text;
}

static inline void expect_same_values(const fsmoe_config *a, const fsmoe_config *b)
{
    char *text_a = dump(a, false), *text_b = dump(b, false);
    assert_string_equal(text_a, text_b);
    free(text_a);
    free(text_b);
}

#endif
