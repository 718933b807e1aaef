/* Tokenizers against ids recorded from other implementations (tests/golden/make_tokenizer.py), and round trips. */
#include <fsmoe/tokenizer.h>

#include "base/file.h"
#include "base/rng.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GOLDEN FSMOE_TEST_DATA "/golden/"

static char folder[] = "/tmp/fsmoe-tokenizer-XXXXXX";

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

static void write_file(const char *name, const char *text)
{
    char *path = fsm_file_join(folder, name);
    assert_int_equal(fsm_file_replace(path, text, strlen(text)), FSMOE_OK);
    free(path);
}

static fsmoe_tokenizer *create(const char *name)
{
    fsmoe_tokenizer *tokenizer;
    if (fsmoe_tokenizer_create(name, &tokenizer) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    return tokenizer;
}

static void assert_round_trip(fsmoe_tokenizer *tokenizer, const char *bytes, size_t size)
{
    int32_t *ids;
    char *back;
    size_t count, back_size;
    assert_int_equal(fsmoe_tokenizer_encode(tokenizer, bytes, size, &ids, &count), FSMOE_OK);
    assert_int_equal(fsmoe_tokenizer_decode(tokenizer, ids, count, &back, &back_size), FSMOE_OK);
    assert_int_equal(back_size, size);
    assert_memory_equal(back, bytes, size);
    assert_int_equal(back[back_size], 0);
    free(back);
    free(ids);
}

static void assert_ids(fsmoe_tokenizer *tokenizer, const char *bytes, size_t size, const json_t *expected)
{
    int32_t *ids;
    size_t count;
    assert_int_equal(fsmoe_tokenizer_encode(tokenizer, bytes, size, &ids, &count), FSMOE_OK);
    size_t common = count < json_array_size(expected) ? count : json_array_size(expected);
    for (size_t i = 0; i < common; i++)
        if (ids[i] != json_integer_value(json_array_get(expected, i)))
            fail_msg("id %zu of '%.200s' is %d, not %d", i, bytes, (int)ids[i],
                     (int)json_integer_value(json_array_get(expected, i)));
    assert_int_equal(count, json_array_size(expected));
    free(ids);
}

/* Checks every recorded string; the first line of the file names versions. Returns how many there were. */
static size_t check_golden(fsmoe_tokenizer *tokenizer, const char *path)
{
    char *lines;
    size_t size, n = 0;
    assert_int_equal(fsm_file_read(path, &lines, &size), FSMOE_OK);
    for (char *line = strchr(lines, '\n') + 1; *line; n++) {
        char *stop = strchr(line, '\n');
        json_t *golden = json_loadb(line, (size_t)(stop - line), JSON_ALLOW_NUL, NULL);
        assert_non_null(golden);
        const json_t *text = json_object_get(golden, "text");
        assert_ids(tokenizer, json_string_value(text), json_string_length(text), json_object_get(golden, "ids"));
        assert_round_trip(tokenizer, json_string_value(text), json_string_length(text));
        json_decref(golden);
        line = stop + 1;
    }
    free(lines);
    return n;
}

static void test_tokenizer_gpt2_gives_recorded_ids(void **state)
{
    (void)state;
    fsmoe_tokenizer *gpt2 = create("gpt2");
    assert_int_equal(fsmoe_tokenizer_vocab_size(gpt2), 50257);
    assert_int_equal(fsmoe_tokenizer_end_of_text(gpt2), 50256);
    assert_string_equal(fsmoe_tokenizer_name(gpt2), "gpt2");
    assert_true(check_golden(gpt2, GOLDEN "tokenizer.gpt2.jsonl") >= 1000);
    fsmoe_tokenizer_destroy(gpt2);
}

static void test_tokenizer_json_gives_recorded_ids(void **state)
{
    (void)state;
    fsmoe_tokenizer *small = create(GOLDEN "tokenizer.small.json");
    assert_int_equal(fsmoe_tokenizer_vocab_size(small), 705);
    assert_int_equal(fsmoe_tokenizer_end_of_text(small), 0);
    assert_true(check_golden(small, GOLDEN "tokenizer.small.jsonl") >= 500);
    fsmoe_tokenizer_destroy(small);
}

/* The small tokenizer with its merges spelled "a b", as older files do, in a folder. */
static void test_tokenizer_json_reads_merges_of_either_spelling(void **state)
{
    (void)state;
    json_t *root = json_load_file(GOLDEN "tokenizer.small.json", 0, NULL);
    json_t *merges = json_object_get(json_object_get(root, "model"), "merges");
    assert_true(json_is_array(json_array_get(merges, 0)));
    for (size_t i = 0; i < json_array_size(merges); i++) {
        const json_t *pair = json_array_get(merges, i);
        json_array_set_new(merges, i,
                           json_sprintf("%s %s", json_string_value(json_array_get(pair, 0)),
                                        json_string_value(json_array_get(pair, 1))));
    }
    char *path = fsm_file_join(folder, "tokenizer.json");
    assert_int_equal(json_dump_file(root, path, 0), 0);
    fsmoe_tokenizer *small = create(folder);
    check_golden(small, GOLDEN "tokenizer.small.jsonl");
    fsmoe_tokenizer_destroy(small);
    assert_int_equal(unlink(path), 0);
    free(path);
    json_decref(root);
}

static void test_tokenizer_folder_with_vocab_and_merges_is_read(void **state)
{
    (void)state;
    const char *const names[][2] = {{"encoder.json", "vocab.json"}, {"vocab.bpe", "merges.txt"}};
    char *links[2];
    for (int i = 0; i < 2; i++) {
        char *from = fsm_file_join(FSMOE_SOURCE_DIR "/data/gpt2", names[i][0]);
        links[i] = fsm_file_join(folder, names[i][1]);
        assert_int_equal(symlink(from, links[i]), 0);
        free(from);
    }
    fsmoe_tokenizer *tokenizer = create(folder);
    assert_int_equal(fsmoe_tokenizer_vocab_size(tokenizer), 50257);
    check_golden(tokenizer, GOLDEN "tokenizer.gpt2.jsonl");
    fsmoe_tokenizer_destroy(tokenizer);
    for (int i = 0; i < 2; i++) {
        unlink(links[i]);
        free(links[i]);
    }
}

static void test_tokenizer_gpt2_is_found_by_the_environment(void **state)
{
    (void)state;
    char *gpt2 = fsm_file_join(folder, "gpt2"), *vocab = fsm_file_join(gpt2, "encoder.json");
    char *merges = fsm_file_join(gpt2, "vocab.bpe");
    fsmoe_tokenizer *tokenizer;
    assert_int_equal(fsm_file_make_dirs(gpt2), FSMOE_OK);
    assert_int_equal(fsm_file_replace(vocab, "{\"a\": 0}", 8), FSMOE_OK);
    assert_int_equal(fsm_file_replace(merges, "", 0), FSMOE_OK);
    setenv("FSMOE_DATA", folder, 1);
    assert_int_equal(fsmoe_tokenizer_create("gpt2", &tokenizer), FSMOE_ERROR_FORMAT);
    assert_non_null(strstr(fsmoe_last_error(), vocab));
    unsetenv("FSMOE_DATA");
    fsm_file_remove_tree(gpt2);
    free(merges);
    free(vocab);
    free(gpt2);
}

static void test_tokenizer_bytes_are_themselves(void **state)
{
    (void)state;
    fsmoe_tokenizer *tokenizer = create("bytes");
    int32_t *ids;
    size_t count;
    char all[256];
    for (int i = 0; i < 256; i++) all[i] = (char)i;
    assert_int_equal(fsmoe_tokenizer_vocab_size(tokenizer), 256);
    assert_int_equal(fsmoe_tokenizer_end_of_text(tokenizer), -1);
    assert_int_equal(fsmoe_tokenizer_encode(tokenizer, all, sizeof all, &ids, &count), FSMOE_OK);
    assert_int_equal(count, 256);
    for (int i = 0; i < 256; i++) assert_int_equal(ids[i], i);
    assert_round_trip(tokenizer, all, sizeof all);
    free(ids);
    fsmoe_tokenizer_destroy(tokenizer);
}

static void test_tokenizer_any_bytes_come_back(void **state)
{
    (void)state;
    static const char *const names[] = {"bytes", "gpt2", GOLDEN "tokenizer.small.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        fsmoe_tokenizer *tokenizer = create(names[i]);
        for (uint64_t round = 0; round < 300; round++) {
            char bytes[512];
            size_t size = (size_t)(fsm_rng_bits(7, FSM_RNG_TEST, round) % sizeof bytes);
            /* A third of the rounds is mostly text, so that bad bytes meet words and spaces. */
            for (size_t j = 0; j < size; j++) {
                uint64_t bits = fsm_rng_bits(7, FSM_RNG_TEST + 1, round << 32 | j);
                bytes[j] = round % 3 == 0 && bits >> 60 ? "the end '\xC3\xA9"[bits % 11] : (char)bits;
            }
            assert_round_trip(tokenizer, bytes, size);
        }
        fsmoe_tokenizer_destroy(tokenizer);
    }
}

static void test_tokenizer_truncated_utf8_comes_back(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "caf\xC3\xA9 \xE4\xB8\xAD\xE6\x96\x87 \xF0\x9F\x98\x80!",
        "\xC0\x80 overlong \xE0\x80\x80",
        "\xED\xA0\x80 surrogate",
        "\xF4\x90\x80\x80 too large",
        "\xFF\xFE\xFD",
        "a\x80\x80\x80z",
        " \xE4\xB8 \xE4 \x80 ",
        "\xF8\x88\x80\x80\x80",
    };
    fsmoe_tokenizer *gpt2 = create("gpt2");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (size_t first = 0; first <= strlen(texts[i]); first++)
            for (size_t size = 0; first + size <= strlen(texts[i]); size++)
                assert_round_trip(gpt2, texts[i] + first, size);
    fsmoe_tokenizer_destroy(gpt2);
}

