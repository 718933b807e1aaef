/* Every gate with every order, all-to-all, expert and layout of four ranks: what is allowed gives what one process
 * gives, to 1e-5, what is not is refused with a reason, and evaluation gives the same twice. Apart from the host it is
 * the host's, to the bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/status.h"
#include "comm/world.h"
#include "config/config.h"
#include "model/safetensors_writer.h"
#include "tensor_files.h"
#include "train/layer_params.h"

#include <fsmoe/layer.h>
#include <stdlib.h>
#include <unistd.h>

enum { SAMPLES = 2, LENGTH = 8, HIDDEN = 8, FFN = 8, EXPERTS = 4, PATH_BYTES = 512, KEYS_BYTES = 1024 };
#define BAND 1e-5

static fsmoe_world *world;
static char directory[] = "/tmp/fsmoe-layers-XXXXXX";

/* ---- what is combined ---- */

static const char *const gates[] = {
    "gate: gshard\ntop_k: 2\nnoisy: true\naux_loss: importance_load\naux_loss_coeff: 0.1\n",
    "gate: switch\ntop_k: 1\njitter: 0.1\naux_loss: first_choice\naux_loss_coeff: 0.1\n",
    "gate: sigmoid\ntop_k: 2\nz_loss_coeff: 0.01\n",
    "gate: sigmoid\ntop_k: 1\nbalanced: true\n",
    "gate: xmoe\ntop_k: 2\naux_loss: all_choices\naux_loss_coeff: 0.1\n",
    "gate: expert_choice\ntop_k: 2\n",
    "gate: soft\nslots_per_expert: 2\n",
    "gate: deepseek\ntop_k: 2\nn_group: 2\ntopk_group: 1\n",
    "gate: hash\ntop_k: 2\n",
    "gate: balanced_test\ntop_k: 1\n",
};
static const char *const orders[] = {
    "order: sorted\n",
    "order: tutel\ncapacity_factor: 1.0\ncapacity_group: 4\n",
    "order: gshard\ncapacity_factor: 0.5\ncapacity_group: 2\ndrop_policy: probs\n",
    "order: gshard\ncapacity_factor: 1.0\ncapacity_group: 4\n",
    "order: sorted\ncapacity_factor: 0.5\ncapacity_group: 4\n",
    "order: tutel\ncapacity_factor: 0.0\n",
    "order: tutel\ncapacity_factor: 1.0\n", /* groups as the ranks have tokens */
    "",
};
static const char *const experts[] = {"expert: gpt\nactivation: relu_squared\n",
                                      "expert: mixtral\nshared_experts: 1\nshared_gate: true\n",
                                      "expert: mixtral\nactivation: geglu\n"};
static const char *const alltoalls[] = {"direct", "1dh", "2dh"};
static const struct {
    int nodes, a_node, ep, esp, mp;
    const char *more;
} layouts[] = {{2, 2, 2, 2, 2, "forward_degree: 2\n"},
               {2, 2, 4, 1, 1, ""},
               {1, 4, 1, 4, 1, "schedule: fsmoe\n"},
               {4, 1, 2, 1, 1, "backward_degree: 3\n"},
               {2, 2, 1, 2, 2, "schedule: fsmoe-x\n"}};

#define COUNT(list) (sizeof(list) / sizeof *(list))

static const char sizes[] = "hidden: 8\nffn_hidden: 8\nnum_experts: 4\n";

/* ---- files, each rank its own ---- */

static void path_of(const char *file, char path[PATH_BYTES])
{
    snprintf(path, PATH_BYTES, "%s/%d-%.40s", directory, fsmoe_world_rank(world), file);
}

static void write_keys(const char *keys)
{
    char path[PATH_BYTES];
    path_of("layer.yaml", path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(keys, file) >= 0);
    fclose(file);
}

typedef struct tensors {
    fsm_tensor_spec specs[40];
    float *data[40];
    int count;
} tensors;

static void add(tensors *t, const char *name, int rank, const int64_t *shape)
{
    int64_t n = 1;
    fsm_tensor_spec *spec = &t->specs[t->count];
    *spec = (fsm_tensor_spec){.name = name, .dtype = FSM_DTYPE_F32, .rank = rank};
    for (int i = 0; i < rank; i++) n *= spec->shape[i] = shape[i];
    float *data = t->data[t->count] = malloc((size_t)n * sizeof *data);
    bool divides = strcmp(name, "gate.temperature") == 0; /* at its floor it would multiply rounding by a hundred */
    double mean = divides ? 0.5 : 0, spread = divides ? 0.1 : 0.7;
    for (int64_t i = 0; i < n; i++)
        data[i] = (float)(mean + spread * fsm_rng_normal(8, FSM_RNG_TEST, (uint64_t)(100000 * t->count + i)));
    t->count++;
}

