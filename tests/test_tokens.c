/* Token streams against the tokenizer itself, their files against every way to be wrong, and the order of samples. */
#include <fsmoe/tokens.h>

#include "base/file.h"
#include "tokens/sampler.h"
#include "tokens/token_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include <cmocka.h>

#define SMALL FSMOE_TEST_DATA "/golden/tokenizer.small.json"

static char folder[] = "/tmp/fsmoe-tokens-XXXXXX";

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

/* folder/name; the storage is reused after four calls. */
static const char *in_folder(const char *name)
{
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static const char *write_file(const char *name, const char *text)
{
    const char *path = in_folder(name);
    assert_int_equal(fsm_file_replace(path, text, strlen(text)), FSMOE_OK);
    return path;
}

static fsmoe_tokenizer *create(const char *name)
{
    fsmoe_tokenizer *tokenizer;
    if (fsmoe_tokenizer_create(name, &tokenizer) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    return tokenizer;
}

static fsmoe_tokens *open_stream(const char *const *paths, size_t n, fsmoe_tokenizer *tokenizer)
{
    fsmoe_tokens *tokens;
    if (fsmoe_tokens_open(paths, n, tokenizer, &tokens) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    return tokens;
}

/* The whole stream, the caller frees. */
static int32_t *copy_all(const fsmoe_tokens *tokens)
{
    int64_t count = fsmoe_tokens_count(tokens);
    int32_t *ids = malloc((size_t)count * sizeof *ids);
    assert_non_null(ids);
    assert_int_equal(fsmoe_tokens_copy(tokens, 0, count, ids), FSMOE_OK);
    return ids;
}

static void assert_stream(const fsmoe_tokens *tokens, const int32_t *expected, size_t count)
{
    assert_int_equal(fsmoe_tokens_count(tokens), count);
    int32_t *ids = copy_all(tokens);
    assert_memory_equal(ids, expected, count * sizeof *ids);
    free(ids);
}

static void assert_refused(const char *path, fsmoe_tokenizer *tokenizer, fsmoe_status expected, const char *word)
{
    fsmoe_tokens *tokens;
    fsmoe_status status = fsmoe_tokens_open(&path, 1, tokenizer, &tokens);
    if (status != expected || !strstr(fsmoe_last_error(), word) || !strstr(fsmoe_last_error(), path))
        fail_msg("'%s' with '%s' expected: status %d, %s", path, word, (int)status, fsmoe_last_error());
    assert_null(tokens);
}

static void test_tokens_text_is_its_ids(void **state)
{
    (void)state;
    fsmoe_tokenizer *gpt2 = create("gpt2");
    const char *path = FSMOE_SOURCE_DIR "/data/austen/persuasion.txt";
    char *text;
    size_t size, count;
    int32_t *ids;
    assert_int_equal(fsm_file_read(path, &text, &size), FSMOE_OK);
    assert_int_equal(fsmoe_tokenizer_encode(gpt2, text, size, &ids, &count), FSMOE_OK);
    fsmoe_tokens *tokens = open_stream(&path, 1, gpt2);
    assert_stream(tokens, ids, count);
    fsmoe_tokens_close(tokens);
    free(ids);
    free(text);
    fsmoe_tokenizer_destroy(gpt2);
}

static void test_tokens_jsonl_documents_end_in_end_of_text(void **state)
{
    (void)state;
    const char *path = write_file("two.jsonl", "{\"text\": \"ab\", \"more\": [1]}\r\n\n{\"text\": \"\\u0000c\"}");
    fsmoe_tokenizer *bytes = create("bytes"), *gpt2 = create("gpt2");
    fsmoe_tokens *tokens = open_stream(&path, 1, bytes);
    assert_stream(tokens, (int32_t[]){'a', 'b', 0, 'c'}, 4);
    fsmoe_tokens_close(tokens);
    tokens = open_stream(&path, 1, gpt2);
    assert_stream(tokens, (int32_t[]){397, 50256, 188, 66, 50256}, 5); /* "ab", NUL, "c" in encoder.json */
    fsmoe_tokens_close(tokens);
    fsmoe_tokenizer_destroy(gpt2);
    fsmoe_tokenizer_destroy(bytes);
}

/* A stream of four kinds of file is the ids of each in turn, wherever a copy begins and ends. */
static void test_tokens_inputs_follow_each_other(void **state)
{
    (void)state;
    static const int32_t expected[] = {'a', 'b', 'c', 'd', 'e', 'f', 'a', 'b', 'c'};
    enum { COUNT = sizeof expected / sizeof *expected };
    fsmoe_tokenizer *bytes = create("bytes");
    const char *text = write_file("a.txt", "abc"), *tokens_path = in_folder("d.tokens");
    const char *jsonl = write_file("f.jsonl", "{\"text\": \"f\"}\n"), *two = write_file("d.txt", "de");
    assert_int_equal(fsmoe_tokens_write(tokens_path, bytes, &two, 1), FSMOE_OK);
    fsmoe_tokens *tokens = open_stream((const char *const[]){text, tokens_path, jsonl, text}, 4, bytes);
    assert_stream(tokens, expected, COUNT);
    for (int64_t first = 0; first <= COUNT; first++)
        for (int64_t n = 0; first + n <= COUNT; n++) {
            int32_t ids[COUNT + 1];
            ids[n] = -7;
            assert_int_equal(fsmoe_tokens_copy(tokens, first, n, ids), FSMOE_OK);
            assert_memory_equal(ids, expected + first, (size_t)n * sizeof *ids);
            assert_int_equal(ids[n], -7);
        }
    fsmoe_tokens_close(tokens);
    fsmoe_tokenizer_destroy(bytes);
}

static void test_tokens_written_file_reads_back(void **state)
{
    (void)state;
    fsmoe_tokenizer *small = create(SMALL);
    const char *jsonl =
        write_file("docs.jsonl", "{\"text\": \"Emma <|endoftext|> x\"}\n{\"text\": \"\\u00e9\\ud83d\\ude00\"}\n");
    const char *inputs[] = {FSMOE_SOURCE_DIR "/data/austen/emma.txt", jsonl};
    const char *path = in_folder("small.tokens"), *again = in_folder("again.tokens");
    assert_int_equal(fsmoe_tokens_write(path, small, inputs, 2), FSMOE_OK);
    assert_int_equal(fsmoe_tokens_write(again, small, &path, 1), FSMOE_OK);
    fsmoe_tokens *direct = open_stream(inputs, 2, small), *stored = open_stream(&path, 1, small);
    int32_t *ids = copy_all(direct);
    assert_stream(stored, ids, (size_t)fsmoe_tokens_count(direct));

    char *first, *second;
    size_t first_size, second_size;
    assert_int_equal(fsm_file_read(path, &first, &first_size), FSMOE_OK);
    assert_int_equal(fsm_file_read(again, &second, &second_size), FSMOE_OK);
    assert_int_equal(first_size, FSM_TOKEN_FILE_HEADER_BYTES + 2 * fsmoe_tokens_count(direct));
    assert_int_equal(first_size, second_size);
    assert_memory_equal(first, second, first_size);
    free(second);
    free(first);
    free(ids);
    fsmoe_tokens_close(stored);
    fsmoe_tokens_close(direct);
    fsmoe_tokenizer_destroy(small);
}

/* Ids above 65535 need four bytes: the small tokenizer with an added token far away. */
static void test_tokens_large_vocabularies_take_four_bytes(void **state)
{
    (void)state;
    char *json;
    size_t size;
    assert_int_equal(fsm_file_read(SMALL, &json, &size), FSMOE_OK);
    char *place = strstr(json, "\"id\":703");
    assert_non_null(place);
    char *changed = malloc(size + 16);
    assert_non_null(changed);
    snprintf(changed, size + 16, "%.*s\"id\":70300%s", (int)(place - json), json, place + strlen("\"id\":703"));
    fsmoe_tokenizer *large = create(write_file("large.json", changed));
    const char *text = write_file("x.txt", "|>x"), *path = in_folder("large.tokens");
    assert_int_equal(fsmoe_tokenizer_vocab_size(large), 70301);
    assert_int_equal(fsmoe_tokens_write(path, large, &text, 1), FSMOE_OK);
    fsmoe_tokens *tokens = open_stream(&path, 1, large);
    assert_stream(tokens, (int32_t[]){70300}, 1);
    fsmoe_tokens_close(tokens);
    fsmoe_tokenizer_destroy(large);
    free(changed);
    free(json);
}

static void test_tokens_bytes_are_those_of_the_text(void **state)
{
    (void)state;
    fsmoe_tokenizer *small = create(SMALL);
    const char *path =
        write_file("bytes.jsonl", "{\"text\": \"Emma Woodhouse, \\u00e9!\"}\n{\"text\": \"handsome\"}\n");
    fsmoe_tokens *tokens = open_stream(&path, 1, small);
    int64_t count = fsmoe_tokens_count(tokens), total, one, sum = 0;
    assert_int_equal(fsmoe_tokens_bytes(tokens, 0, count, &total), FSMOE_OK);
    /* The two ends of text stand for none. */
    assert_int_equal(total, strlen("Emma Woodhouse, \xC3\xA9!") + strlen("handsome"));
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(fsmoe_tokens_bytes(tokens, i, 1, &one), FSMOE_OK);
        sum += one;
    }
    assert_int_equal(sum, total);
    fsmoe_tokens_close(tokens);

    const char *novel = FSMOE_SOURCE_DIR "/data/austen/emma.txt";
    fsm_file_map map;
    assert_int_equal(fsm_file_map_open(novel, &map), FSMOE_OK);
    tokens = open_stream(&novel, 1, small);
    assert_int_equal(fsmoe_tokens_bytes(tokens, 0, fsmoe_tokens_count(tokens), &total), FSMOE_OK);
    assert_int_equal(total, map.size);
    fsmoe_tokens_close(tokens);
    fsm_file_map_close(&map);
    fsmoe_tokenizer_destroy(small);
}

static void test_tokens_outside_the_stream_are_refused(void **state)
{
    (void)state;
    fsmoe_tokenizer *bytes = create("bytes");
    const char *path = write_file("three.txt", "abc");
    fsmoe_tokens *tokens = open_stream(&path, 1, bytes);
    static const int64_t ranges[][2] = {{0, 4}, {3, 1}, {4, 0}, {-1, 1}, {0, -1}, {1, INT64_MAX}, {INT64_MAX, 1}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        int32_t ids[4];
        int64_t n_bytes;
        assert_int_equal(fsmoe_tokens_copy(tokens, ranges[i][0], ranges[i][1], ids), FSMOE_ERROR_INTERNAL);
        assert_int_equal(fsmoe_tokens_bytes(tokens, ranges[i][0], ranges[i][1], &n_bytes), FSMOE_ERROR_INTERNAL);
    }
    fsmoe_tokens_close(tokens);
    fsmoe_tokenizer_destroy(bytes);
}

static void test_tokens_useless_inputs_are_refused(void **state)
{
    (void)state;
    fsmoe_tokenizer *bytes = create("bytes");
    fsmoe_tokens *tokens;
    assert_int_equal(fsmoe_tokens_open(NULL, 0, bytes, &tokens), FSMOE_ERROR_CONFIG);
    assert_refused(in_folder("missing.txt"), bytes, FSMOE_ERROR_IO, "No such file");
    assert_refused(in_folder("missing.tokens"), bytes, FSMOE_ERROR_IO, "No such file");
    assert_refused(folder, bytes, FSMOE_ERROR_IO, "folder");
    assert_refused(write_file("empty.txt", ""), bytes, FSMOE_ERROR_FORMAT, "is empty");
    assert_refused(write_file("empty.jsonl", ""), bytes, FSMOE_ERROR_FORMAT, "is empty");
    assert_refused(write_file("empty.tokens", ""), bytes, FSMOE_ERROR_FORMAT, "is empty");
    assert_refused(write_file("none.jsonl", "{\"text\": \"\"}\n"), bytes, FSMOE_ERROR_FORMAT, "no token");
    assert_refused(write_file("bad.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \n"), bytes, FSMOE_ERROR_FORMAT, "line 3");
    assert_refused(write_file("bad.jsonl", "{\"text\": \"a\"}\n{\"body\": \"b\"}\n"), bytes, FSMOE_ERROR_FORMAT,
                   "line 2");
    assert_refused(write_file("bad.jsonl", "{\"text\": 7}\n"), bytes, FSMOE_ERROR_FORMAT, "line 1");
    assert_refused(write_file("bad.jsonl", "[1]\n"), bytes, FSMOE_ERROR_FORMAT, "line 1");
    assert_refused(write_file("bad.jsonl", "{\"text\": \"a\"} x\n"), bytes, FSMOE_ERROR_FORMAT, "line 1");
    fsmoe_tokenizer_destroy(bytes);
}

static void test_tokens_failed_write_leaves_the_old_file(void **state)
{
    (void)state;
    fsmoe_tokenizer *bytes = create("bytes");
    const char *path = write_file("kept.tokens", "FSMOETOK old"), *good = write_file("good.txt", "abc");
    const char *inputs[] = {good, in_folder("missing.txt")};
    assert_int_equal(fsmoe_tokens_write(path, bytes, inputs, 2), FSMOE_ERROR_IO);
    assert_non_null(strstr(fsmoe_last_error(), "missing.txt"));
    char *text;
    size_t size;
    assert_int_equal(fsm_file_read(path, &text, &size), FSMOE_OK);
    assert_string_equal(text, "FSMOETOK old");
    assert_false(fsm_file_exists(in_folder("kept.tokens.tmp-fsmoe")));
    free(text);
    assert_int_equal(fsmoe_tokens_write(in_folder("no/such/folder.tokens"), bytes, inputs, 1), FSMOE_ERROR_IO);
    assert_int_equal(fsmoe_tokens_write(path, bytes, NULL, 0), FSMOE_ERROR_CONFIG);
    fsmoe_tokenizer_destroy(bytes);
}

/* Any one bit changed, any byte cut off or added is noticed. */
static void test_tokens_damaged_files_are_refused(void **state)
{
    (void)state;
    fsmoe_tokenizer *bytes = create("bytes");
    const char *input = write_file("damage.txt", "some text"), *path = in_folder("damage.tokens");
    assert_int_equal(fsmoe_tokens_write(path, bytes, &input, 1), FSMOE_OK);
    char *good;
    size_t size;
    assert_int_equal(fsm_file_read(path, &good, &size), FSMOE_OK);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        good[bit / 8] ^= (char)(1 << bit % 8);
        assert_int_equal(fsm_file_replace(path, good, size), FSMOE_OK);
        const char *word = bit < 64 ? "does not start with" : bit < 96 ? "version" : "checksum";
        assert_refused(path, bytes, FSMOE_ERROR_FORMAT, word);
        good[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t cut = 1; cut < size; cut++) {
        assert_int_equal(fsm_file_replace(path, good, cut), FSMOE_OK);
        assert_refused(path, bytes, FSMOE_ERROR_FORMAT, cut < 8 ? "does not start with" : "truncated");
    }
    assert_int_equal(fsm_file_replace(path, good, size + 1), FSMOE_OK); /* with the 0 byte after it */
    assert_refused(path, bytes, FSMOE_ERROR_FORMAT, "after its last id");
    free(good);
    fsmoe_tokenizer_destroy(bytes);
}

/* Checksums right, an id wrong: nothing may index a table of the vocabulary with it. */
static void test_tokens_ids_outside_the_vocabulary_are_refused(void **state)
{
    (void)state;
    fsmoe_tokenizer *bytes = create("bytes");
    const char *path = in_folder("outside.tokens");
    for (int32_t last = 255; last <= 256; last++) {
        char file[FSM_TOKEN_FILE_HEADER_BYTES + 4];
        fsm_token_header header = fsm_token_header_of(bytes);
        header.count = 2;
        fsm_token_ids_pack((int32_t[]){7, last}, 2, 2, file + FSM_TOKEN_FILE_HEADER_BYTES);
        header.payload_hash = XXH3_64bits(file + FSM_TOKEN_FILE_HEADER_BYTES, 4);
        fsm_token_header_pack(&header, file);
        assert_int_equal(fsm_file_replace(path, file, sizeof file), FSMOE_OK);
        if (last == 256) {
            assert_refused(path, bytes, FSMOE_ERROR_FORMAT, "id 256 at position 1");
        } else {
            fsmoe_tokens *tokens = open_stream(&path, 1, bytes);
            assert_stream(tokens, (int32_t[]){7, 255}, 2);
            fsmoe_tokens_close(tokens);
        }
    }
    fsmoe_tokenizer_destroy(bytes);
}

static void test_tokens_of_another_tokenizer_are_refused(void **state)
{
    (void)state;
    fsmoe_tokenizer *bytes = create("bytes"), *small = create(SMALL), *gpt2 = create("gpt2");
    const char *input = write_file("other.txt", "some text"), *path = in_folder("other.tokens");
    assert_int_equal(fsmoe_tokens_write(path, small, &input, 1), FSMOE_OK);
    assert_refused(path, bytes, FSMOE_ERROR_FORMAT, "has only 256");
    assert_refused(path, gpt2, FSMOE_ERROR_FORMAT, "gives other ids");
    fsmoe_tokenizer_destroy(gpt2);
    fsmoe_tokenizer_destroy(small);
    fsmoe_tokenizer_destroy(bytes);
}

static void test_tokens_sampler_counts_whole_samples(void **state)
{
    (void)state;
    assert_int_equal(fsm_sampler_count(0, 4), 0);
    assert_int_equal(fsm_sampler_count(4, 4), 0); /* the last token lacks its target */
    assert_int_equal(fsm_sampler_count(5, 4), 1);
    assert_int_equal(fsm_sampler_count(8, 4), 1);
    assert_int_equal(fsm_sampler_count(9, 4), 2);
    fsm_sampler sampler;
    assert_int_equal(fsm_sampler_create(1, true, 0, &sampler), FSMOE_ERROR_CONFIG);
}

static void test_tokens_sampler_without_shuffle_counts_up(void **state)
{
    (void)state;
    fsm_sampler sampler;
    assert_int_equal(fsm_sampler_create(1, false, 7, &sampler), FSMOE_OK);
    for (int64_t i = 0; i < 30; i++) assert_int_equal(fsm_sampler_sample(&sampler, i), i % 7);
    fsm_sampler_destroy(&sampler);
}

static void test_tokens_sampler_passes_are_permutations(void **state)
{
    (void)state;
    enum { N = 101, PASSES = 5 };
    int64_t order[PASSES * N];
    fsm_sampler sampler;
    assert_int_equal(fsm_sampler_create(3, true, N, &sampler), FSMOE_OK);
    for (int64_t i = 0; i < PASSES * N; i++) order[i] = fsm_sampler_sample(&sampler, i);
    for (int pass = 0; pass < PASSES; pass++) {
        bool seen[N] = {false};
        for (int i = 0; i < N; i++) {
            int64_t sample = order[pass * N + i];
            assert_in_range(sample, 0, N - 1);
            assert_false(seen[sample]);
            seen[sample] = true;
        }
        if (pass > 0) assert_memory_not_equal(order + pass * N, order, sizeof order / PASSES);
    }
    /* Random access, backwards and across passes, gives the same. */
    for (int64_t i = PASSES * N - 1; i >= 0; i--) {
        int64_t j = i * 37 % (PASSES * N);
        assert_int_equal(fsm_sampler_sample(&sampler, j), order[j]);
    }
    fsm_sampler_destroy(&sampler);

    int64_t same = 0;
    assert_int_equal(fsm_sampler_create(4, true, N, &sampler), FSMOE_OK);
    for (int64_t i = 0; i < N; i++) same += fsm_sampler_sample(&sampler, i) == order[i];
    assert_true(same < N / 4); /* another seed, another order */
    fsm_sampler_destroy(&sampler);
}

/* All 24 orders of 4 samples, over 24000 passes: chi-square with 23 degrees of freedom, below 49.7 at p = 0.001. */
static void test_tokens_sampler_permutations_are_uniform(void **state)
{
    (void)state;
    enum { PASSES = 24000 };
    int seen[256] = {0}, n_orders = 0;
    double chi_square = 0;
    fsm_sampler sampler;
    assert_int_equal(fsm_sampler_create(5, true, 4, &sampler), FSMOE_OK);
    for (int64_t pass = 0; pass < PASSES; pass++) {
        int code = 0;
        for (int64_t i = 0; i < 4; i++) code = code * 4 + (int)fsm_sampler_sample(&sampler, 4 * pass + i);
        seen[code]++;
    }
    fsm_sampler_destroy(&sampler);
    for (int code = 0; code < 256; code++) {
        if (seen[code] == 0) continue;
        n_orders++;
        chi_square += (seen[code] - PASSES / 24.0) * (seen[code] - PASSES / 24.0) / (PASSES / 24.0);
    }
    assert_int_equal(n_orders, 24);
    assert_true(chi_square < 49.7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens_text_is_its_ids),
        cmocka_unit_test(test_tokens_jsonl_documents_end_in_end_of_text),
        cmocka_unit_test(test_tokens_inputs_follow_each_other),
        cmocka_unit_test(test_tokens_written_file_reads_back),
        cmocka_unit_test(test_tokens_large_vocabularies_take_four_bytes),
        cmocka_unit_test(test_tokens_bytes_are_those_of_the_text),
        cmocka_unit_test(test_tokens_outside_the_stream_are_refused),
        cmocka_unit_test(test_tokens_useless_inputs_are_refused),
        cmocka_unit_test(test_tokens_failed_write_leaves_the_old_file),
        cmocka_unit_test(test_tokens_damaged_files_are_refused),
        cmocka_unit_test(test_tokens_ids_outside_the_vocabulary_are_refused),
        cmocka_unit_test(test_tokens_of_another_tokenizer_are_refused),
        cmocka_unit_test(test_tokens_sampler_counts_whole_samples),
        cmocka_unit_test(test_tokens_sampler_without_shuffle_counts_up),
        cmocka_unit_test(test_tokens_sampler_passes_are_permutations),
        cmocka_unit_test(test_tokens_sampler_permutations_are_uniform),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
