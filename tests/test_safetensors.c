/* Oracles: files spelled out byte by byte here, values known by hand, the library's one-shot XXH3. */
#include "base/file.h"
#include "model/safetensors.h"
#include "model/safetensors_writer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <cmocka.h>

static char folder[] = "/tmp/fsmoe-safetensors-XXXXXX";

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

/* "FOLDER/name", valid until four calls later. */
static const char *in_folder(const char *name)
{
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* FOLDER/name from a header and its data. */
static const char *put_file(const char *name, const char *header, const void *data, size_t bytes)
{
    char content[4096];
    uint64_t length = strlen(header);
    memcpy(content, &length, 8);
    memcpy(content + 8, header, length);
    if (bytes > 0) memcpy(content + 8 + length, data, bytes);
    const char *path = in_folder(name);
    assert_int_equal(fsm_file_replace(path, content, 8 + length + bytes), FSMOE_OK);
    return path;
}

static fsm_safetensors *must_open(const char *path)
{
    fsm_safetensors *file;
    fsmoe_status status = fsm_safetensors_open(path, &file);
    if (status != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    return file;
}

/* Opening fails with the code, and the message has each of the two words. */
static void must_refuse(const char *path, fsmoe_status expected, const char *word, const char *other)
{
    fsm_safetensors *file;
    fsmoe_status status = fsm_safetensors_open(path, &file);
    if (status != expected || !strstr(fsmoe_last_error(), word) || !strstr(fsmoe_last_error(), other))
        fail_msg("wanted %d with '%s' and '%s', got %d: %s", expected, word, other, status, fsmoe_last_error());
    assert_null(file);
}

static const float six[] = {1, 2, 3, 4, 5, 6};

/* A header with one tensor "m". */
#define M(dtype, shape, offsets) "{\"m\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define TWO_BY_THREE "{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}"

/* A block of a tensor that should be a matrix [height, width]. */
static fsmoe_status read_block(const fsm_safetensors *file, const char *name, int64_t height, int64_t width,
                               int64_t row0, int64_t rows, int64_t col0, int64_t cols, float *out, int64_t ld)
{
    const int64_t shape[] = {height, width};
    return fsm_safetensors_read_block(file, name, 2, shape, row0, rows, col0, cols, out, ld);
}

static void test_safetensors_reads_blocks_of_a_matrix(void **state)
{
    (void)state;
    fsm_safetensors *file = must_open(put_file("a.safetensors", M("F32", "[2,3]", "[0,24]"), six, sizeof six));
    float block[4] = {-1, -1, -1, -1};
    assert_int_equal(read_block(file, "m", 2, 3, 0, 2, 1, 1, block, 2), FSMOE_OK);
    assert_float_equal(block[0], 2, 0);
    assert_float_equal(block[1], -1, 0);
    assert_float_equal(block[2], 5, 0);
    assert_float_equal(block[3], -1, 0);
    assert_int_equal(read_block(file, "m", 2, 3, 1, 2, 0, 3, block, 3), FSMOE_ERROR_INTERNAL);
    assert_int_equal(read_block(file, "m", 2, 3, 0, 1, 1, 3, block, 3), FSMOE_ERROR_INTERNAL);
    fsm_safetensors_close(file);
}

static void test_safetensors_sees_leading_dimensions_as_rows(void **state)
{
    (void)state;
    const char *header = "{\"cube\":{\"dtype\":\"F32\",\"shape\":[3,1,2],\"data_offsets\":[0,24]}}";
    fsm_safetensors *file = must_open(put_file("cube.safetensors", header, six, sizeof six));
    float block[2];
    assert_int_equal(fsm_safetensors_read_block(file, "cube", 3, (int64_t[]){3, 1, 2}, 2, 1, 0, 2, block, 2), FSMOE_OK);
    assert_float_equal(block[0], 5, 0);
    assert_float_equal(block[1], 6, 0);
    fsm_safetensors_close(file);
}

static void test_safetensors_converts_half_precision_exactly(void **state)
{
    (void)state;
    /* 1, -2, largest, smallest normal, smallest subnormal, -0, infinity, not a number */
    const uint16_t f16[] = {0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x8000, 0x7c00, 0x7e00};
    const float f16_values[] = {1, -2, 65504, 0x1p-14f, 0x1p-24f, -0.0f, INFINITY};
    const uint16_t bf16[] = {0x3f80, 0xc000, 0x4049, 0x0001};
    const float bf16_values[] = {1, -2, 3.140625f, 0x1p-133f};
    char data[24];
    memcpy(data, f16, 16);
    memcpy(data + 16, bf16, 8);
    /* The header's length leaves the data at an odd address, which a reader must bear. */
    const char *header = "{\"h\":{\"dtype\":\"F16\",\"shape\":[8],\"data_offsets\":[0,16]},"
                         "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[16,24]}}";
    assert_int_equal(strlen(header) % 2, 1);
    fsm_safetensors *file = must_open(put_file("half.safetensors", header, data, sizeof data));
    float h[8], b[4];
    assert_int_equal(fsm_safetensors_read_block(file, "h", 1, (int64_t[]){8}, 0, 1, 0, 8, h, 8), FSMOE_OK);
    assert_int_equal(read_block(file, "b", 2, 2, 0, 2, 0, 2, b, 2), FSMOE_OK);
    assert_memory_equal(h, f16_values, sizeof f16_values);
    assert_true(isnan(h[7]));
    assert_memory_equal(b, bf16_values, sizeof bf16_values);
    fsm_safetensors_close(file);
}

static void test_safetensors_lists_tensors_by_name_with_raw_data(void **state)
{
    (void)state;
    const int64_t whole[] = {7, -8};
    const char *header = "{\"__metadata__\":{\"format\":\"pt\"},"
                         "\"z\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[0,16]},"
                         "\"a\":{\"dtype\":\"U8\",\"shape\":[0,4],\"data_offsets\":[16,16]}}";
    fsm_safetensors *file = must_open(put_file("list.safetensors", header, whole, sizeof whole));
    assert_int_equal(fsm_safetensors_count(file), 2);
    assert_string_equal(fsm_safetensors_name(file, 0), "a");
    assert_string_equal(fsm_safetensors_name(file, 1), "z");
    assert_string_equal(fsm_safetensors_metadata(file, "format"), "pt");
    assert_null(fsm_safetensors_metadata(file, "step"));
    assert_null(fsm_safetensors_find(file, "m"));
    const fsm_tensor_info *z = fsm_safetensors_find(file, "z");
    assert_int_equal(z->dtype, FSM_DTYPE_I64);
    assert_int_equal(z->rank, 1);
    assert_int_equal(z->shape[0], 2);
    assert_int_equal(z->bytes, 16);
    assert_memory_equal(z->data, whole, sizeof whole);
    float unused[2];
    assert_int_equal(fsm_safetensors_read_block(file, "z", 1, (int64_t[]){2}, 0, 1, 0, 2, unused, 2),
                     FSMOE_ERROR_UNSUPPORTED);
    fsm_safetensors_close(file);
}

static void test_safetensors_names_what_is_missing_or_of_another_shape(void **state)
{
    (void)state;
    fsm_safetensors *file = must_open(put_file("b.safetensors", M("F32", "[2,3]", "[0,24]"), six, sizeof six));
    float block[6];
    assert_int_equal(read_block(file, "n", 2, 3, 0, 2, 0, 3, block, 3), FSMOE_ERROR_FORMAT);
    assert_non_null(strstr(fsmoe_last_error(), "'n'"));
    assert_non_null(strstr(fsmoe_last_error(), "[2, 3]"));
    assert_int_equal(read_block(file, "m", 3, 2, 0, 2, 0, 2, block, 2), FSMOE_ERROR_FORMAT);
    assert_non_null(strstr(fsmoe_last_error(), "has shape [2, 3], wanted [3, 2]"));
    fsmoe_status status = fsm_safetensors_read_block(file, "m", 1, (int64_t[]){6}, 0, 1, 0, 6, block, 6);
    assert_int_equal(status, FSMOE_ERROR_FORMAT);
    fsm_safetensors_close(file);
}

static void test_safetensors_refuses_malformed_headers(void **state)
{
    (void)state;
    static const struct {
        const char *header, *word, *other;
    } cases[] = {
        {M("F32", "[2,3]", "[0,28]"), "'m'", "28"},
        {M("F32", "[2,3]", "[-4,20]"), "'m'", "-4"},
        {M("F32", "[2,3]", "[24,0]"), "'m'", "24"},
        {M("F32", "[2,3]", "[0]"), "'m'", "data_offsets"},
        {M("F32", "[2,2]", "[0,24]"), "'m'", "take 16"},
        {M("F32", "[2,-3]", "[0,24]"), "'m'", "dimension 1"},
        {M("F32", "[2,3.0]", "[0,24]"), "'m'", "dimension 1"},
        {M("F32", "6", "[0,24]"), "'m'", "no shape"},
        {M("F32", "[4611686018427387904,4611686018427387904]", "[0,24]"), "'m'", "memory"},
        {M("F32", "[5]", "[4,24]"), "'m'", "4 bytes before"},
        {M("F32", "[5]", "[0,20]"), "bad.safetensors", "4 trailing"},
        {"{\"m\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24],\"extra\":1}}", "'m'", "alone"},
        {"{\"m\":{\"dtype\":\"F32\",\"shape\":[2,3],\"offsets\":[0,24]}}", "'m'", "data_offsets"},
        {"{\"m\":{\"shape\":[2,3],\"data_offsets\":[0,24],\"d\":1}}", "'m'", "dtype"},
        {"{\"m\":7}", "'m'", "described"},
        {"{\"__metadata__\":{\"k\":1},\"m\":" TWO_BY_THREE "}", "'k'", "text"},
        {"{\"__metadata__\":[],\"m\":" TWO_BY_THREE "}", "__metadata__", "object"},
        {"{\"m\":" TWO_BY_THREE ",\"m\":" TWO_BY_THREE "}", "bad.safetensors", "duplicate"},
        {"{\"m\":" TWO_BY_THREE, "bad.safetensors", "JSON"},
        {"{\"m\":" TWO_BY_THREE "} x", "bad.safetensors", "JSON"},
        {"[]", "bad.safetensors", "object"},
        {"", "bad.safetensors", "JSON"},
        {"{\"m\":" TWO_BY_THREE ",\"n\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[20,24]}}", "'n'", "overlap"},
        {"{\"m\":" TWO_BY_THREE ",\"n\":" TWO_BY_THREE "}", "'n'", "overlap"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        must_refuse(put_file("bad.safetensors", cases[i].header, six, sizeof six), FSMOE_ERROR_FORMAT, cases[i].word,
                    cases[i].other);
    const char *unknown = put_file("new.safetensors", M("F31", "[2,3]", "[0,24]"), six, sizeof six);
    must_refuse(unknown, FSMOE_ERROR_UNSUPPORTED, "'m'", "F31");
    const char *deep = put_file("deep.safetensors", M("U8", "[1,1,1,1,1,1,1,1,24]", "[0,24]"), six, sizeof six);
    must_refuse(deep, FSMOE_ERROR_UNSUPPORTED, "'m'", "9 dimensions");
}

static void test_safetensors_refuses_files_cut_anywhere(void **state)
{
    (void)state;
    char *bytes;
    size_t size;
    const char *whole = put_file("whole.safetensors", M("F32", "[2,3]", "[0,24]"), six, sizeof six);
    const char *path = in_folder("cut.safetensors");
    assert_int_equal(fsm_file_read(whole, &bytes, &size), FSMOE_OK);
    for (size_t kept = 0; kept < size; kept++) {
        assert_int_equal(fsm_file_replace(path, bytes, kept), FSMOE_OK);
        must_refuse(path, FSMOE_ERROR_FORMAT, "cut.safetensors", "");
    }
    memset(bytes, 0xff, 8);
    assert_int_equal(fsm_file_replace(path, bytes, size), FSMOE_OK);
    must_refuse(path, FSMOE_ERROR_FORMAT, "18446744073709551615", "cut");
    free(bytes);
    must_refuse(in_folder("absent.safetensors"), FSMOE_ERROR_IO, "absent.safetensors", "");
}

static void must_make_dir(const char *path)
{
    assert_int_equal(fsm_file_make_dirs(path), FSMOE_OK);
}

static void put_text(const char *name, const char *text)
{
    assert_int_equal(fsm_file_replace(in_folder(name), text, strlen(text)), FSMOE_OK);
}

static void test_safetensors_takes_each_tensor_from_the_shard_the_index_names(void **state)
{
    (void)state;
    const float one[] = {1}, two[] = {2};
    const char *header = "{\"x\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}";
    const char *other = "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                        "\"y\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]}}";
    must_make_dir(in_folder("sharded"));
    put_file("sharded/one.safetensors", header, one, sizeof one);
    put_file("sharded/two.safetensors", other, two, sizeof two);
    put_text("sharded/model.safetensors.index.json", "{\"metadata\": {\"total_size\": 4}, \"weight_map\": "
                                                     "{\"x\": \"one.safetensors\", \"y\": \"two.safetensors\"}}");
    fsm_safetensors *file = must_open(in_folder("sharded"));
    float x = 0;
    assert_int_equal(fsm_safetensors_count(file), 2);
    assert_int_equal(fsm_safetensors_read_block(file, "x", 0, NULL, 0, 1, 0, 1, &x, 1), FSMOE_OK);
    assert_float_equal(x, 1, 0);
    fsm_safetensors_close(file);
}

static void test_safetensors_refuses_an_index_that_disagrees_with_its_shards(void **state)
{
    (void)state;
    static const struct {
        const char *index, *word, *other;
        fsmoe_status status;
    } cases[] = {
        {"{\"weight_map\": {\"m\": \"s.safetensors\", \"n\": \"s.safetensors\"}}", "'n'", "s.safetensors",
         FSMOE_ERROR_FORMAT},
        {"{\"weight_map\": {\"m\": \"t.safetensors\"}}", "t.safetensors", "", FSMOE_ERROR_IO},
        {"{\"weight_map\": {\"m\": \"../b.safetensors\"}}", "../b.safetensors", "outside", FSMOE_ERROR_FORMAT},
        {"{\"weight_map\": {\"m\": 3}}", "'m'", "weight_map", FSMOE_ERROR_FORMAT},
        {"{\"weight_map\": {\"k\": \"s.safetensors\"}}", "'m'", "index", FSMOE_ERROR_FORMAT},
        {"{}", "index.json", "weight_map", FSMOE_ERROR_FORMAT},
        {"[1]", "index.json", "object", FSMOE_ERROR_FORMAT},
        {"{", "index.json", "JSON", FSMOE_ERROR_FORMAT},
    };
    must_make_dir(in_folder("disagree"));
    must_refuse(in_folder("disagree"), FSMOE_ERROR_IO, "disagree", "model.safetensors.index.json");
    put_file("disagree/s.safetensors", M("F32", "[2,3]", "[0,24]"), six, sizeof six);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_text("disagree/model.safetensors.index.json", cases[i].index);
        must_refuse(in_folder("disagree"), cases[i].status, cases[i].word, cases[i].other);
    }
}

/* The two tensors of the writer's tests: m [2, 3] float32 and, after an empty one, b [3] bfloat16. */
static const fsm_tensor_spec specs[] = {
    {"m", FSM_DTYPE_F32, 2, {2, 3}},
    {"empty", FSM_DTYPE_F32, 1, {0}},
    {"b", FSM_DTYPE_BF16, 1, {3}},
};
static const uint16_t three[] = {0x3f80, 0x4000, 0x4040};

static fsm_safetensors_writer *must_create(const char *path)
{
    const fsm_metadata metadata[] = {{"step", "12"}};
    fsm_safetensors_writer *writer;
    fsmoe_status status = fsm_safetensors_writer_create(path, metadata, 1, specs, 3, &writer);
    if (status != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    return writer;
}

static void test_safetensors_writer_writes_the_format_and_its_hash(void **state)
{
    (void)state;
    const char *header = "{\"__metadata__\":{\"format\":\"pt\",\"step\":\"12\"},"
                         "\"m\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
                         "\"empty\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[24,24]},"
                         "\"b\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[24,30]}}";
    char *bytes;
    size_t size, padded = (strlen(header) + 7) / 8 * 8;
    uint64_t hash = 0, length;
    const char *path = in_folder("out.safetensors");
    fsm_safetensors_writer *writer = must_create(path);
    assert_int_equal(fsm_safetensors_writer_append(writer, six, 8), FSMOE_OK);
    assert_int_equal(fsm_safetensors_writer_append(writer, six + 2, 16), FSMOE_OK);
    assert_int_equal(fsm_safetensors_writer_append(writer, three, sizeof three), FSMOE_OK);
    assert_false(fsm_file_exists(path));
    assert_int_equal(fsm_safetensors_writer_finish(writer, &hash), FSMOE_OK);

    assert_int_equal(fsm_file_read(path, &bytes, &size), FSMOE_OK);
    memcpy(&length, bytes, 8);
    assert_int_equal(length, padded);
    assert_memory_equal(bytes + 8, header, strlen(header));
    for (size_t i = strlen(header); i < padded; i++) assert_int_equal(bytes[8 + i], ' ');
    assert_int_equal(size, 8 + padded + 30);
    assert_memory_equal(bytes + 8 + padded, six, sizeof six);
    assert_memory_equal(bytes + 8 + padded + 24, three, sizeof three);
    assert_true(hash == XXH3_64bits(bytes, size));
    free(bytes);

    fsm_safetensors *file = must_open(path);
    assert_string_equal(fsm_safetensors_metadata(file, "step"), "12");
    assert_int_equal(fsm_safetensors_count(file), 3);
    fsm_safetensors_close(file);
}

static void test_safetensors_writer_errors_stick_and_leave_no_file(void **state)
{
    (void)state;
    const char *path = in_folder("sticky.safetensors");
    fsm_safetensors_writer *writer = must_create(path);
    assert_int_equal(fsm_safetensors_writer_append(writer, six, 25), FSMOE_ERROR_INTERNAL);
    assert_non_null(strstr(fsmoe_last_error(), "'m'"));
    assert_int_equal(fsm_safetensors_writer_append(writer, six, 24), FSMOE_ERROR_INTERNAL);
    assert_int_equal(fsm_safetensors_writer_finish(writer, NULL), FSMOE_ERROR_INTERNAL);
    assert_non_null(strstr(fsmoe_last_error(), "25 bytes"));
    assert_false(fsm_file_exists(path));
    assert_false(fsm_file_exists(in_folder("sticky.safetensors.tmp-fsmoe")));
}

static void test_safetensors_writer_refuses_an_incomplete_file(void **state)
{
    (void)state;
    const char *path = in_folder("incomplete.safetensors");
    fsm_safetensors_writer *writer = must_create(path);
    assert_int_equal(fsm_safetensors_writer_append(writer, six, sizeof six), FSMOE_OK);
    assert_int_equal(fsm_safetensors_writer_finish(writer, NULL), FSMOE_ERROR_INTERNAL);
    assert_non_null(strstr(fsmoe_last_error(), "'b' was not written"));
    assert_false(fsm_file_exists(path));
}

static void test_safetensors_writer_refuses_two_tensors_of_one_name(void **state)
{
    (void)state;
    const fsm_tensor_spec twins[] = {{"m", FSM_DTYPE_F32, 1, {1}}, {"m", FSM_DTYPE_F32, 1, {1}}};
    fsm_safetensors_writer *writer;
    assert_int_equal(fsm_safetensors_writer_create(in_folder("twins.safetensors"), NULL, 0, twins, 2, &writer),
                     FSMOE_ERROR_INTERNAL);
    assert_null(writer);
    assert_non_null(strstr(fsmoe_last_error(), "'m'"));
    assert_false(fsm_file_exists(in_folder("twins.safetensors.tmp-fsmoe")));
}

static void test_safetensors_writer_abort_keeps_the_file_of_before(void **state)
{
    (void)state;
    const char *path = in_folder("kept.safetensors");
    put_text("kept.safetensors", "old");
    fsm_safetensors_writer *writer = must_create(path);
    assert_int_equal(fsm_safetensors_writer_append(writer, six, sizeof six), FSMOE_OK);
    fsm_safetensors_writer_abort(writer);
    char *bytes;
    size_t size;
    assert_int_equal(fsm_file_read(path, &bytes, &size), FSMOE_OK);
    assert_string_equal(bytes, "old");
    free(bytes);
    assert_false(fsm_file_exists(in_folder("kept.safetensors.tmp-fsmoe")));
}

static void test_safetensors_writer_reports_a_full_disk(void **state)
{
    (void)state;
    if (access("/dev/full", W_OK) != 0) skip();
    const fsm_tensor_spec large = {"large", FSM_DTYPE_U8, 1, {1 << 20}};
    char *zeros = calloc(1, 1 << 20);
    assert_int_equal(symlink("/dev/full", in_folder("full.safetensors")), 0);
    fsm_safetensors_writer *writer;
    const char *path = in_folder("full.safetensors");
    assert_int_equal(fsm_safetensors_writer_create(path, NULL, 0, &large, 1, &writer), FSMOE_OK);
    fsm_safetensors_writer_append(writer, zeros, 1 << 20);
    assert_int_equal(fsm_safetensors_writer_finish(writer, NULL), FSMOE_ERROR_IO);
    assert_non_null(strstr(fsmoe_last_error(), "full.safetensors"));
    struct stat info;
    assert_true(lstat(path, &info) == 0 && S_ISLNK(info.st_mode));
    assert_false(fsm_file_exists(in_folder("full.safetensors.tmp-fsmoe")));
    free(zeros);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safetensors_reads_blocks_of_a_matrix),
        cmocka_unit_test(test_safetensors_sees_leading_dimensions_as_rows),
        cmocka_unit_test(test_safetensors_converts_half_precision_exactly),
        cmocka_unit_test(test_safetensors_lists_tensors_by_name_with_raw_data),
        cmocka_unit_test(test_safetensors_names_what_is_missing_or_of_another_shape),
        cmocka_unit_test(test_safetensors_refuses_malformed_headers),
        cmocka_unit_test(test_safetensors_refuses_files_cut_anywhere),
        cmocka_unit_test(test_safetensors_takes_each_tensor_from_the_shard_the_index_names),
        cmocka_unit_test(test_safetensors_refuses_an_index_that_disagrees_with_its_shards),
        cmocka_unit_test(test_safetensors_writer_writes_the_format_and_its_hash),
        cmocka_unit_test(test_safetensors_writer_errors_stick_and_leave_no_file),
        cmocka_unit_test(test_safetensors_writer_refuses_an_incomplete_file),
        cmocka_unit_test(test_safetensors_writer_refuses_two_tensors_of_one_name),
        cmocka_unit_test(test_safetensors_writer_abort_keeps_the_file_of_before),
        cmocka_unit_test(test_safetensors_writer_reports_a_full_disk),
    };
    return cmocka_run_group_tests_name("safetensors", tests, make_folder, remove_folder);
}
