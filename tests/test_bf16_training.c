/* Training with rows of bf16: losses follow those of fp32, are the same bits when repeated on as many threads, and
 * follow those of one rank on four; rows take two bytes on the wire; what is saved with one type is what the other
 * loads.
 * Oracles: the same training in fp32, and on one rank; bytes counted as they are posted. Ranks are threads. */
#include "cpu/bf16_matmul.h"
#include "lanes_case.h"

#include "train/checkpoint.h"
#include "train/dtype.h"
#include "train/products.h"

/* By how much a token's loss, or their mean, may differ: an absolute number, as a loss is a difference of logits. A
 * rounded row is off by 2^-9 of itself at most. Some ten roundings lie between a token and its logits, so logits of a
 * few units are off by 2e-2 or less, mostly this way and that; so is a token's loss, and the mean over tokens by far
 * less. What is left is for tokens that go to other experts, whose effect training magnifies. */
static const double BAND = 2e-2;
enum { STEPS = 20, BATCH = 8 };

#define BF16 "train.compute_dtype=bf16"
#define MODEL                                                                                                    \
    "model.hidden=32", "model.ffn_hidden=48", "model.num_layers=2", "model.num_heads=4", "model.num_kv_heads=2", \
        "model.vocab_size=256", "moe.num_experts=4", "data.seq_len=16", "train.global_batch=8", "train.lr=3e-3", \
        "train.warmup_steps=2", "train.clip_grad=1"
#define ON_4_RANKS "parallel.nodes=2", "parallel.ranks_per_node=2", "parallel.threads=1"

enum { MOST = 24 };
typedef const char *settings_of[MOST];