/* A bad byte ends the text before it: "a  " keeps both spaces together, as it would at the end. */
static void test_tokenizer_bad_bytes_stand_apart(void **state)
{
    (void)state;
    fsmoe_tokenizer *gpt2 = create("gpt2");
    int32_t *whole, *parts[3];
    size_t count, counts[3], at = 0;
    const char *texts[] = {"the end  ", "\xC3\xFF\x80", "'s over"};
    assert_int_equal(fsmoe_tokenizer_encode(gpt2, "the end  \xC3\xFF\x80's over", 19, &whole, &count), FSMOE_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(fsmoe_tokenizer_encode(gpt2, texts[i], strlen(texts[i]), &parts[i], &counts[i]), FSMOE_OK);
        assert_true(at + counts[i] <= count);
        assert_memory_equal(whole + at, parts[i], counts[i] * sizeof *whole);
        at += counts[i];
        free(parts[i]);
    }
    assert_int_equal(at, count);
    free(whole);
    fsmoe_tokenizer_destroy(gpt2);
}

/* Megabytes of one letter, of spaces, of bad bytes: quadratic work would run into the test's time limit. */
static void test_tokenizer_long_runs_come_back(void **state)
{
    (void)state;
    fsmoe_tokenizer *gpt2 = create("gpt2");
    enum { SIZE = 4000000 };
    char *bytes = malloc(SIZE);
    assert_non_null(bytes);
    for (const char *byte = "a \n!\x80"; *byte; byte++) {
        memset(bytes, *byte, SIZE);
        bytes[SIZE - 1] = 'z';
        assert_round_trip(gpt2, bytes, SIZE);
    }
    for (size_t i = 0; i < SIZE; i++) bytes[i] = i % 2 ? 'a' : '\xFF';
    assert_round_trip(gpt2, bytes, SIZE);
    free(bytes);
    fsmoe_tokenizer_destroy(gpt2);
}

