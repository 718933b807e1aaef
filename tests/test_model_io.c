/* Tensors to files and back, in pieces of any size: the bits are the same whatever the pieces and the layout.
 * Oracle: values by formula of their place in the whole tensor; files that one process writes in one piece a tensor.
 * Runs alone and on 4 ranks.
 */
#include "comm_case.h"
#include "model_case.h"

#include "base/file.h"
#include "model/model_io.h"
#include "model/safetensors_writer.h"
#include "train/place.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

static char folder[64];

static const char *in_folder(const char *name)
{
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* The same folder on all ranks. */
static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/fsmoe-model-io-XXXXXX");
    bool made = world->rank != 0 || mkdtemp(folder);
    if (world->control->broadcast_bytes(world, folder, sizeof folder, 0) != FSMOE_OK) return -1;
    return made ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    if (world->control->barrier(world) != FSMOE_OK) return -1;
    return world->rank != 0 || fsm_file_remove_tree(folder) == FSMOE_OK ? 0 : -1;
}

/* A layout of a model that has every kind of shard, and its values and moments. */
typedef struct model {
    fsm_comm *comm;
    fsmoe_config *config;
    fsm_topo topo;
    fsm_params params;
    float *values, *moments[2];
} model;

#define SHAPE                                                                                                     \
    "model.family=gpt2", "model.hidden=12", "model.num_layers=2", "model.num_heads=2", "model.ffn_hidden=20",     \
        "model.moe_every=2", "model.vocab_size=37", "model.max_seq_len=9", "data.seq_len=9", "moe.num_experts=4", \
        "moe.shared_experts=1"

static void randomize(const fsm_params *params, float scale, float **values)
{
    *values = calloc((size_t)params->elems + 1, sizeof **values);
    if (!*values) abort();
    model_case_randomize(params, scale, *values);
}

static bool make_model(fsm_comm *comm, model *m)
{
    static const char *const split[] = {SHAPE, "parallel.ep_size=2", "parallel.esp_size=2", "parallel.mp_size=2", NULL};
    static const char *const whole[] = {SHAPE, NULL};
    *m = (model){.comm = comm, .config = model_case_config(comm->size == 4 ? split : whole)};
    if (fsm_place(m->config, comm, &m->topo) != FSMOE_OK) return false;
    if (fsm_params_create(m->config, &m->topo, &m->params) != FSMOE_OK) return false;
    randomize(&m->params, 1, &m->values);
    randomize(&m->params, 2, &m->moments[0]);
    randomize(&m->params, 3, &m->moments[1]);
    return true;
}

static void drop_model(model *m)
{
    free(m->values);
    free(m->moments[0]);
    free(m->moments[1]);
    fsm_params_destroy(&m->params);
    fsmoe_config_destroy(m->config);
}

static bool write_model(const model *m, const char *name, uint64_t *hash)
{
    const fsm_named_array arrays[] = {{"", m->values, &fsm_ops_reference},
                                      {"m.", m->moments[0], &fsm_ops_reference},
                                      {"v.", m->moments[1], &fsm_ops_reference}};
    return fsm_model_write(&m->params, &m->topo, m->comm, arrays, 3, in_folder(name), hash) == FSMOE_OK;
}

/* What one process writes, each tensor in one piece. */
static bool write_oracle(const char *name)
{
    fsm_comm *self;
    model m;
    uint64_t hash;
    bool good = fsm_comm_create_self(&self) == FSMOE_OK && make_model(self, &m) && write_model(&m, name, &hash);
    drop_model(&m);
    fsm_comm_destroy(self);
    return good;
}

static bool same_bytes(const char *a, const char *b, uint64_t hash)
{
    char *x, *y;
    size_t sizes[2];
    if (fsm_file_read(in_folder(a), &x, &sizes[0]) != FSMOE_OK) return false;
    if (fsm_file_read(in_folder(b), &y, &sizes[1]) != FSMOE_OK) return false;
    bool same = sizes[0] == sizes[1] && memcmp(x, y, sizes[0]) == 0 && hash == XXH3_64bits(x, sizes[0]);
    free(x);
    free(y);
    return same;
}

/* A piece is at least a row: 4 bytes make it one, 48 as wide as the model, 100 two rows and a rest, and so on. */
static void test_model_io_files_have_the_same_bits_whatever_the_pieces(void **state)
{
    (void)state;
    const int64_t pieces[] = {1, 4, 48, 100, 200, 1000, FSM_COMM_PIECE_BYTES};
    model m;
    assert_true(all_true(make_model(world, &m)));
    assert_true(all_true(world->rank != 0 || write_oracle("oracle")));
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        uint64_t hash = 0;
        world->piece_bytes = pieces[i];
        bool good = write_model(&m, "written", &hash);
        if (world->rank == 0) good = good && same_bytes("oracle", "written", hash);
        if (!all_true(good)) fail_msg("in pieces of %lld bytes: %s", (long long)pieces[i], fsmoe_last_error());
    }
    drop_model(&m);
}

