/* Flat YAML files: values, defaults, and messages that name file, line and key. Works in a folder of its own, so that
 * messages say plain "a.yaml". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/rng.h"
#include "config/flat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[] = "/tmp/fsmoe-flat-XXXXXX";

static int enter_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int leave_dir(void **state)
{
    (void)state;
    return chdir("/") == 0 && fsm_file_remove_tree(dir) == FSMOE_OK ? 0 : -1;
}

typedef struct pond {
    int64_t ducks, frogs;
    double depth;
    int colour;
} pond;

static const fsm_flat_key keys[] = {
    {"ducks", FSM_FLAT_INT, offsetof(pond, ducks), 1, 100, NULL, true},
    {"frogs", FSM_FLAT_INT, offsetof(pond, frogs), -5, 5, NULL, false},
    {"depth", FSM_FLAT_FLOAT, offsetof(pond, depth), 0, 2.5, NULL, false},
    {"colour", FSM_FLAT_CHOICE, offsetof(pond, colour), 0, 0, "green, blue, greenish", false},
};

static fsmoe_status read_bytes(const char *bytes, size_t size, pond *p)
{
    assert_int_equal(fsm_file_replace("a.yaml", bytes, size), FSMOE_OK);
    *p = (pond){.ducks = -1, .frogs = -2, .depth = -3, .colour = -4};
    return fsm_flat_read("a.yaml", keys, sizeof keys / sizeof *keys, p);
}

static fsmoe_status read_text(const char *text, pond *p)
{
    return read_bytes(text, strlen(text), p);
}

static void assert_says(const char *part)
{
    if (!strstr(fsmoe_last_error(), part)) fail_msg("'%s' is not in: %s", part, fsmoe_last_error());
}

static void test_flat_fills_what_is_given_and_keeps_the_rest(void **state)
{
    (void)state;
    pond p;
    assert_int_equal(read_text("# a pond\nducks: 100\ncolour: greenish # not green\ndepth: 2.5\nfrogs: -5\n", &p),
                     FSMOE_OK);
    assert_true(p.ducks == 100 && p.frogs == -5 && p.depth == 2.5 && p.colour == 2);
    assert_int_equal(read_text("ducks: 1", &p), FSMOE_OK);
    assert_true(p.ducks == 1 && p.frogs == -2 && p.depth == -3 && p.colour == -4);
    assert_int_equal(read_text("{ducks: 7, depth: 1e-1, colour: 'blue'}", &p), FSMOE_OK);
    assert_true(p.ducks == 7 && p.depth == 0.1 && p.colour == 1);
    assert_int_equal(read_text("---\nducks: 3\ndepth: 2\n...\n", &p), FSMOE_OK);
    assert_true(p.ducks == 3 && p.depth == 2);
}

static void test_flat_messages_name_file_line_and_key(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says[3];
    } cases[] = {
        {"ducks: 1\nfrog: 2\n", {"a.yaml:2:", "unknown key 'frog'", "did you mean 'frogs'?"}},
        {"ducks: 1\n\ncolor: blue\n", {"a.yaml:3:", "'color'", "'colour'"}},
        {"ducks: 1\ndepth: 1\nducks: 2\n", {"a.yaml:3:", "ducks is given twice"}},
        {"frogs: 1\n", {"a.yaml:", "key 'ducks' is missing"}},
        {"ducks: many\n", {"a.yaml:1:", "ducks takes a whole number, not 'many'"}},
        {"ducks: 1.5\n", {"a.yaml:1:", "ducks takes a whole number, not '1.5'"}},
        {"ducks: 1e1\n", {"a.yaml:1:", "ducks takes a whole number"}},
        {"ducks: 0x10\n", {"a.yaml:1:", "ducks takes a whole number"}},
        {"ducks: 9223372036854775808\n", {"a.yaml:1:", "ducks takes a whole number"}},
        {"ducks:\n", {"a.yaml:1:", "ducks takes a whole number, not ''"}},
        {"ducks: '5'\n", {"a.yaml:1:", "ducks takes a number, not the text '5'"}},
        {"ducks: 0\n", {"a.yaml:1:", "ducks = 0 must be from 1 to 100"}},
        {"ducks: 101\n", {"a.yaml:1:", "ducks = 101 must be from 1 to 100"}},
        {"ducks: 1\ndepth: deep\n", {"a.yaml:2:", "depth takes a number, not 'deep'"}},
        {"ducks: 1\ndepth: .nan\n", {"a.yaml:2:", "depth takes a number"}},
        {"ducks: 1\ndepth: .inf\n", {"a.yaml:2:", "depth takes a number"}},
        {"ducks: 1\ndepth: 1e999\n", {"a.yaml:2:", "depth takes a number"}},
        {"ducks: 1\ndepth: 2.6\n", {"a.yaml:2:", "depth = 2.6 must be from 0 to 2.5"}},
        {"ducks: 1\ndepth: -1e-9\n", {"a.yaml:2:", "depth = -1e-9 must be from 0 to 2.5"}},
        {"ducks: 1\ncolour: gree\n", {"a.yaml:2:", "colour takes one of green, blue, greenish, not 'gree'"}},
        {"ducks: 1\ncolour: green, blue\n", {"a.yaml:2:", "colour takes one of"}},
        {"ducks: 1\ncolour:\n", {"a.yaml:2:", "colour takes one of"}},
        {"ducks: [1, 2]\n", {"a.yaml:1:", "ducks takes a single value"}},
        {"depth: 1\nducks:\n  wild: 1\n", {"a.yaml:3:", "ducks takes a single value"}},
        {"pond:\n  ducks: 1\n", {"a.yaml:1:", "unknown key 'pond'"}},
        {"[ducks]: 1\n", {"a.yaml:1:", "a key must be a word"}},
        {"- ducks\n", {"a.yaml:", "must be keys and values"}},
        {"ducks\n", {"a.yaml:", "must be keys and values"}},
        {"", {"a.yaml:", "must be keys and values"}},
        {"# nothing\n", {"a.yaml:", "must be keys and values"}},
        {"ducks: 1\ndepth: [1\n", {"a.yaml:", "not YAML"}},
        {"ducks: 1\n\tdepth: 1\n", {"a.yaml:2:", "not YAML"}},
        {"ducks: &a *a\n", {"a.yaml:1:", "not YAML"}},
        {"ducks: 1\n---\nducks: 2\n", {"a.yaml:2:", "second document"}},
        {"ducks: 1\n---\nfrogs: [\n", {"a.yaml:2:", "second document"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pond p;
        if (read_text(cases[i].text, &p) != FSMOE_ERROR_CONFIG) fail_msg("taken: %s", cases[i].text);
        for (int k = 0; k < 3 && cases[i].says[k]; k++) assert_says(cases[i].says[k]);
        assert_null(strchr(fsmoe_last_error(), '\n'));
    }
}

static void test_flat_messages_are_one_printable_line(void **state)
{
    (void)state;
    static const char *const texts[] = {"ducks: \"1\\n2\\x07\"\n", "\"du\\ncks\": 1\n",
                                        "ducks: 1\ncolour: \"a\\nb\"\n"};
    char *wide = malloc(100001);
    pond p;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(read_text(texts[i], &p), FSMOE_ERROR_CONFIG);
        for (const char *at = fsmoe_last_error(); *at; at++) assert_true((unsigned char)*at >= 32);
    }
    assert_non_null(wide);
    memset(wide, 'x', 100000);
    memcpy(wide, "ducks: ", 7);
    wide[100000] = 0;
    assert_int_equal(read_text(wide, &p), FSMOE_ERROR_CONFIG);
    assert_true(strlen(fsmoe_last_error()) < 300);
    free(wide);
}

static void test_flat_file_that_cannot_be_read_is_an_io_error(void **state)
{
    (void)state;
    pond p;
    assert_int_equal(fsm_flat_read("none.yaml", keys, sizeof keys / sizeof *keys, &p), FSMOE_ERROR_IO);
    assert_says("none.yaml");
    assert_int_equal(fsm_flat_read(".", keys, sizeof keys / sizeof *keys, &p), FSMOE_ERROR_IO);
}

/* Whatever bytes a file has, reading ends with success or a sentence. */
static void test_flat_survives_random_bytes(void **state)
{
    (void)state;
    static const char text[] = "ducks: 12\nfrogs: -3\ndepth: 1.5\ncolour: blue\n";
    uint64_t draws = 0;
    for (int round = 0; round < 2000; round++) {
        char bytes[sizeof text];
        pond p;
        memcpy(bytes, text, sizeof text);
        for (int n = 0; n < 1 + round % 4; n++) {
            size_t at = fsm_rng_bits(8, FSM_RNG_TEST, draws++) % (sizeof text - 1);
            bytes[at] = (char)fsm_rng_bits(8, FSM_RNG_TEST, draws++);
        }
        fsmoe_status status = read_bytes(bytes, sizeof text - 1, &p);
        if (status == FSMOE_OK) {
            assert_in_range(p.ducks, 1, 100);
        } else {
            assert_int_equal(status, FSMOE_ERROR_CONFIG);
            assert_says("a.yaml");
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flat_fills_what_is_given_and_keeps_the_rest),
        cmocka_unit_test(test_flat_messages_name_file_line_and_key),
        cmocka_unit_test(test_flat_messages_are_one_printable_line),
        cmocka_unit_test(test_flat_file_that_cannot_be_read_is_an_io_error),
        cmocka_unit_test(test_flat_survives_random_bytes),
    };
    return cmocka_run_group_tests_name("flat", tests, enter_dir, leave_dir);
}