/* A kind of each: what a gate, an order or a family does with rows of its own. */
static const settings_of kinds[] = {
    {"moe.top_k=2"},
    {"model.family=gpt2", "moe.shared_experts=1", "moe.shared_gate=true", "model.num_kv_heads=4"},
    {"moe.gate=switch", "moe.top_k=1", "moe.jitter=0.1", "moe.capacity_factor=1.5", "moe.order=gshard"},
    {"moe.gate=xmoe", "moe.top_k=1", "moe.capacity_factor=1.25", "moe.order=tutel"},
    {"moe.gate=soft", "moe.allow_non_causal=true", "moe.slots_per_expert=2", "moe.normalize_slots=true"},
    {"moe.gate=deepseek", "moe.n_group=2", "moe.drop_policy=probs", "moe.capacity_factor=2"},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static fsmoe_config *configure(const char *const *base, const char *const *more, const char *one, const char *two)
{
    const char *settings[2 * MOST] = {NULL};
    int n = 0;
    for (; *base; base++) settings[n++] = *base;
    for (; *more; more++) settings[n++] = *more;
    if (one) settings[n++] = one;
    if (two) settings[n++] = two;
    return model_case_config(settings);
}

/* ---- messages are counted by type ---- */

typedef struct spy {
    fsm_data_table table;
    const fsm_data_table *below;
    int64_t elems[FSM_COMM_TYPES];
} spy;

static fsmoe_status spied_all_to_all(fsm_comm *comm, fsm_comm_type type, const void *send, const int64_t *send_counts,
                                     void *recv, const int64_t *recv_counts)
{
    spy *s = comm->data_state;
    for (int r = 0; r < comm->size; r++) s->elems[type] += send_counts[r];
    return s->below->start_all_to_all(comm, type, send, send_counts, recv, recv_counts);
}

static fsmoe_status spied_send(fsm_comm *comm, int slot, int to, fsm_comm_type type, const void *elems, int64_t count)
{
    spy *s = comm->data_state;
    s->elems[type] += count;
    return s->below->post_send(comm, slot, to, type, elems, count);
}

static void attach(fsm_comm *comm, spy *s)
{
    *s = (spy){.table = *comm->data, .below = comm->data};
    s->table.start_all_to_all = spied_all_to_all;
    s->table.post_send = spied_send;
    comm->data = &s->table;
    comm->data_state = s;
}

static void detach(fsm_comm *comm, const spy *s)
{
    comm->data = s->below;
    comm->data_state = NULL;
}

/* ---- training ---- */

/* losses[STEPS]; *rows: what travelled between expert-parallel ranks, by type, where that is not NULL. */
static fsmoe_status train(const fsmoe_config *config, fsm_comm *comm, double *losses, int64_t *rows)
{
    const fsm_model_options options = {.max_samples = BATCH, .training = true};
    fsm_stepper s;
    fsm_batches batches;
    spy spied;
    FSM_TRY(fsm_stepper_create(config, comm, &options, &s));
    FSM_TRY(fsm_batches_create(tokens, config->data.seq_len, 3, true, config->train.micro_batch, &s.topo, &batches));
    fsm_comm *group = s.groups[FSM_GROUP_EP];
    if (rows) attach(group, &spied);
    for (int i = 0; i < STEPS; i++) {
        FSM_TRY(fsm_stepper_train(&s, &batches, i * BATCH));
        fsm_model_sums sums = fsm_model_loss_sums(s.model, s.model->totals);
        losses[i] = sums.loss / sums.tokens;
    }
    if (rows) memcpy(rows, spied.elems, sizeof spied.elems);
    if (rows) detach(group, &spied);
    fsm_batches_destroy(&batches);
    fsm_stepper_destroy(&s);
    return FSMOE_OK;
}

static void train_alone(const char *const *kind, const char *dtype, const char *threads, double *losses)
{
    static const char *const base[] = {MODEL, NULL};
    fsmoe_config *config = configure(base, kind, dtype, threads);
    fsm_comm *self;
    assert_int_equal(fsm_comm_create_self(&self), FSMOE_OK);
    if (train(config, self, losses, NULL) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    fsm_comm_destroy(self);
    fsmoe_config_destroy(config);
}

static void assert_follow(const char *what, const double *got, const double *want)
{
    for (int i = 0; i < STEPS; i++)
        if (!(fabs(got[i] - want[i]) <= BAND)) fail_msg("%s, step %d: loss %.6g, want %.6g", what, i, got[i], want[i]);
}

static void test_bf16_losses_follow_fp32(void **state)
{
    (void)state;
    for (int i = 0; i < KINDS; i++) {
        double fp32[STEPS], bf16[STEPS], again[STEPS], two[STEPS], two_again[STEPS];
        train_alone(kinds[i], NULL, "parallel.threads=1", fp32);
        train_alone(kinds[i], BF16, "parallel.threads=1", bf16);
        train_alone(kinds[i], BF16, "parallel.threads=1", again);
        train_alone(kinds[i], BF16, "parallel.threads=2", two);
        train_alone(kinds[i], BF16, "parallel.threads=2", two_again);
        assert_follow(kinds[i][0], bf16, fp32);
        assert_follow(kinds[i][0], two, fp32);
        assert_true(memcmp(bf16, fp32, sizeof bf16) != 0);
        assert_memory_equal(bf16, again, sizeof bf16);
        assert_memory_equal(two, two_again, sizeof two);
        assert_true(bf16[STEPS - 1] < bf16[0]);
    }
}

/* ---- ranks ---- */

typedef struct rank {
    const char *const *layout;
    const char *dtype;
    double losses[STEPS];
    int64_t rows[FSM_COMM_TYPES];
} rank;

/* As many rows travel as the capacity says, wherever tokens go. */
static const char *const padded[] = {"moe.capacity_factor=1.25", "moe.capacity_group=16", "moe.order=tutel", NULL};

static fsmoe_status train_rank(fsm_comm *comm, void *own)
{
    static const char *const base[] = {
        MODEL, ON_4_RANKS, "moe.capacity_factor=1.25", "moe.capacity_group=16", "moe.order=tutel", NULL};
    rank *r = own;
    fsmoe_config *config = configure(base, r->layout, r->dtype, NULL);
    fsmoe_status status = train(config, comm, r->losses, r->rows);
    fsmoe_config_destroy(config);
    return status;
}

static void train_ranks(const char *const *layout, const char *dtype, rank *ranks)
{
    for (int r = 0; r < RANKS; r++) ranks[r] = (rank){.layout = layout, .dtype = dtype};
    run_ranks(layout[0], RANKS, train_rank, ranks, sizeof *ranks);
}

static void test_bf16_on_four_ranks_is_what_it_is_on_one_and_travels_in_two_bytes(void **state)
{
    (void)state;
    static const char *const layouts[][4] = {
        {"parallel.ep_size=4"},
        {"parallel.ep_size=2", "parallel.mp_size=2"},
        {"parallel.ep_size=2", "parallel.esp_size=2", "parallel.mp_size=2"},
        {"parallel.ep_size=4", "moe.alltoall=1dh"},
        {"parallel.ep_size=4", "moe.alltoall=2dh"},
    };
    double one[STEPS];
    train_alone(padded, BF16, "parallel.threads=1", one);
    for (size_t l = 0; l < sizeof layouts / sizeof *layouts; l++) {
        rank narrow[RANKS], wide[RANKS];
        train_ranks(layouts[l], BF16, narrow);
        train_ranks(layouts[l], NULL, wide);
        assert_follow(layouts[l][0], narrow[0].losses, one);
        for (int r = 0; r < RANKS; r++) {
            assert_memory_equal(narrow[r].losses, narrow[0].losses, sizeof one);
            assert_true(narrow[r].rows[FSM_COMM_BF16] > 0);
            assert_int_equal(narrow[r].rows[FSM_COMM_BF16], wide[r].rows[FSM_COMM_FP32]);
            assert_int_equal(narrow[r].rows[FSM_COMM_FP32], 0);
            assert_int_equal(wide[r].rows[FSM_COMM_BF16], 0);
        }
    }
}

/* ---- what is saved ---- */

static fsmoe_config *begin(const char *dtype, fsm_comm *self, fsm_stepper *s)
{
    static const char *const base[] = {MODEL, "parallel.threads=1", NULL}, *const none[] = {NULL};
    const fsm_model_options options = {.max_samples = BATCH, .training = true};
    fsmoe_config *config = configure(base, none, dtype, NULL);
    assert_int_equal(fsm_stepper_create(config, self, &options, s), FSMOE_OK);
    return config;
}

static void train_some(fsm_stepper *s, int64_t first)
{
    fsm_batches batches;
    assert_int_equal(fsm_batches_create(tokens, 16, 3, true, BATCH, &s->topo, &batches), FSMOE_OK);
    for (int64_t i = first; i < first + 3; i++) assert_int_equal(fsm_stepper_train(s, &batches, i * BATCH), FSMOE_OK);
    fsm_batches_destroy(&batches);
}

/* Weights and moments that one type has made are the other's, to the bit, and it goes on with them. */
static void check_saved(const char *saved_with, const char *loaded_with)
{
    char dir[] = "/tmp/fsmoe-bf16-XXXXXX", folder[FSM_PATH_BYTES];
    fsm_comm *self;
    fsm_stepper from, to;
    fsm_run_state now = {.step = 3, .best_loss = NAN};
    assert_int_equal(fsm_comm_create_self(&self), FSMOE_OK);
    assert_non_null(mkdtemp(dir));
    assert_int_equal(fsm_run_id_make(&now.run), FSMOE_OK);
    fsmoe_config *configs[] = {begin(saved_with, self, &from), begin(loaded_with, self, &to)};
    train_some(&from, 0);
    if (fsm_checkpoint_save(&from, dir, &now, 2) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    snprintf(folder, sizeof folder, "%s/checkpoint-3", dir);
    if (fsm_checkpoint_load(&to, folder, 3) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    size_t bytes = sizeof(float) * (size_t)from.model->params.elems;
    assert_memory_equal(to.model->values, from.model->values, bytes);
    assert_memory_equal(to.optimizer.m, from.optimizer.m, bytes);
    assert_memory_equal(to.optimizer.v, from.optimizer.v, bytes);
    train_some(&to, 3);
    train_some(&from, 3);
    fsm_model_sums sums[] = {fsm_model_loss_sums(from.model, from.model->totals),
                             fsm_model_loss_sums(to.model, to.model->totals)};
    assert_true(fabs(sums[1].loss - sums[0].loss) <= BAND * sums[0].tokens);
    assert_int_equal(fsm_file_remove_tree(dir), FSMOE_OK);
    fsm_stepper_destroy(&from);
    fsm_stepper_destroy(&to);
    for (int i = 0; i < 2; i++) fsmoe_config_destroy(configs[i]);
    fsm_comm_destroy(self);
}

static void test_bf16_checkpoints_of_either_type_load_in_the_other(void **state)
{
    (void)state;
    check_saved(NULL, BF16);
    check_saved(BF16, NULL);
}

/* ---- memory ---- */

/* Where rows are multiplied as they are there is one way, and nothing to measure. */
static void test_bf16_products_are_measured_only_where_there_are_ways(void **state)
{
    (void)state;
    static const char *const base[] = {MODEL, NULL}, *const none[] = {NULL};
    fsmoe_config *wide = configure(base, none, "train.products=measured", NULL);
    fsmoe_config *narrow = configure(base, none, "train.products=measured", BF16);
    assert_true(fsm_measures_products(wide));
    assert_int_equal(fsm_measures_products(narrow), !fsm_cpu_multiplies_bf16());
    fsmoe_config_destroy(wide);
    fsmoe_config_destroy(narrow);
}

/* Routing is fp32: where weights have copies that may be bf16, routers' have none. */
static void test_bf16_routers_have_no_copies(void **state)
{
    (void)state;
    fsm_comm *self;
    fsm_stepper s;
    assert_int_equal(fsm_comm_create_self(&self), FSMOE_OK);
    fsmoe_config *config = begin(BF16, self, &s);
    const fsm_moe *moe = &s.model->layers[0].moe;
    assert_non_null(moe->gate.weights[0].w);
    assert_null(moe->gate.weights[0].pack);
    if (fsm_cpu_multiplies_bf16()) assert_non_null(moe->experts.in[0].weight.pack);
    fsm_stepper_destroy(&s);
    fsmoe_config_destroy(config);
    fsm_comm_destroy(self);
}

static void test_bf16_passes_take_less_memory(void **state)
{
    (void)state;
    static const char *const base[] = {MODEL, NULL}, *const none[] = {NULL};
    size_t bytes[2];
    for (int i = 0; i < 2; i++) {
        fsmoe_config *config = configure(base, none, i ? BF16 : NULL, NULL);
        const fsm_model_options options = {.max_samples = BATCH, .training = true};
        fsm_model_memory without;
        fsm_topo topo;
        assert_int_equal(fsm_topo_create(1, 1, &config->parallel, 0, &topo), FSMOE_OK);
        assert_int_equal(fsm_model_measure(config, NULL, &topo, &options, &without), FSMOE_OK);
        bytes[i] = without.pass_bytes[0];
        fsmoe_config_destroy(config);
    }
    assert_in_range(bytes[1], bytes[0] / 2, bytes[0] * 9 / 10);
}

/* ---- plans ---- */

static bool moves_rows(const fsm_task *t)
{
    return t->kind == FSM_TASK_A2A_DISPATCH || t->kind == FSM_TASK_A2A_COMBINE || t->kind == FSM_TASK_ALLGATHER ||
           t->kind == FSM_TASK_REDUCESCATTER ||
           ((t->kind == FSM_TASK_MP_ALLGATHER || t->kind == FSM_TASK_FFN_ALLGATHER) && t->phase == FSM_FORWARD);
}

static bool exchanges_rows(const fsm_task *t)
{
    return t->kind == FSM_TASK_A2A_DISPATCH || t->kind == FSM_TASK_A2A_COMBINE;
}

/* The plain graph of a training step on four ranks. */
static fsm_graph graph_of(const fsmoe_config *config)
{
    fsm_params params;
    fsm_topo topo;
    fsm_step_shape shape;
    fsm_graph graph;
    assert_int_equal(fsm_topo_create(2, 2, &config->parallel, 0, &topo), FSMOE_OK);
    assert_int_equal(fsm_params_create(config, &topo, &params), FSMOE_OK);
    assert_int_equal(fsm_step_describe(config, &topo, &params, BATCH / 2, true, &shape), FSMOE_OK);
    assert_int_equal(fsm_schedule_in_order(&shape, 2, 2, &graph), FSMOE_OK);
    fsm_step_shape_destroy(&shape);
    fsm_params_destroy(&params);
    return graph;
}

/* With the setting these tasks move half, and all else is as it was. */
static void check_halved(const char *setting, bool (*is_halved)(const fsm_task *), int least)
{
    static const char *const base[] = {
        MODEL, ON_4_RANKS, "parallel.ep_size=2", "parallel.esp_size=2", "parallel.mp_size=2", "model.moe_every=2",
        NULL};
    static const char *const none[] = {NULL};
    fsmoe_config *configs[] = {configure(base, none, NULL, NULL), configure(base, none, setting, NULL)};
    fsm_graph wide = graph_of(configs[0]), narrow = graph_of(configs[1]);
    int halved = 0;
    assert_int_equal(wide.count, narrow.count);
    for (int i = 0; i < wide.count; i++) {
        bool half = is_halved(&wide.tasks[i]);
        halved += half;
        if (narrow.tasks[i].size != (half ? wide.tasks[i].size / 2 : wide.tasks[i].size))
            fail_msg("%s, task %d: %g of %g", setting, i, narrow.tasks[i].size, wide.tasks[i].size);
    }
    assert_true(halved >= least);
    fsm_graph_destroy(&wide);
    fsm_graph_destroy(&narrow);
    for (int i = 0; i < 2; i++) fsmoe_config_destroy(configs[i]);
}

static void test_bf16_plans_have_rows_of_half_the_bytes(void **state)
{
    (void)state;
    check_halved(BF16, moves_rows, 9);
}

/* Rows are put closer together for dispatch and combine alone. */
static void test_plans_count_what_hooks_leave_of_the_bytes(void **state)
{
    (void)state;
    check_halved("moe.hooks=[wire_bf16, token_histogram]", exchanges_rows, 4);
}

/* Without arithmetic of bf16, or with no more than fp32 has, there is nothing to be gained. */
static void test_bf16_is_taken_only_where_it_is_clearly_faster(void **state)
{
    (void)state;
    assert_false(fsm_dtype_is_bf16((const double[]){0, 0}));
    assert_false(fsm_dtype_is_bf16((const double[]){134, 70}));
    assert_false(fsm_dtype_is_bf16((const double[]){100, 104}));
    assert_true(fsm_dtype_is_bf16((const double[]){500, 1050}));
    double gflops[2];
    assert_int_equal(fsm_cpu_compare_rows(2, 64, 32, gflops), FSMOE_OK);
    assert_int_equal(gflops[1] > 0, fsm_cpu_multiplies_bf16());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bf16_losses_follow_fp32),
        cmocka_unit_test(test_bf16_on_four_ranks_is_what_it_is_on_one_and_travels_in_two_bytes),
        cmocka_unit_test(test_bf16_checkpoints_of_either_type_load_in_the_other),
        cmocka_unit_test(test_bf16_routers_have_no_copies),
        cmocka_unit_test(test_bf16_products_are_measured_only_where_there_are_ways),
        cmocka_unit_test(test_bf16_passes_take_less_memory),
        cmocka_unit_test(test_bf16_plans_have_rows_of_half_the_bytes),
        cmocka_unit_test(test_plans_count_what_hooks_leave_of_the_bytes),
        cmocka_unit_test(test_bf16_is_taken_only_where_it_is_clearly_faster),
    };
    return cmocka_run_group_tests(tests, open_tokens, close_tokens);
}