static bool read_back(const model *m, const char *name)
{
    float *back[3];
    for (int i = 0; i < 3; i++) back[i] = calloc((size_t)m->params.elems, sizeof(float));
    const fsm_named_array arrays[] = {{"", back[0], &fsm_ops_reference},
                                      {"m.", back[1], &fsm_ops_reference},
                                      {"v.", back[2], &fsm_ops_reference}};
    bool good = fsm_model_read(&m->params, m->config, arrays, 3, in_folder(name)) == FSMOE_OK;
    size_t bytes = sizeof(float) * (size_t)m->params.elems;
    good = good && memcmp(back[0], m->values, bytes) == 0 && memcmp(back[1], m->moments[0], bytes) == 0 &&
           memcmp(back[2], m->moments[1], bytes) == 0;
    for (int i = 0; i < 3; i++) free(back[i]);
    return good;
}

static void test_model_io_ranks_read_their_shards_to_the_bit(void **state)
{
    (void)state;
    model m;
    assert_true(all_true(make_model(world, &m)));
    assert_true(all_true(world->rank != 0 || write_oracle("oracle")));
    assert_true(all_true(read_back(&m, "oracle")));
    drop_model(&m);
}

/* ---- a tensor of more than one piece of reading, and of more than an int counts ---- */

/* A table of one matrix, split by rows over the ranks of the world as DP's neighbours are in MP. */
static void make_matrix(int64_t rows, int64_t cols, fsm_param *item, fsm_params *params, fsm_topo *topo)
{
    const fsmoe_parallel_config parallel = {.ep_size = 1, .esp_size = 1, .mp_size = world->size};
    assert_int_equal(fsm_topo_create(1, world->size, &parallel, world->rank, topo), FSMOE_OK);
    *item = (fsm_param){.name = "matrix",
                        .spec = {.rows = rows, .cols = cols, .rank = 2, .shard = FSM_SHARD_ROWS},
                        .shard_group = FSM_GROUP_MP,
                        .sum_group = FSM_GROUP_DP,
                        .owned = true,
                        .rows = rows / world->size,
                        .cols = cols,
                        .row0 = rows / world->size * world->rank};
    *params = (fsm_params){.items = item, .count = 1, .elems = item->rows * cols};
}

static void test_model_io_names_what_is_not_finite_wherever_it_is_read(void **state)
{
    (void)state;
    enum { ROWS = 1200, COLS = 300 };
    static const int64_t places[] = {0, COLS + 7, (int64_t)ROWS * COLS / 2 + 11, (int64_t)ROWS * COLS - 1};
    fsm_param item;
    fsm_params params;
    fsm_topo topo;
    fsmoe_config *config = model_case_config((const char *const[]){SHAPE, NULL});
    make_matrix(ROWS, COLS, &item, &params, &topo);
    float *values = calloc((size_t)params.elems, sizeof *values);
    const fsm_named_array array = {"v.", values, &fsm_ops_reference};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        uint64_t hash;
        char want[256];
        int64_t at = places[i] - item.row0 * COLS;
        bool mine = at >= 0 && at < params.elems;
        snprintf(want, sizeof want, "'%s': tensor 'v.matrix' is not finite: it has NaN at [%lld, %lld]",
                 in_folder("odd"), (long long)(places[i] / COLS), (long long)(places[i] % COLS));
        if (mine) values[at] = NAN;
        assert_true(all_true(fsm_model_write(&params, &topo, world, &array, 1, in_folder("odd"), &hash) == FSMOE_OK));
        fsmoe_status status = fsm_model_read(&params, config, &array, 1, in_folder("odd"));
        bool good = status == (mine ? FSMOE_ERROR_NUMERIC : FSMOE_OK);
        good &= !mine || strcmp(fsmoe_last_error(), want) == 0;
        if (!all_true(good)) fail_msg("place %zu: %s", i, fsmoe_last_error());
        if (mine) values[at] = 0;
    }
    free(values);
    fsmoe_config_destroy(config);
}

/* The largest sizes that a configuration may name: listed, but never added up beyond what a number holds. */
static void test_model_io_more_parameters_than_can_be_addressed_are_refused(void **state)
{
    (void)state;
    const fsmoe_parallel_config alone = {.ep_size = 1, .esp_size = 1, .mp_size = 1};
    fsm_topo topo;
    fsm_params params;
    fsmoe_config *config = model_case_config((const char *const[]){"model.hidden=1048576", "model.ffn_hidden=1048576",
                                                                   "model.num_layers=4096", "model.vocab_size=16777216",
                                                                   "moe.num_experts=65536", NULL});
    assert_int_equal(fsm_topo_create(1, 1, &alone, 0, &topo), FSMOE_OK);
    assert_int_equal(fsm_params_list(config, &topo, &params), FSMOE_OK);
    assert_true(params.count > 4096);
    fsm_params_destroy(&params);
    assert_int_equal(fsm_params_create(config, &topo, &params), FSMOE_ERROR_MEMORY);
    assert_non_null(strstr(fsmoe_last_error(), "more parameters than can be addressed"));
    assert_int_equal(params.count, 0);
    fsmoe_config_destroy(config);
}

