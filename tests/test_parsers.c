/* What fuzzers found (tests/fuzz), said once more where it says something of what a file means. */
#include "base/file.h"
#include "base/fit.h"
#include "config/flat.h"
#include "plan/plan.h"
#include "profile/cluster.h"
#include "report/log.h"
#include "tokens/tokenizer.h"

#include <fsmoe/cluster.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char folder[] = "/tmp/fsmoe-parsers-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return fsm_file_remove_tree(folder) == FSMOE_OK ? 0 : -1;
}

static const char *file_of(const char *name, const char *bytes, size_t size)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
    return path;
}

static void assert_says(const char *words)
{
    if (!strstr(fsmoe_last_error(), words)) fail_msg("'%s' does not say '%s'", fsmoe_last_error(), words);
}

static void test_empty_log_has_no_steps(void **state)
{
    (void)state;
    fsm_log log;
    assert_int_equal(fsm_log_read(file_of("log.jsonl", "", 0), &log), FSMOE_OK);
    assert_int_equal(log.count, 0);
    fsm_log_destroy(&log);
}

static void test_quantity_is_decimal(void **state)
{
    (void)state;
    double value;
    assert_int_equal(fsmoe_quantity_parse("0x10B/s", FSMOE_QUANTITY_RATE, &value), FSMOE_ERROR_CONFIG);
    assert_int_equal(fsmoe_quantity_parse("0XFT", FSMOE_QUANTITY_FLOPS, &value), FSMOE_ERROR_CONFIG);
    assert_int_equal(fsmoe_quantity_parse("0.5us", FSMOE_QUANTITY_TIME, &value), FSMOE_OK);
    assert_true(value == 0.5e-6);
}

static void test_flat_value_with_zero_byte_is_refused(void **state)
{
    (void)state;
    int choice = -1;
    const fsm_flat_key keys[] = {{"expert", FSM_FLAT_CHOICE, 0, 0, 0, "gpt, mixtral", true}};
    const char text[] = "expert: \"mixtral\\0x\"\n", fine[] = "expert: \"mixtral\"\n";
    assert_int_equal(fsm_flat_read(file_of("flat", text, strlen(text)), keys, 1, &choice), FSMOE_ERROR_CONFIG);
    assert_int_equal(choice, -1);
    assert_int_equal(fsm_flat_read(file_of("flat", fine, strlen(fine)), keys, 1, &choice), FSMOE_OK);
    assert_int_equal(choice, 1);
}

/* ---- tokenizers ---- */

/* A vocabulary of all bytes and `more`, which begins with a comma if it is not empty. */
static void make_vocabulary(const char *more, char text[8192])
{
    strcpy(text, "{");
    for (int byte = 0; byte < 256; byte++) {
        char spelling[3];
        fsm_vocab_spell_byte((unsigned char)byte, spelling);
        bool escaped = byte == '"' || byte == '\\';
        sprintf(text + strlen(text), "%s\"%s%s\":%d", byte ? "," : "", escaped ? "\\" : "", spelling, byte);
    }
    sprintf(text + strlen(text), "%s}", more);
}

static fsmoe_status load_pair(const char *more, const char *merges, size_t merges_size, fsmoe_tokenizer **tokenizer)
{
    char vocabulary[8192];
    make_vocabulary(more, vocabulary);
    file_of("vocab.json", vocabulary, strlen(vocabulary));
    file_of("merges.txt", merges, merges_size);
    return fsmoe_tokenizer_create(folder, tokenizer);
}

static void test_merge_with_zero_byte_is_refused(void **state)
{
    (void)state;
    fsmoe_tokenizer *tokenizer;
    static const char hidden[] = "#version\na\0x b\n", plain[] = "#version\na b\n";
    assert_int_equal(load_pair(",\"ab\":256", hidden, sizeof hidden - 1, &tokenizer), FSMOE_ERROR_FORMAT);
    assert_says("line 2");
    assert_int_equal(load_pair(",\"ab\":256", plain, sizeof plain - 1, &tokenizer), FSMOE_OK);
    fsmoe_tokenizer_destroy(tokenizer);
}

static void test_one_far_id_is_refused(void **state)
{
    (void)state;
    fsmoe_tokenizer *tokenizer;
    assert_int_equal(load_pair(",\"ab\":16777215", "", 0, &tokenizer), FSMOE_ERROR_FORMAT);
    assert_says("token 'ab' has id 16777215");
    assert_int_equal(load_pair(",\"ab\":60000", "", 0, &tokenizer), FSMOE_OK); /* a hole that a model's padding makes */
    assert_int_equal(fsmoe_tokenizer_vocab_size(tokenizer), 60001);
    fsmoe_tokenizer_destroy(tokenizer);
}