static void test_tokenizer_novels_come_back(void **state)
{
    (void)state;
    fsmoe_tokenizer *gpt2 = create("gpt2");
    char *text;
    size_t size;
    assert_int_equal(fsm_file_read(FSMOE_SOURCE_DIR "/data/austen/emma.txt", &text, &size), FSMOE_OK);
    assert_round_trip(gpt2, text, size);
    free(text);
    fsmoe_tokenizer_destroy(gpt2);
}

static void test_tokenizer_decode_refuses_ids_without_token(void **state)
{
    (void)state;
    fsmoe_tokenizer *tokenizer = create("bytes");
    char *bytes;
    size_t size;
    assert_int_equal(fsmoe_tokenizer_decode(tokenizer, (int32_t[]){65, 256}, 2, &bytes, &size), FSMOE_ERROR_FORMAT);
    assert_non_null(strstr(fsmoe_last_error(), "256"));
    assert_int_equal(fsmoe_tokenizer_decode(tokenizer, (int32_t[]){-1}, 1, &bytes, &size), FSMOE_ERROR_FORMAT);
    fsmoe_tokenizer_destroy(tokenizer);
}

static void assert_refused(const char *name, fsmoe_status expected, const char *word)
{
    fsmoe_tokenizer *tokenizer;
    fsmoe_status status = fsmoe_tokenizer_create(name, &tokenizer);
    if (status != expected || !strstr(fsmoe_last_error(), word))
        fail_msg("'%s' with '%s' expected: status %d, %s", name, word, (int)status, fsmoe_last_error());
    assert_null(tokenizer);
}

