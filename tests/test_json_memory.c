/* JSON while memory runs out: every allocation of Jansson fails in turn, alone or with all after it.
 * Oracle: the value that is read, and the text that is written, when none fails. */
#include "base/json.h"
#include "tokens/json_lines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static long fail_at, asked, live; /* fail_at 0: none */
static bool all_after;

static void *scarce(size_t bytes)
{
    asked++;
    if (fail_at > 0 && (asked == fail_at || (all_after && asked > fail_at))) return NULL;
    void *memory = malloc(bytes);
    live += memory != NULL;
    return memory;
}

static void give(void *memory)
{
    live -= memory != NULL;
    free(memory);
}

static int begin(void **state)
{
    (void)state;
    json_set_alloc_funcs(scarce, give);
    return 0;
}

/* Words of many lengths, since a word is what may lose bytes. */
static const char source[] =
    "{\"a\": \"short\", \"numbers\": [1, -2.5, 0.12345678901234567, 123456789012345678, 1e-300, "
    "3.00000000000000012345e5],\n"
    "\"a name that is longer than sixteen bytes\": \"text with \\\"quotes\\\", a \\u00e9 and a \\\\\", \"t\": [true, "
    "null],\n"
    "\"long\": "
    "\"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"}";

static void fail_from(long k, bool and_all_after)
{
    fail_at = k;
    all_after = and_all_after;
    asked = 0;
}

static void test_json_is_read_whole_or_not_at_all(void **state)
{
    (void)state;
    json_error_t why;
    fail_from(0, false);
    json_t *expected = json_loads(source, 0, &why);
    assert_non_null(expected);
    long before = live;
    for (int after = 0; after < 2; after++)
        for (long k = 1;; k++) {
            fail_from(k, after);
            json_t *read = fsm_json_decode(source, strlen(source), 0, &why);
            bool fired = asked >= k;
            fail_from(0, false);
            if (read) assert_true(json_equal(read, expected));
            else if (!after) assert_int_equal(json_error_code(&why), json_error_out_of_memory);
            json_decref(read);
            assert_int_equal(live, before);
            if (fired) continue;
            assert_non_null(read);
            assert_true(k > 30);
            break;
        }
    json_decref(expected);
}

/* That there is something to guard against; another Jansson may have none of it. */
static void test_json_of_jansson_itself_loses_bytes(void **state)
{
    (void)state;
    json_error_t why;
    int lost = 0;
    fail_from(0, false);
    json_t *expected = json_loads(source, 0, &why);
    for (long k = 1; k < 200; k++) {
        fail_from(k, false);
        json_t *read = json_loads(source, 0, &why);
        fail_from(0, false);
        lost += read && !json_equal(read, expected);
        json_decref(read);
    }
    json_decref(expected);
    if (lost == 0) skip();
}

static void test_json_errors_are_those_of_the_text(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "", "{", "{}]", "{}, {}", "{}],[{}", "7", "{\"a\": 1, \"a\": 2}", "{\"a\":\n x}", "\"a", "]", ","};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_error_t why, plain;
        fail_from(0, false);
        assert_null(json_loads(wrong[i], JSON_REJECT_DUPLICATES, &plain));
        assert_null(fsm_json_decode(wrong[i], strlen(wrong[i]), JSON_REJECT_DUPLICATES, &why));
        assert_string_equal(why.text, plain.text);
        assert_int_equal(why.line, plain.line);
    }
    json_error_t why;
    json_t *number = fsm_json_decode("7", 1, JSON_DECODE_ANY, &why);
    assert_int_equal(json_integer_value(number), 7);
    json_decref(number);
}

static json_t *build(bool *failed)
{
    json_t *object = json_object(), *list = json_array();
    for (int i = 0; i < 20; i++) fsm_json_append(list, json_real(i / 3.0), failed);
    fsm_json_set(object, "list", list, failed);
    fsm_json_set(object, "a name that is longer than sixteen bytes", json_string("and its text, which is longer"),
                 failed);
    return object;
}

static void test_json_is_written_whole_or_not_at_all(void **state)
{
    (void)state;
    char *expected, *text;
    bool failed = false;
    fail_from(0, false);
    assert_int_equal(fsm_json_text(build(&failed), failed, JSON_INDENT(1), "it", &expected), FSMOE_OK);
    for (int after = 0; after < 2; after++)
        for (long k = 1;; k++) {
            failed = false;
            fail_from(k, after);
            json_t *built = build(&failed);
            fsmoe_status status = fsm_json_text(built, failed, JSON_INDENT(1), "it", &text);
            bool fired = asked >= k;
            fail_from(0, false);
            if (status == FSMOE_OK) assert_string_equal(text, expected);
            else assert_int_equal(status, FSMOE_ERROR_MEMORY);
            assert_int_equal(text != NULL, status == FSMOE_OK);
            free(text);
            if (fired) continue;
            assert_int_equal(status, FSMOE_OK);
            assert_true(k > 30);
            break;
        }
    free(expected);
}

static void test_json_lines_lose_no_byte_of_a_document(void **state)
{
    (void)state;
    static const char lines[] = "{\"text\": \"A document that is longer than sixteen bytes.\"}\n{\"text\": \"Two\"}\n";
    static const fsm_file_map map = {.bytes = lines, .size = sizeof lines - 1};
    fsmoe_tokenizer *bytes;
    assert_int_equal(fsmoe_tokenizer_create("bytes", &bytes), FSMOE_OK);
    for (long k = 1;; k++) {
        fsm_ids ids = {0};
        fail_from(k, false);
        fsmoe_status status = fsm_json_lines_read(&map, bytes, "lines.jsonl", &ids);
        bool fired = asked >= k;
        fail_from(0, false);
        if (status == FSMOE_OK) assert_int_equal(ids.count, strlen("A document that is longer than sixteen bytes.Two"));
        else assert_int_equal(status, FSMOE_ERROR_MEMORY);
        fsm_ids_destroy(&ids);
        if (fired) continue;
        assert_int_equal(status, FSMOE_OK);
        assert_true(k > 10);
        break;
    }
    fsmoe_tokenizer_destroy(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_is_read_whole_or_not_at_all),
        cmocka_unit_test(test_json_of_jansson_itself_loses_bytes),
        cmocka_unit_test(test_json_errors_are_those_of_the_text),
        cmocka_unit_test(test_json_is_written_whole_or_not_at_all),
        cmocka_unit_test(test_json_lines_lose_no_byte_of_a_document),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