static fsmoe_status load_added(const char *added, fsmoe_tokenizer **tokenizer)
{
    char vocabulary[8192], text[12288];
    make_vocabulary(",\"ab\":256,\"<x>\":257", vocabulary);
    snprintf(text, sizeof text,
             "{\"model\":{\"vocab\":%s,\"merges\":[[\"a\",\"b\"]]},\"pre_tokenizer\":{\"type\":\"ByteLevel\"},"
             "\"decoder\":{\"type\":\"ByteLevel\"},\"added_tokens\":[%s]}",
             vocabulary, added);
    return fsmoe_tokenizer_create(file_of("tokenizer.json", text, strlen(text)), tokenizer);
}

static void test_added_token_takes_no_other_tokens_id(void **state)
{
    (void)state;
    fsmoe_tokenizer *tokenizer;
    assert_int_equal(load_added("{\"id\":256,\"content\":\"<x>\"}", &tokenizer), FSMOE_ERROR_FORMAT);
    assert_says("'<x>' has id 256, which another token has");
    assert_int_equal(load_added("{\"id\":97,\"content\":\"b\"}", &tokenizer), FSMOE_ERROR_FORMAT);
    assert_int_equal(load_added("{\"id\":16777215,\"content\":\"<y>\"}", &tokenizer), FSMOE_ERROR_FORMAT);
    assert_int_equal(load_added("{\"id\":257,\"content\":\"<x>\"},{\"id\":300,\"content\":\"<y>\"}", &tokenizer),
                     FSMOE_OK);
    fsmoe_tokenizer_destroy(tokenizer);
}

/* ---- costs and plans ---- */

static void assert_plan_is_refused(const char *name, const char *words)
{
    fsm_plan plan;
    fsm_cluster cluster;
    char path[512];
    snprintf(path, sizeof path, "%s/fuzz/corpus/plan/%s", FSMOE_TEST_DATA, name);
    assert_int_equal(fsm_plan_read(path, &plan, &cluster), FSMOE_ERROR_FORMAT);
    assert_says(words);
}

static void test_numbers_of_a_plan_are_read_whole(void **state)
{
    (void)state;
    assert_plan_is_refused("wrapped-group", "'shape.group_size' holds a group without ranks, or of too many");
    assert_plan_is_refused("wrapped-region", "'shape.regions' holds no [group, first, last]");
    assert_plan_is_refused("many-gemms", "'shape' has more GEMMs than any task");
}

static void test_points_too_far_apart_make_no_line(void **state)
{
    (void)state;
    fsm_line line, lines[2];
    double r2, from;
    const fsm_point far[] = {{1, 1e-300}, {2, 1e300}, {3, 1e300}};
    fsm_point many[8];
    for (int i = 0; i < 8; i++) many[i] = (fsm_point){i + 1, i % 2 ? 1e300 : 1e-300};
    assert_int_equal(fsm_fit_line(far, 3, &line, &r2), FSMOE_ERROR_NUMERIC);
    assert_int_equal(fsm_fit_two_lines(many, 8, lines, &from, &r2), FSMOE_ERROR_NUMERIC);
}

static void test_points_beyond_any_operation_are_refused(void **state)
{
    (void)state;
    fsm_cluster cluster;
    char *text;
    const char *format = "{\"unit\":\"s\",\"gemm\":{\"alpha\":1,\"beta\":1,\"points\":[[1,%s]]},"
                         "\"alltoall\":{\"alpha\":1,\"beta\":1},\"allgather\":{\"alpha\":1,\"beta\":1},"
                         "\"reducescatter\":{\"alpha\":1,\"beta\":1},\"allreduce\":{\"alpha\":1,\"beta\":1}}";
    char file[512];
    snprintf(file, sizeof file, format, "1e308");
    assert_int_equal(fsm_cluster_from_json(file, "far", &cluster), FSMOE_ERROR_FORMAT);
    snprintf(file, sizeof file, format, "1e30");
    assert_int_equal(fsm_cluster_from_json(file, "near", &cluster), FSMOE_OK);
    assert_int_equal(fsm_cluster_to_json(&cluster, &text), FSMOE_OK);
    free(text);
    fsm_cluster_destroy(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_log_has_no_steps),
        cmocka_unit_test(test_quantity_is_decimal),
        cmocka_unit_test(test_flat_value_with_zero_byte_is_refused),
        cmocka_unit_test(test_merge_with_zero_byte_is_refused),
        cmocka_unit_test(test_one_far_id_is_refused),
        cmocka_unit_test(test_added_token_takes_no_other_tokens_id),
        cmocka_unit_test(test_numbers_of_a_plan_are_read_whole),
        cmocka_unit_test(test_points_too_far_apart_make_no_line),
        cmocka_unit_test(test_points_beyond_any_operation_are_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
