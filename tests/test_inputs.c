/* What files are by their bytes: every format of the table is refused by name, by library and command, and nothing is
 * written; texts that look a little like one are the texts they are; JSON lines are read whatever they are called. */
#include "command_case.h"

#include <fsmoe/tokens.h>

#include "tokens/input.h"
#include "tokens/json_look.h"
#include "tokens/signature.h"
#include "tokens/utf8.h"

#include <stdbool.h>
#include <sys/stat.h>

#define BYTES(text) text, sizeof(text) - 1
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* ---- what is refused ---- */

static const struct {
    const char *bytes;
    size_t size;
    const char *is; /* in the message */
} formats[] = {
    {BYTES("\x1F\x8B\x08\0\0\0\0\0\0\x03"), "compressed with gzip"},
    {BYTES("\x28\xB5\x2F\xFD\x24\x05"), "compressed with zstd"},
    {BYTES("\x50\x2A\x4D\x18\x04\0\0\0"), "compressed with zstd"},
    {BYTES("BZh91AY&SY\x12\x34"), "compressed with bzip2"},
    {BYTES("BZh9\x17\x72\x45\x38\x50\x90\0\0\0\0"), "compressed with bzip2"},
    {BYTES("\xFD\x37zXZ\0\0\x04"), "compressed with xz"},
    {BYTES("\x5D\0\0\x80\0\xFF\xFF"), "compressed with lzma"},
    {BYTES("\x04\x22\x4D\x18\x64"), "compressed with lz4"},
    {BYTES("\xFF\x06\0\0sNaPpY\0"), "compressed with snappy"},
    {BYTES("\x1F\x9D\x90text"), "compressed with compress"},
    {BYTES("PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0archive/data.pkl"), "a PyTorch file"},
    {BYTES("PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0x.npy\x93NUMPY"), "a NumPy archive"},
    {BYTES("PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0x.txttext"), "a zip archive"},
    {BYTES("PK\x03\x04"), "a zip archive"},
    {BYTES("PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), "an empty zip archive"},
    {BYTES("7z\xBC\xAF\x27\x1C\0\x04"), "a 7z archive"},
    {BYTES("Rar!\x1A\x07\x01\0"), "a rar archive"},
    {BYTES("PAR1\x15\x04\x15\x10PAR1"), "a Parquet file"},
    {BYTES("PARE\x15\x04\x15\x10PARE"), "an encrypted Parquet file"},
    {BYTES("ARROW1\0\0\xFF\xFF\xFF\xFF"), "an Arrow file"},
    {BYTES("FEA1\0\0\0\0text"), "a Feather file"},
    {BYTES("\xFF\xFF\xFF\xFF\x78\x01\0\0\x10\0"), "an Arrow stream"},
    {BYTES("ORC\x0A\x03\0\0\0"), "an ORC file"},
    {BYTES("Obj\x01\x04\x14"
           "avro.codec"),
     "an Avro file"},
    {BYTES("SQLite format 3\0\x10"), "an SQLite database"},
    {BYTES("\x89HDF\r\n\x1A\n\0"), "an HDF5 file"},
    {BYTES("\x08\0\0\0\0\0\0\0{\"a\": 1}"), "a safetensors file"},
    {BYTES("GGUF\x03\0\0\0"), "a GGUF file"},
    {BYTES("\x80\x04\x95\x10\0"), "a Python pickle"},
    {BYTES("\x93NUMPY\x01\0v\0{'descr': '<u2'}"), "a NumPy array"},
    {BYTES("\x88\xD8\x34\x01\x01\0\0\0\x10\0\0\0"), "a token file of llm.c (GPT-2)"},
    {BYTES("\xA1\xD9\x34\x01\x07\0\0\0\x10\0\0\0"), "a token file of llm.c (Llama 3)"},
    {BYTES("MMIDIDX\0\0\x01\0\0\0"), "a Megatron index"},
    {BYTES("TNTIDX\0\0\x01\0\0\0"), "a Megatron index"},
    {BYTES("\n\x0E\n\x05<unk>\x15\0\0\0\0\x18\x02\n\x0A\n\x01"), "a SentencePiece model"},
    {BYTES("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"), "a Git LFS pointer"},
    {BYTES("/annex/objects/SHA256E-s3--00.txt\n"), "a git-annex pointer"},
    {BYTES("%PDF-1.7\n"), "a PDF document"},
    {BYTES("\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1\0\0"), "an Office document"},
    {BYTES("[{\"text\": \"a\"}, {\"text\": \"b\"}]\n"), "a JSON array"},
    {BYTES("\xEF\xBB\xBF\n[\n  {\n    \"id\": [1, \"}\"],\n    \"text\": \"a\"\n  }\n]\n"), "a JSON array"},
    {BYTES("{\n  \"text\": \"a\"\n}\n"), "a JSON object over several lines"},
    {BYTES("\xFF\xFE\0\0a\0\0\0b\0\0\0"), "text in UTF-32"},
    {BYTES("\0\0\xFE\xFF\0\0\0a\0\0\0b"), "text in UTF-32"},
    {BYTES("\xFF\xFE"
           "a\0b\0"),
     "text in UTF-16"},
    {BYTES("\xFE\xFF\0a\0b"), "text in UTF-16"},
    {BYTES("a\0\0\0b\0\0\0\n\0\0\0"), "text in UTF-32 (little-endian)"},
    {BYTES("\0\0\0a\0\0\0b\0\0\0\n"), "text in UTF-32 (big-endian)"},
    {BYTES("a\0b\0\n\0"), "text in UTF-16 (little-endian)"},
    {BYTES("\0a\0b\0\n"), "text in UTF-16 (big-endian)"},
    {BYTES("\x50\xC4\x88\x3C\xE3\x03\x0B\0"), "nanoGPT"},           /* GPT-2's ids, 2 bytes each */
    {BYTES("\x12\0\x2F\0\x38\0\x01\0\x27\0"), "nanoGPT"},           /* ids of characters, 2 bytes */
    {BYTES("\x50\xC4\0\0\x88\x3C\0\0\xE3\x03\0\0"), "nanoGPT"},     /* 4 bytes */
    {BYTES("\x12\x2F\x38\x01\x27\x0C\x01\x3A\x01\x01"), "nanoGPT"}, /* 1 byte */
    {BYTES("\0"), "nanoGPT"},
};

/* "x.bin" stands in for any name that promises nothing. */
static void assert_format_is_refused(const command_case *c, fsmoe_tokenizer *bytes, const char *data, size_t size,
                                     const char *is)
{
    char path[FSM_PATH_BYTES];
    const char *file = path_in(c, "x.bin", path);
    fsmoe_tokens *tokens;
    write_text(c, "x.bin", data, size);
    fsmoe_status status = fsmoe_tokens_open(&file, 1, bytes, &tokens);
    if (status != FSMOE_ERROR_UNSUPPORTED) fail_msg("%s is not refused: %s", is, fsmoe_last_error());
    assert_null(tokens);
    if (!strstr(fsmoe_last_error(), is) || !strstr(fsmoe_last_error(), "x.bin"))
        fail_msg("no '%s' in: %s", is, fsmoe_last_error());
    assert_fails(run(c, ARGS("tokenize", "--tokenizer", "bytes", "train.txt", "x.bin", "out.tokens")),
                 FSMOE_ERROR_UNSUPPORTED, ARGS(is, "x.bin"));
    assert_int_equal(count_matches(c, "out.tokens*"), 0);
}

static fsmoe_tokenizer *create_bytes(void)
{
    fsmoe_tokenizer *bytes;
    assert_int_equal(fsmoe_tokenizer_create("bytes", &bytes), FSMOE_OK);
    return bytes;
}

static void test_inputs_of_every_format_are_refused_by_name(void **state)
{
    const command_case *c = *state;
    fsmoe_tokenizer *bytes = create_bytes();
    bool tried[256] = {false};
    for (size_t i = 0; i < COUNT_OF(formats); i++) {
        assert_format_is_refused(c, bytes, formats[i].bytes, formats[i].size, formats[i].is);
        tried[fsm_signature_find(formats[i].bytes, formats[i].size) - fsm_signatures] = true;
    }
    char tar[512] = "name.txt";
    memcpy(tar + 257, "ustar", 6);
    assert_format_is_refused(c, bytes, tar, sizeof tar, "a tar archive");
    tried[fsm_signature_find(tar, sizeof tar) - fsm_signatures] = true;
    for (size_t i = 0; i < fsm_signature_count; i++)
        if (!tried[i]) fail_msg("no file of this test is %s (row %zu)", fsm_signatures[i].name, i);
    fsmoe_tokenizer_destroy(bytes);
}

static void test_inputs_of_every_format_are_refused_under_any_name(void **state)
{
    const command_case *c = *state;
    static const char *const names[] = {"x.txt", "x.jsonl", "x.json", "x.tokens", "x"};
    fsmoe_tokenizer *bytes = create_bytes();
    for (size_t i = 0; i < COUNT_OF(formats); i++)
        for (size_t j = 0; j < COUNT_OF(names); j++) {
            char path[FSM_PATH_BYTES];
            const char *file = path_in(c, names[j], path);
            fsmoe_tokens *tokens;
            write_text(c, names[j], formats[i].bytes, formats[i].size);
            if (fsmoe_tokens_open(&file, 1, bytes, &tokens) == FSMOE_OK)
                fail_msg("'%s' is read though it is %s", names[j], formats[i].is);
        }
    fsmoe_tokenizer_destroy(bytes);
}

static void test_inputs_of_other_formats_do_not_train(void **state)
{
    const command_case *c = *state;
    write_text(c, "x.parquet", BYTES("PAR1\x15\x04\x15\x10PAR1"));
    assert_fails(run(c, ARGS("train", "config.yaml", "--set", "data.train=[train.txt, x.parquet]")),
                 FSMOE_ERROR_UNSUPPORTED, ARGS("data.train", "x.parquet", "a Parquet file"));
    assert_fails(run(c, ARGS("train", "config.yaml", "--set", "data.valid=x.parquet")), FSMOE_ERROR_UNSUPPORTED,
                 ARGS("data.valid", "x.parquet", "a Parquet file"));
    assert_false(has(c, "run"));
}

/* ---- what is text ---- */

static void assert_ids(const command_case *c, fsmoe_tokenizer *bytes, const char *name, const char *expected, size_t n)
{
    char path[FSM_PATH_BYTES];
    const char *file = path_in(c, name, path);
    fsmoe_tokens *tokens;
    if (fsmoe_tokens_open(&file, 1, bytes, &tokens) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    int32_t ids[8192];
    if (fsmoe_tokens_count(tokens) != (int64_t)n)
        fail_msg("%lld ids of '%s', not %zu", (long long)fsmoe_tokens_count(tokens), expected, n);
    assert_true(n <= COUNT_OF(ids));
    assert_int_equal(fsmoe_tokens_copy(tokens, 0, (int64_t)n, ids), FSMOE_OK);
    for (size_t i = 0; i < n; i++) assert_int_equal(ids[i], (unsigned char)expected[i]);
    fsmoe_tokens_close(tokens);
}

static void test_inputs_of_text_are_taken_as_they_are(void **state)
{
    const command_case *c = *state;
    static const struct {
        const char *bytes;
        size_t size;
    } texts[] = {
        {BYTES("a")},
        {BYTES("\n")},
        {BYTES("\xEF\xBB\xBF"
               "a byte order mark")},
        {BYTES("two\r\nlines\r\n")},
        {BYTES("\xF0\x9F\x98\x80")},
        {BYTES("caf\xC3\xA9 \xE4\xB8\xAD\xE6\x96\x87")},
        {BYTES("\xEF\xBF\xBD replaced \xF4\x8F\xBF\xBF last")},
        {BYTES("a page\f\vand a tab\t, _\bunderlined_, \x1B[1mbold\x1B[0m")},
        {BYTES("PAR1 was the first, PARE the second")},
        {BYTES("ORCs and elves")},
        {BYTES("GGUF is a format")},
        {BYTES("BZh9 is how bzip2 begins")},
        {BYTES("PK are letters")},
        {BYTES("Rar! he said")},
        {BYTES("FEA1 ARROW1 Obj")},
        {BYTES("SQLite format 3 is a format")},
        {BYTES("version https://example.org/spec/v1\n")},
        {BYTES("\n\n\nbegins with blank lines")},
        {BYTES("{")},
        {BYTES("{hello} she said")},
        {BYTES("{\"text\" is a key}\n")},
        {BYTES("{\"text\": \"a\"} is how a line of JSON looks\n")},
        {BYTES("{\"id\": 1, \"more\": {\"text\": \"a\"}}\n")},
        {BYTES("{\"a\": \"\\\"text\\\": \"}\n")},
        {BYTES("{\"text\": \"a\nb\"}\n")},
        {BYTES("[1] a note\n[2] another\n")},
        {BYTES("[{\"a\": 1}]\n")},
        {BYTES("[Enter the king]\n")},
        {BYTES("\"text\"\n")},
        {BYTES("FSMO")},
    };
    static const char *const names[] = {"x.txt", "x", "x.md"};
    fsmoe_tokenizer *bytes = create_bytes();
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        write_text(c, names[i % COUNT_OF(names)], texts[i].bytes, texts[i].size);
        assert_ids(c, bytes, names[i % COUNT_OF(names)], texts[i].bytes, texts[i].size);
    }
    fsmoe_tokenizer_destroy(bytes);
}

static void assert_file_fails(const command_case *c, fsmoe_tokenizer *bytes, const char *name, const char *word)
{
    char path[FSM_PATH_BYTES];
    const char *file = path_in(c, name, path);
    fsmoe_tokens *tokens;
    fsmoe_status status = fsmoe_tokens_open(&file, 1, bytes, &tokens);
    if (status != FSMOE_ERROR_FORMAT) fail_msg("'%s' with '%s' expected: status %d", name, word, (int)status);
    if (!strstr(fsmoe_last_error(), word) || !strstr(fsmoe_last_error(), name))
        fail_msg("no '%s' and '%s' in: %s", word, name, fsmoe_last_error());
}

/* One bad byte, wherever it stands among characters of every size, is named by line and offset. */
static void test_inputs_with_a_byte_that_is_no_text_name_its_place(void **state)
{
    const command_case *c = *state;
    enum { SIZE = 6000 };
    char text[SIZE], word[64];
    fsmoe_tokenizer *bytes = create_bytes();
    for (size_t at = 0; at < SIZE; at += 97 + at % 3)
        for (int kind = 0; kind < 2; kind++) {
            size_t line = 1;
            for (size_t i = 0; i < SIZE; i++) text[i] = i % 50 == 49 ? '\n' : 'x';
            for (size_t i = 0; i < at; i++) line += text[i] == '\n';
            text[at] = kind ? '\xE9' : 0;
            snprintf(word, sizeof word, "line %zu: %s at offset %zu", line, kind ? "byte 0xE9" : "a zero byte", at);
            write_text(c, "deep.txt", text, SIZE);
            assert_file_fails(c, bytes, "deep.txt", word);
        }
    memset(text, 'x', SIZE);
    memcpy(text + SIZE - 3, "\xF0\x9F\x98", 3);
    write_text(c, "cut.txt", text, SIZE);
    assert_file_fails(c, bytes, "cut.txt", "ends within a character, which begins at offset 5997: head -c 5997");
    write_text(c, "good.txt", text, SIZE - 3);
    assert_ids(c, bytes, "good.txt", text, SIZE - 3);
    fsmoe_tokenizer_destroy(bytes);
}

/* Against Jansson, which takes a string of well-formed UTF-8 only. */
static void test_inputs_utf8_is_what_others_say(void **state)
{
    (void)state;
    static const unsigned char ends[] = {0x01, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF};
    enum { N = sizeof ends };
    for (int first = 1; first < 256; first++)
        for (int second = 1; second < 256; second++)
            for (size_t i = 0; i < N * N; i++) {
                const char bytes[] = {(char)first, (char)second, (char)ends[i / N], (char)ends[i % N]};
                json_t *string = json_stringn(bytes, sizeof bytes);
                bool good = fsm_utf8_text_size(bytes, sizeof bytes) == sizeof bytes;
                if (good != (string != NULL))
                    fail_msg("%02X %02X %02X %02X: %d", first, second, ends[i / N], ends[i % N], good);
                json_decref(string);
            }
    for (size_t size = 0; size <= 40; size++) /* the fast path and what surrounds it */
        for (size_t at = 0; at < size; at++) {
            char bytes[40];
            memset(bytes, 'x', sizeof bytes);
            bytes[at] = at % 2 ? 0 : '\x80';
            assert_int_equal(fsm_utf8_text_size(bytes, size), at);
        }
}

/* ---- JSON lines ---- */

static void test_inputs_json_lines_are_read_whatever_their_name(void **state)
{
    const command_case *c = *state;
    static const char *const names[] = {"x.jsonl", "x.JSONL", "x.ndjson", "x.Ndjson", "x.json", "x.JSON", "x.txt", "x"};
    static const struct {
        const char *bytes;
        size_t size;
    } files[] = {
        {BYTES("{\"text\": \"ab\"}\n{\"text\": \"c\"}\n")},
        {BYTES("\xEF\xBB\xBF{\"text\": \"ab\"}\r\n\r\n{\"text\": \"c\"}")},
        {BYTES("\n \n{ \"id\" : [1, {\"text\": 7}], \"text\" :\"ab\" } \n{\"text\":\"c\"}")},
        {BYTES("{\"text\":\"ab\",\"simhash\":10014255632117358197}\n{\"text\":\"c\",\"n\":1.5e3}\n")},
    };
    fsmoe_tokenizer *bytes = create_bytes();
    for (size_t i = 0; i < COUNT_OF(files); i++)
        for (size_t j = 0; j < COUNT_OF(names); j++) {
            write_text(c, names[j], files[i].bytes, files[i].size);
            assert_ids(c, bytes, names[j], "abc", 3);
        }
    fsmoe_tokenizer_destroy(bytes);
}

static void test_inputs_mistakes_in_json_lines_name_the_line(void **state)
{
    const command_case *c = *state;
    static const struct {
        const char *name, *bytes, *word;
    } cases[] = {
        {"x.jsonl", "plain text\n", "line 1: not JSON"},
        {"x.jsonl", "plain text\n", "does not end in .jsonl"},
        {"x.ndjson", "plain text\n", "line 1: not JSON"},
        {"x.json", "{\n \"model\": {\"text\": 1}\n}\n", "jq -c"},
        {"x.json", "[1]\n", "jq -c '.[]'"},
        {"x.json", "[\n{\"body\": 1}\n]\n", "line 1"},
        {"x.jsonl", "{\"content\": \"a\"}\n", "line 1: no \"text\" among the keys of the object, of which \"content\""},
        {"x.jsonl", "{\"text\": \"a\"}\n{}\n", "line 2: no \"text\""},
        {"x.jsonl", "{\"text\": null}\n", "line 1: \"text\" is null"},
        {"x.txt", "{\"text\": null}\n", "line 1: \"text\" is null"},
        {"x.txt", "{\"text\": \"a\", \"score\": NaN}\n", "line 1: not JSON: invalid token near 'NaN'"},
        {"x", "{\"text\": \"a\"}{\"text\": \"b\"}\n", "line 1: not JSON"},
        {"x", "{\"text\": \"a\"},\n{\"text\": \"b\"}\n", "line 1: not JSON"},
        {"x.jsonl", "{\"text\": \"hi \\ud83d there\"}\n", "line 1: not JSON"},
        {"x.txt", "{\"text\": \"a\"}\nplain text\n", "line 2: not JSON"},
        {"x.jsonl", "{\"text\": \"a\xE9\"}\n", "line 1: not JSON"},
        {"x.jsonl", "{\"text\": \"a\"}\n7\n", "line 2: a number, not an object"},
        {"x.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b", "line 2: not JSON"},
    };
    fsmoe_tokenizer *bytes = create_bytes();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        write_text(c, cases[i].name, cases[i].bytes, strlen(cases[i].bytes));
        assert_file_fails(c, bytes, cases[i].name, cases[i].word);
    }
    fsmoe_tokenizer_destroy(bytes);
}

/* ---- token files ---- */

static void test_inputs_token_files_are_known_by_their_magic(void **state)
{
    const command_case *c = *state;
    static const char *const names[] = {"x.tokens", "x.bin", "x.txt", "x.jsonl", "x"};
    fsmoe_tokenizer *bytes = create_bytes();
    write_text(c, "abc.txt", "abc", 3);
    assert_works(run(c, ARGS("tokenize", "--tokenizer", "bytes", "abc.txt", "abc.tokens")));
    size_t size;
    char *file = read_text(c, "abc.tokens", &size);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        write_text(c, names[i], file, size);
        assert_ids(c, bytes, names[i], "abc", 3);
        write_text(c, names[i], file, size - 1);
        assert_file_fails(c, bytes, names[i], "truncated");
        write_text(c, names[i], file, 100);
        assert_file_fails(c, bytes, names[i], "truncated");
    }
    write_text(c, "x.tokens", "abc", 3);
    assert_file_fails(c, bytes, "x.tokens", "no .tokens file");
    free(file);
    fsmoe_tokenizer_destroy(bytes);
}