static void test_tokenizer_unknown_names_are_refused(void **state)
{
    (void)state;
    assert_refused("gpt3", FSMOE_ERROR_CONFIG, "gpt3");
    assert_refused(folder, FSMOE_ERROR_CONFIG, "tokenizer.json");
}

/* Each setting that changes ids and is not done here, put into the small tokenizer, is refused by name. */
static void test_tokenizer_json_unsupported_settings_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *object, *key, *value;
        fsmoe_status status;
        const char *word;
    } cases[] = {
        {NULL, "normalizer", "{\"type\": \"NFC\"}", FSMOE_ERROR_UNSUPPORTED, "normalizer"},
        {NULL, "truncation", "{\"max_length\": 5}", FSMOE_ERROR_UNSUPPORTED, "truncation"},
        {NULL, "padding", "{\"pad_id\": 0}", FSMOE_ERROR_UNSUPPORTED, "padding"},
        {NULL, "pre_tokenizer", "{\"type\": \"Whitespace\"}", FSMOE_ERROR_UNSUPPORTED, "pre_tokenizer.type"},
        {NULL, "pre_tokenizer", "null", FSMOE_ERROR_UNSUPPORTED, "pre_tokenizer.type"},
        {NULL, "decoder", "{\"type\": \"WordPiece\"}", FSMOE_ERROR_UNSUPPORTED, "decoder.type"},
        {NULL, "post_processor", "{\"type\": \"TemplateProcessing\"}", FSMOE_ERROR_UNSUPPORTED, "post_processor.type"},
        {NULL, "model", "{\"type\": \"Unigram\"}", FSMOE_ERROR_UNSUPPORTED, "model.type"},
        {NULL, "model", "null", FSMOE_ERROR_FORMAT, "model"},
        {NULL, "added_tokens", "[{\"id\": 3, \"content\": \"\"}]", FSMOE_ERROR_FORMAT, "added_tokens[0]"},
        {NULL, "added_tokens", "[{\"id\": 3, \"content\": \"x\", \"lstrip\": true}]", FSMOE_ERROR_UNSUPPORTED,
         "lstrip"},
        {NULL, "added_tokens", "[{\"id\": -3, \"content\": \"x\"}]", FSMOE_ERROR_FORMAT, "-3"},
        {"pre_tokenizer", "add_prefix_space", "true", FSMOE_ERROR_UNSUPPORTED, "add_prefix_space"},
        {"pre_tokenizer", "use_regex", "false", FSMOE_ERROR_UNSUPPORTED, "use_regex"},
        {"model", "dropout", "0.1", FSMOE_ERROR_UNSUPPORTED, "model.dropout"},
        {"model", "unk_token", "\"<unk>\"", FSMOE_ERROR_UNSUPPORTED, "model.unk_token"},
        {"model", "byte_fallback", "true", FSMOE_ERROR_UNSUPPORTED, "model.byte_fallback"},
        {"model", "ignore_merges", "true", FSMOE_ERROR_UNSUPPORTED, "model.ignore_merges"},
        {"model", "continuing_subword_prefix", "\"##\"", FSMOE_ERROR_UNSUPPORTED, "continuing_subword_prefix"},
        {"model", "merges", "[[\"a\", \"b\", \"c\"]]", FSMOE_ERROR_FORMAT, "merges[0]"},
        {"model", "merges", "[[\"t\", \"h\"], [\"z\", \"q\"]]", FSMOE_ERROR_FORMAT, "zq"},
        {"model", "merges", "7", FSMOE_ERROR_FORMAT, "merges"},
        {"model", "vocab", "{\"a\": 1}", FSMOE_ERROR_FORMAT, "byte 0x00"},
        {"model", "vocab", "{\"a\": \"b\"}", FSMOE_ERROR_FORMAT, "'a'"},
        {"model", "vocab", "{\"a\": 1, \"b\": 1}", FSMOE_ERROR_FORMAT, "another"},
    };
    char *path = fsm_file_join(folder, "changed.json");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *root = json_load_file(GOLDEN "tokenizer.small.json", 0, NULL);
        json_t *object = cases[i].object ? json_object_get(root, cases[i].object) : root;
        json_object_set_new(object, cases[i].key, json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
        assert_int_equal(json_dump_file(root, path, 0), 0);
        json_decref(root);
        assert_refused(path, cases[i].status, cases[i].word);
        assert_non_null(strstr(fsmoe_last_error(), path));
    }
    free(path);
}