/* Random tensors for the layer of these keys. */
static void write_tensors(const char *keys)
{
    static const char *const names[] = {
        "model.hidden",    "model.ffn_hidden", "moe.num_experts",    "moe.gate",         "moe.top_k",
        "moe.noisy",       "moe.jitter",       "moe.aux_loss",       "moe.z_loss_coeff", "moe.slots_per_expert",
        "moe.n_group",     "moe.topk_group",   "moe.expert",         "moe.activation",   "moe.shared_experts",
        "moe.shared_gate", "moe.hooks",        "moe.aux_loss_coeff", "moe.balanced"};
    const int64_t x[3] = {SAMPLES, LENGTH, HIDDEN};
    char path[PATH_BYTES], in[PATH_BYTES];
    fsmoe_config *config;
    fsm_topo topo;
    fsm_layer_params params;
    fsm_safetensors_writer *writer;
    tensors t = {.count = 0};
    write_keys(keys);
    path_of("layer.yaml", path);
    path_of("in.safetensors", in);
    assert_int_equal(fsmoe_config_create(&config), FSMOE_OK);
    if (fsm_config_load_flat(config, path, names, COUNT(names)) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    assert_int_equal(fsm_config_derive(config), FSMOE_OK);
    assert_int_equal(fsm_topo_create(1, 1, &config->parallel, 0, &topo), FSMOE_OK);
    assert_int_equal(fsm_layer_params_list(config, &topo, &params), FSMOE_OK);
    add(&t, "x", 3, x);
    add(&t, "dy", 3, x);
    for (int i = 0; i < params.count; i++) add(&t, params.items[i].name, params.items[i].rank, params.items[i].shape);
    assert_int_equal(fsm_safetensors_writer_create(in, NULL, 0, t.specs, (size_t)t.count, &writer), FSMOE_OK);
    for (int i = 0; i < t.count; i++) {
        size_t bytes = sizeof(float);
        for (int k = 0; k < t.specs[i].rank; k++) bytes *= (size_t)t.specs[i].shape[k];
        assert_int_equal(fsm_safetensors_writer_append(writer, t.data[i], bytes), FSMOE_OK);
        free(t.data[i]);
    }
    assert_int_equal(fsm_safetensors_writer_finish(writer, NULL), FSMOE_OK);
    fsmoe_config_destroy(config);
}

static fsmoe_status run(fsmoe_world *ranks, const char *keys, const char *name, bool eval)
{
    char layer[PATH_BYTES], in[PATH_BYTES], out[PATH_BYTES];
    write_keys(keys);
    path_of("layer.yaml", layer);
    path_of("in.safetensors", in);
    path_of(name, out);
    const fsmoe_layer_options options = {.layer = layer, .in = in, .out = out, .eval = eval};
    (void)fsm_fail(FSMOE_OK, "nothing was refused before this"); /* an older message is no answer */
    return fsmoe_layer(ranks, &options);
}

/* ---- combinations ---- */

/* Rank 0's files; all know. */
static void check_same(const char *keys, const char *want, const char *got, double band)
{
    char a[PATH_BYTES], b[PATH_BYTES];
    path_of(want, a);
    path_of(got, b);
    bool same = fsmoe_world_rank(world) != 0 || same_file(keys, a, b, band);
    if (fsmoe_world_agree(world, same ? FSMOE_OK : FSMOE_ERROR_NUMERIC) != FSMOE_OK) fail_msg("%s", keys);
}

/* The reason for a refusal says which key of the layer, with its place, or that one is missing. */
static bool names_a_key(const char *error)
{
    return strstr(error, "layer.yaml:") || strstr(error, "capacity_group is not given");
}

/* One layer in all layouts; how many were refused. Of the all-to-alls, which tests of their own show to give the same
 * bits, it is one a layout, by turns, unless FSMOE_TEST_LONG is set: the experts of a gate, order and layout have all
 * three. */
static int check_layouts(const char *base, size_t turn, bool allowed_alone)
{
    int refused = 0;
    for (size_t l = 0; l < COUNT(layouts); l++)
        for (size_t a = 0; a < COUNT(alltoalls); a++) {
            if (!getenv("FSMOE_TEST_LONG") && (turn + l) % COUNT(alltoalls) != a) continue;
            char keys[2 * KEYS_BYTES];
            snprintf(keys, sizeof keys,
                     "%salltoall: %s\nnodes: %d\nranks_per_node: %d\nep_size: %d\nesp_size: %d\nmp_size: %d\n%s", base,
                     alltoalls[a], layouts[l].nodes, layouts[l].a_node, layouts[l].ep, layouts[l].esp, layouts[l].mp,
                     layouts[l].more);
            fsmoe_status status = run(world, keys, "ranks.safetensors", false);
            if (status == FSMOE_OK) {
                if (!allowed_alone) fail_msg("allowed on ranks, not alone:\n%s", keys);
                check_same(keys, "alone.safetensors", "ranks.safetensors", BAND);
                continue;
            }
            bool needs_groups = strstr(fsmoe_last_error(), "capacity_group") != NULL;
            if (allowed_alone && !needs_groups) fail_msg("%s:\n%s", fsmoe_last_error(), keys);
            if (status != FSMOE_ERROR_CONFIG || !names_a_key(fsmoe_last_error())) fail_msg("%s", fsmoe_last_error());
            refused++;
        }
    return refused;
}

static void test_layer_combinations(void **state)
{
    (void)state;
    int allowed = 0, refused = 0;
    fsm_comm *self;
    assert_int_equal(fsm_comm_create_self(&self), FSMOE_OK);
    fsmoe_world alone = {.comm = self};
    for (size_t g = 0; g < COUNT(gates); g++)
        for (size_t e = 0; e < COUNT(experts); e++) {
            char keys[KEYS_BYTES];
            snprintf(keys, sizeof keys, "%s%s%s", sizes, gates[g], experts[e]);
            write_tensors(keys);
            for (size_t o = 0; o < COUNT(orders); o++) {
                snprintf(keys, sizeof keys, "%s%s%s%s", sizes, gates[g], experts[e], orders[o]);
                fsmoe_status status = run(&alone, keys, "alone.safetensors", false);
                if (status != FSMOE_OK && (status != FSMOE_ERROR_CONFIG || !names_a_key(fsmoe_last_error())))
                    fail_msg("%s", fsmoe_last_error());
                allowed += status == FSMOE_OK;
                if (fsmoe_world_size(world) == 4) refused += check_layouts(keys, e + o, status == FSMOE_OK);
            }
        }
    assert_true(allowed > 170);
    if (fsmoe_world_size(world) == 4) assert_true(refused > (getenv("FSMOE_TEST_LONG") ? 300 : 100));
    fsm_comm_destroy(self);
}

/* ---- devices ---- */

/* In training or evaluation; false: it is refused on both. */
static bool check_apart(const char *keys, bool eval)
{
    setenv("FSMOE_DEVICE", "host", 1);
    fsmoe_status on_host = run(world, keys, "host.safetensors", eval);
    setenv("FSMOE_DEVICE", "apart", 1);
    fsmoe_status apart = run(world, keys, "apart.safetensors", eval);
    if (apart != on_host) fail_msg("status %d on the host, %d apart:\n%s", on_host, apart, keys);
    if (apart == FSMOE_OK) check_same(keys, "host.safetensors", "apart.safetensors", 0);
    return apart == FSMOE_OK;
}

/* One process: what travels between ranks apart is tests/test_apart.sh's. */
static void test_layer_combinations_apart_have_the_bits_of_the_host(void **state)
{
    (void)state;
    if (fsmoe_world_size(world) > 1) skip();
    const char *device = getenv("FSMOE_DEVICE");
    char *before = device ? strdup(device) : NULL;
    int allowed = 0;
    for (size_t g = 0; g < COUNT(gates); g++)
        for (size_t e = 0; e < COUNT(experts); e++)
            for (size_t o = 0; o < COUNT(orders); o++) {
                char keys[KEYS_BYTES];
                snprintf(keys, sizeof keys, "%s%s%s", sizes, gates[g], experts[e]);
                if (o == 0) write_tensors(keys);
                strcat(keys, orders[o]);
                allowed += check_apart(keys, false) && check_apart(keys, true);
            }
    assert_true(allowed > 170);
    if (before) setenv("FSMOE_DEVICE", before, 1);
    else unsetenv("FSMOE_DEVICE");
    free(before);
}

/* ---- ways and evaluation ---- */

/* Packed rows travel as whole ones do: whichever way, the same bits. */
static void test_layer_packed_rows_travel_any_way(void **state)
{
    (void)state;
    if (fsmoe_world_size(world) != 4) skip();
    for (size_t o = 0; o < COUNT(orders); o++)
        for (size_t l = 0; l < COUNT(layouts); l++)
            for (size_t a = 0; a < COUNT(alltoalls); a++) {
                char keys[2 * KEYS_BYTES];
                snprintf(keys, sizeof keys, "%s%s%s", sizes, gates[0], experts[1]);
                if (l == 0 && a == 0) write_tensors(keys);
                snprintf(keys + strlen(keys), sizeof keys - strlen(keys),
                         "%shooks: [wire_bf16]\nalltoall: %s\nnodes: %d\nranks_per_node: %d\nep_size: %d\n"
                         "esp_size: %d\nmp_size: %d\n%s",
                         orders[o], alltoalls[a], layouts[l].nodes, layouts[l].a_node, layouts[l].ep, layouts[l].esp,
                         layouts[l].mp, layouts[l].more);
                fsmoe_status status = run(world, keys, a == 0 ? "direct.safetensors" : "other.safetensors", false);
                if (status != FSMOE_OK && strstr(fsmoe_last_error(), "capacity_group")) break;
                if (status != FSMOE_OK) fail_msg("%s:\n%s", fsmoe_last_error(), keys);
                if (a > 0) check_same(keys, "direct.safetensors", "other.safetensors", 0);
            }
}

/* Files that are to be the same in evaluation: what training draws and balances does not matter there. */
static void check_eval_ignores(const char *gate, const char *key)
{
    char keys[KEYS_BYTES];
    snprintf(keys, sizeof keys, "%s%s%s", sizes, gate, experts[0]);
    write_tensors(keys);
    snprintf(keys, sizeof keys, "%s%s%s%s", sizes, gate, experts[0], orders[1]);
    assert_int_equal(run(world, keys, "without.safetensors", true), FSMOE_OK);
    snprintf(keys, sizeof keys, "%s%s%s%s%s", sizes, gate, experts[0], orders[1], key);
    if (run(world, keys, "with.safetensors", true) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    check_same(keys, "without.safetensors", "with.safetensors", 0);
    assert_int_equal(run(world, keys, "training.safetensors", false), FSMOE_OK);
    char a[PATH_BYTES], b[PATH_BYTES];
    path_of("without.safetensors", a);
    path_of("training.safetensors", b);
    bool differs = fsmoe_world_rank(world) != 0 || !same_file("differs, as it should", a, b, 0);
    if (!differs) fail_msg("%s changes nothing in training", key);
}

static void test_layer_evaluation_draws_and_balances_nothing(void **state)
{
    (void)state;
    check_eval_ignores("gate: switch\ntop_k: 1\n", "jitter: 0.1\n");
    check_eval_ignores("gate: sigmoid\ntop_k: 1\n", "balanced: true\n");
}

/* Nothing differs from one run to the next. */
static void test_layer_evaluation_is_deterministic(void **state)
{
    (void)state;
    for (size_t g = 0; g < COUNT(gates); g++) {
        char keys[KEYS_BYTES];
        /* which needs a capacity; or, on ranks, groups */
        bool grouped = strstr(gates[g], "expert_choice") || strstr(gates[g], "balanced: true");
        snprintf(keys, sizeof keys, "%s%s%s", sizes, gates[g], experts[0]);
        write_tensors(keys);
        snprintf(keys, sizeof keys, "%s%s%s%s", sizes, gates[g], experts[0], grouped ? orders[1] : "");
        assert_int_equal(run(world, keys, "first.safetensors", true), FSMOE_OK);
        assert_int_equal(run(world, keys, "second.safetensors", true), FSMOE_OK);
        check_same(keys, "first.safetensors", "second.safetensors", 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layer_combinations),
        cmocka_unit_test(test_layer_combinations_apart_have_the_bits_of_the_host),
        cmocka_unit_test(test_layer_packed_rows_travel_any_way),
        cmocka_unit_test(test_layer_evaluation_draws_and_balances_nothing),
        cmocka_unit_test(test_layer_evaluation_is_deterministic),
    };
    if (!mkdtemp(directory) || fsmoe_world_create(&world) != FSMOE_OK) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fsmoe_world_destroy(world);
    char command[PATH_BYTES];
    snprintf(command, sizeof command, "rm -r %s", directory);
    return system(command) == 0 ? failed : 1;
}