static float *reserve(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) abort();
    return at;
}

/* The first and the last element of each of this rank's rows at hand. */
static float marked(int64_t row, bool last)
{
    return (float)(2 * row + last + 1);
}

static bool is_marked(const fsm_param *p, const float *values, int64_t step)
{
    bool good = true;
    for (int64_t r = 0; r < p->rows; r += step) {
        const float *row = values + r * p->cols;
        good &= row[0] == marked(p->row0 + r, false) && row[p->cols - 1] == marked(p->row0 + r, true) && row[1] == 0;
    }
    return good;
}

/* Pages that hold no mark are read as zeros and take no memory until the file is read back. */
static void test_model_io_takes_a_tensor_of_more_than_two_gib(void **state)
{
    (void)state;
    enum { ROWS = 32768, COLS = 16400, STEP = 64 };
    uint64_t hash = 0;
    fsm_param item;
    fsm_params params;
    fsm_topo topo;
    if (!getenv("FSMOE_TEST_LONG")) skip(); /* takes 2 GiB of memory and of disk */
    make_matrix(ROWS, COLS, &item, &params, &topo);
    size_t bytes = sizeof(float) * (size_t)params.elems;
    float *values = reserve(bytes);
    for (int64_t r = 0; r < item.rows; r += STEP) {
        values[r * COLS] = marked(item.row0 + r, false);
        values[r * COLS + COLS - 1] = marked(item.row0 + r, true);
    }
    const fsm_named_array array = {"", values, &fsm_ops_reference};
    bool good = fsm_model_write(&params, &topo, world, &array, 1, in_folder("large"), &hash) == FSMOE_OK;
    munmap(values, bytes);
    fsm_file_map map = {0};
    if (world->rank == 0 && good) good = fsm_file_map_open(in_folder("large"), &map) == FSMOE_OK;
    good &= world->rank != 0 || (map.size > (size_t)1 << 31 && hash == XXH3_64bits(map.bytes, map.size));
    fsm_file_map_close(&map);
    fsmoe_config *config = model_case_config((const char *const[]){SHAPE, NULL});
    const fsm_named_array back = {"", reserve(bytes), &fsm_ops_reference};
    good = all_true(good) && fsm_model_read(&params, config, &back, 1, in_folder("large")) == FSMOE_OK;
    good &= is_marked(&item, back.elems, STEP);
    munmap(back.elems, bytes);
    fsmoe_config_destroy(config);
    if (world->rank == 0) unlink(in_folder("large"));
    if (!all_true(good)) fail_msg("%s", fsmoe_last_error());
}

/* One append of all of it, as a single layer's file is written: fwrite and the checksum take what no int counts. */
static void test_model_io_appends_more_than_two_gib_at_once(void **state)
{
    (void)state;
    const int64_t count = ((int64_t)1 << 31) + 4097;
    const fsm_tensor_spec spec = {"bytes", FSM_DTYPE_U8, 1, {count}};
    fsm_safetensors_writer *writer;
    fsm_file_map map = {0};
    uint64_t hash = 0;
    if (!getenv("FSMOE_TEST_LONG") || world->size > 1) skip();
    char *bytes = (char *)reserve((size_t)count);
    bytes[0] = 1, bytes[count - 1] = 2;
    assert_int_equal(fsm_safetensors_writer_create(in_folder("bytes"), NULL, 0, &spec, 1, &writer), FSMOE_OK);
    assert_int_equal(fsm_safetensors_writer_append(writer, bytes, (size_t)count), FSMOE_OK);
    assert_int_equal(fsm_safetensors_writer_finish(writer, &hash), FSMOE_OK);
    assert_int_equal(fsm_file_map_open(in_folder("bytes"), &map), FSMOE_OK);
    assert_int_equal(map.bytes[map.size - 1], 2);
    assert_int_equal(map.bytes[map.size - (size_t)count], 1);
    assert_true(hash == XXH3_64bits(map.bytes, map.size));
    fsm_file_map_close(&map);
    munmap(bytes, (size_t)count);
    unlink(in_folder("bytes"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_io_files_have_the_same_bits_whatever_the_pieces),
        cmocka_unit_test(test_model_io_ranks_read_their_shards_to_the_bit),
        cmocka_unit_test(test_model_io_names_what_is_not_finite_wherever_it_is_read),
        cmocka_unit_test(test_model_io_more_parameters_than_can_be_addressed_are_refused),
        cmocka_unit_test(test_model_io_takes_a_tensor_of_more_than_two_gib),
        cmocka_unit_test(test_model_io_appends_more_than_two_gib_at_once),
    };
    if (!enter_world()) return 1;
    int failed = cmocka_run_group_tests_name("model_io", tests, make_folder, remove_folder);
    fsmoe_world_destroy(the_world);
    return failed;
}
