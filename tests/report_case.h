/* What tests of the report share: the folder of a made-up run, its log, its page, and what every page must be.
 * In:  a fixture, which is a folder that the test owns. Out: the page as text, which the caller frees.
 */
#ifndef FSM_TESTS_REPORT_CASE_H
#define FSM_TESTS_REPORT_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"

#include <fsmoe/report.h>

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

typedef struct fixture {
    char folder[64];
    char path[128]; /* the latest of file_path */
} fixture;

static inline int make_folder(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    if (!f) return -1;
    snprintf(f->folder, sizeof f->folder, "/tmp/fsmoe-report-XXXXXX");
    *state = f;
    return mkdtemp(f->folder) ? 0 : -1;
}

static inline int remove_folder(void **state)
{
    fixture *f = *state;
    int failed = fsm_file_remove_tree(f->folder) != FSMOE_OK;
    free(f);
    return failed;
}

static const char *file_path(fixture *f, const char *name)
{
    snprintf(f->path, sizeof f->path, "%s/%s", f->folder, name);
    return f->path;
}

static inline void write_text(fixture *f, const char *name, const char *text)
{
    FILE *out = fopen(file_path(f, name), "w");
    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

/* A run with every key: 3 layers of 4 experts, expert 1 of layer 2 gets half of the tokens. */
static inline void write_log(fixture *f, int steps)
{
    FILE *out = fopen(file_path(f, "log.jsonl"), "w");
    assert_non_null(out);
    for (int s = 1; s <= steps; s++) {
        fprintf(out,
                "{\"step\":%d,\"loss\":%.4f,\"aux_loss\":1.02,\"z_loss\":0.001,\"lr\":%g,\"grad_norm\":%g,"
                "\"tokens_per_s\":%d,\"step_s\":0.5,\"dropped_frac\":0.031,\"expert_load\":{\"min\":0.1,\"mean\":0.25,"
                "\"max\":0.5}",
                s, 1.5 + 4 * exp(-s / 50.0) + 0.1 * sin(s), 1e-3 / s, 50.0 / s + 0.5, 9000 + s % 7);
        if (s % 50 == 0) fprintf(out, ",\"val_loss\":%.4f", 1.6 + 4 * exp(-s / 50.0));
        if (s % 5 == 1)
            fprintf(out, ",\"expert_load_by_layer\":[[0.25,0.25,0.25,0.25],[0.2,0.3,0.25,0.25],[0.1,0.5,0.2,0.2]]");
        fputs("}\n", out);
    }
    assert_int_equal(fclose(out), 0);
}

static inline char *report_text(fixture *f, size_t *size)
{
    fsmoe_status status = fsmoe_report_write(f->folder);
    if (status != FSMOE_OK) print_error("%s\n", fsmoe_last_error());
    assert_int_equal(status, FSMOE_OK);
    char *text;
    assert_int_equal(fsm_file_read(file_path(f, "report.html"), &text, size), FSMOE_OK);
    return text;
}

/* Every element closed in order, every attribute quoted; the depth of the deepest is returned. */
static inline size_t check_markup(const char *text)
{
    struct {
        const char *name;
        size_t length;
    } open[64];
    size_t depth = 0, deepest = 0;
    for (const char *at = strchr(text, '<'); at; at = strchr(at + 1, '<')) {
        const char *end = strchr(at, '>');
        assert_non_null(end);
        size_t quotes = 0, length = strcspn(at + 1, " />\n");
        for (const char *c = at; c < end; c++) quotes += *c == '"';
        assert_int_equal(quotes % 2, 0);
        if (at[1] == '!' || end[-1] == '/') continue;
        if (at[1] != '/') {
            assert_true(depth < 64);
            open[depth].name = at + 1;
            open[depth++].length = length;
            if (depth > deepest) deepest = depth;
            continue;
        }
        length = strcspn(at + 2, ">");
        assert_true(depth > 0);
        depth--;
        assert_int_equal(open[depth].length, length);
        assert_memory_equal(open[depth].name, at + 2, length);
    }
    assert_int_equal(depth, 0);
    return deepest;
}

/* "nan" and "inf" as numbers, not inside words. */
static inline bool has_word(const char *text, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = text; (at = strstr(at, word)); at += length) {
        bool before = at > text && strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", at[-1]);
        bool after = at[length] && strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", at[length]);
        if (!before && !after) return true;
    }
    return false;
}

static inline void check_page(const char *text)
{
    assert_true(check_markup(text) > 5);
    assert_null(strstr(text, "http"));
    assert_null(strstr(text, "<script"));
    for (const char *at = text; (at = strstr(at, "url(")); at += 4)
        assert_int_equal(at[4], '#'); /* of the page itself */
    assert_null(strstr(text, "@import"));
    assert_false(has_word(text, "nan"));
    assert_false(has_word(text, "-nan"));
    assert_false(has_word(text, "inf"));
}

static inline void assert_shows(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("the page lacks '%s'", part);
}

#endif