/* `tokenize *.txt`, whose last file is where the ids would go, costs no text. */
static void test_inputs_are_not_replaced_by_a_token_file(void **state)
{
    const command_case *c = *state;
    char *before = read_text(c, "valid.txt", NULL), path[FSM_PATH_BYTES];
    assert_fails(run(c, ARGS("tokenize", "--tokenizer", "bytes", "train.txt", "valid.txt")), FSMOE_ERROR_IO,
                 ARGS("'valid.txt' is there and is no token file"));
    char *after = read_text(c, "valid.txt", NULL);
    assert_string_equal(before, after);
    assert_works(run(c, ARGS("tokenize", "--tokenizer", "bytes", "train.txt", "out.tokens")));
    assert_int_equal(symlink("out.tokens", path_in(c, "link", path)), 0);
    assert_works(run(c, ARGS("tokenize", "--tokenizer", "bytes", "valid.txt", "link")));
    struct stat info;
    assert_int_equal(lstat(path, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, 128 + 2 * VALID_BYTES);
    assert_int_equal(count_matches(c, "*.tmp"), 0);
    free(after);
    free(before);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, make_case, remove_case)
    const struct CMUnitTest tests[] = {
        CASE(test_inputs_of_every_format_are_refused_by_name),
        CASE(test_inputs_of_every_format_are_refused_under_any_name),
        CASE(test_inputs_of_other_formats_do_not_train),
        CASE(test_inputs_of_text_are_taken_as_they_are),
        CASE(test_inputs_with_a_byte_that_is_no_text_name_its_place),
        CASE(test_inputs_utf8_is_what_others_say),
        CASE(test_inputs_json_lines_are_read_whatever_their_name),
        CASE(test_inputs_mistakes_in_json_lines_name_the_line),
        CASE(test_inputs_token_files_are_known_by_their_magic),
        CASE(test_inputs_are_not_replaced_by_a_token_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