static void test_tokenizer_malformed_files_are_refused(void **state)
{
    (void)state;
    char *path = fsm_file_join(folder, "broken.json");
    write_file("broken.json", "{\"model\":\n {");
    assert_refused(path, FSMOE_ERROR_FORMAT, "line 2");
    write_file("broken.json", "");
    assert_refused(path, FSMOE_ERROR_FORMAT, path);
    free(path);

    char *link = fsm_file_join(folder, "encoder.json"), *merges = fsm_file_join(folder, "vocab.bpe");
    assert_int_equal(symlink(FSMOE_SOURCE_DIR "/data/gpt2/encoder.json", link), 0);
    write_file("vocab.bpe", "#version: 0.2\nt h\nth e x\n");
    assert_refused(folder, FSMOE_ERROR_FORMAT, "line 3");
    write_file("vocab.bpe", "#version: 0.2\nt h\nqzqz th\n");
    assert_refused(folder, FSMOE_ERROR_FORMAT, "qzqz");
    unlink(link);
    unlink(merges);
    free(link);
    free(merges);
}

/* What a pair of files does not say, and the files beside it do. */
static void test_tokenizer_pair_with_settings_of_another_kind_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text;
        fsmoe_status status; /* OK: it is read all the same */
        const char *word;
    } cases[] = {
        {"tokenizer_config.json", "{\"tokenizer_class\": \"GPT2Tokenizer\", \"add_prefix_space\": false}", FSMOE_OK,
         ""},
        {"tokenizer_config.json", "{\"model_max_length\": 1024}", FSMOE_OK, ""},
        {"tokenizer_config.json", "{\"tokenizer_class\": \"Qwen2Tokenizer\"}", FSMOE_ERROR_UNSUPPORTED,
         "Qwen2Tokenizer"},
        {"tokenizer_config.json", "{\"add_prefix_space\": true}", FSMOE_ERROR_UNSUPPORTED, "add_prefix_space"},
        {"tokenizer_config.json", "{", FSMOE_ERROR_FORMAT, "tokenizer_config.json"},
        {"added_tokens.json", "{\"<|endoftext|>\": 50256}", FSMOE_OK, ""},
        {"added_tokens.json", "{\"<|im_start|>\": 50257}", FSMOE_ERROR_UNSUPPORTED, "<|im_start|>"},
        {"added_tokens.json", "{\"<|im_start|>\": 50256}", FSMOE_ERROR_UNSUPPORTED, "<|im_start|>"},
    };
    char *vocab = fsm_file_join(folder, "vocab.json"), *merges = fsm_file_join(folder, "merges.txt");
    assert_int_equal(symlink(FSMOE_SOURCE_DIR "/data/gpt2/encoder.json", vocab), 0);
    assert_int_equal(symlink(FSMOE_SOURCE_DIR "/data/gpt2/vocab.bpe", merges), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = fsm_file_join(folder, cases[i].name);
        write_file(cases[i].name, cases[i].text);
        if (cases[i].status == FSMOE_OK) fsmoe_tokenizer_destroy(create(folder));
        else assert_refused(folder, cases[i].status, cases[i].word);
        assert_int_equal(unlink(path), 0);
        free(path);
    }
    unlink(vocab);
    unlink(merges);
    free(merges);
    free(vocab);
}

/* What is no vocabulary at all is refused by what it is, wherever one is expected. */
static void test_tokenizer_files_of_other_formats_are_refused_by_name(void **state)
{
    (void)state;
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n";
    static const char piece[] = "\n\x0E\n\x05<unk>\x15\x01\x01\x01\x01";
    char *model = fsm_file_join(folder, "tokenizer.model"), *json = fsm_file_join(folder, "tokenizer.json");
    write_file("tokenizer.model", piece);
    assert_refused(model, FSMOE_ERROR_UNSUPPORTED, "a SentencePiece model");
    assert_refused(folder, FSMOE_ERROR_UNSUPPORTED, "tokenizer.model");
    write_file("tokenizer.json", pointer);
    assert_refused(json, FSMOE_ERROR_UNSUPPORTED, "a Git LFS pointer");
    assert_refused(folder, FSMOE_ERROR_UNSUPPORTED, "a Git LFS pointer");
    unlink(json);
    unlink(model);
    char *link = fsm_file_join(folder, "vocab.json"), *merges = fsm_file_join(folder, "merges.txt");
    assert_int_equal(symlink(FSMOE_SOURCE_DIR "/data/gpt2/encoder.json", link), 0);
    write_file("merges.txt", pointer);
    assert_refused(folder, FSMOE_ERROR_UNSUPPORTED, "a Git LFS pointer");
    unlink(link);
    unlink(merges);
    free(merges);
    free(link);
    free(json);
    free(model);
}

/* A vocabulary over several lines with a token "text" is no document. */
static void test_tokenizer_vocabulary_with_a_token_text_is_read(void **state)
{
    (void)state;
    json_t *vocab = json_load_file(FSMOE_SOURCE_DIR "/data/gpt2/encoder.json", 0, NULL);
    assert_non_null(json_object_get(vocab, "text"));
    char *path = fsm_file_join(folder, "vocab.json"), *merges = fsm_file_join(folder, "merges.txt");
    assert_int_equal(json_dump_file(vocab, path, JSON_INDENT(1)), 0);
    assert_int_equal(symlink(FSMOE_SOURCE_DIR "/data/gpt2/vocab.bpe", merges), 0);
    fsmoe_tokenizer_destroy(create(folder));
    unlink(path);
    unlink(merges);
    free(merges);
    free(path);
    json_decref(vocab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer_gpt2_gives_recorded_ids),
        cmocka_unit_test(test_tokenizer_json_gives_recorded_ids),
        cmocka_unit_test(test_tokenizer_json_reads_merges_of_either_spelling),
        cmocka_unit_test(test_tokenizer_folder_with_vocab_and_merges_is_read),
        cmocka_unit_test(test_tokenizer_gpt2_is_found_by_the_environment),
        cmocka_unit_test(test_tokenizer_bytes_are_themselves),
        cmocka_unit_test(test_tokenizer_any_bytes_come_back),
        cmocka_unit_test(test_tokenizer_truncated_utf8_comes_back),
        cmocka_unit_test(test_tokenizer_bad_bytes_stand_apart),
        cmocka_unit_test(test_tokenizer_long_runs_come_back),
        cmocka_unit_test(test_tokenizer_novels_come_back),
        cmocka_unit_test(test_tokenizer_decode_refuses_ids_without_token),
        cmocka_unit_test(test_tokenizer_unknown_names_are_refused),
        cmocka_unit_test(test_tokenizer_json_unsupported_settings_are_refused),
        cmocka_unit_test(test_tokenizer_malformed_files_are_refused),
        cmocka_unit_test(test_tokenizer_pair_with_settings_of_another_kind_is_refused),
        cmocka_unit_test(test_tokenizer_files_of_other_formats_are_refused_by_name),
        cmocka_unit_test(test_tokenizer_vocabulary_with_a_token_text_is_read),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
