/* Whole training steps with each all-to-all: losses, gradients and what evaluation computes are those of `direct`, bit
 * for bit, with uneven rows, in chunks, and where an EP group has every other rank of a node. Uneven nodes are refused
 * on all ranks. Ranks are threads of this process. */
#include "model_case.h"
#include "thread_comm.h"
#include "train/profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { STEPS = 3, TOKENS = 16, SAMPLES = 8, LAYOUT_SETTINGS = 6 };

static const char *const tiny[] = {
    "model.hidden=16",      "model.ffn_hidden=24",  "model.num_layers=2",    "model.num_heads=4",
    "moe.num_experts=8",    "data.seq_len=16",      "moe.z_loss_coeff=0.01", "moe.aux_loss_coeff=0.05",
    "model.vocab_size=256", "train.global_batch=8", "train.micro_batch=8",   "parallel.threads=1",
};

typedef struct layout {
    int ranks, forward_degree, backward_degree;
    const char *settings[LAYOUT_SETTINGS];
} layout;

static const layout layouts[] = {
    {4, 1, 1, {"parallel.nodes=2", "parallel.ep_size=4", "moe.capacity_factor=0"}},
    {4, 3, 2, {"parallel.nodes=2", "parallel.ep_size=4", "moe.capacity_factor=0"}},
    {8, 2, 3, {"parallel.nodes=2", "parallel.ep_size=8", "moe.capacity_factor=0"}},
    {8, 3, 1, {"parallel.nodes=4", "parallel.ep_size=8", "moe.capacity_factor=1.25", "moe.order=tutel"}},
    {8, 2, 2, {"parallel.nodes=2", "parallel.ep_size=4", "parallel.esp_size=2", "parallel.mp_size=2"}},
};

static const layout uneven = {6,
                              1,
                              1,
                              {"parallel.nodes=2", "parallel.ep_size=3", "parallel.esp_size=2", "moe.num_experts=6",
                               "train.global_batch=6", "train.micro_batch=6"}};

/* One rank and what it finds. */
typedef struct rank_run {
    thread_group *group;
    int rank;
    const layout *layout;
    const char *alltoall;
    fsmoe_status status;
    char sentence[512];
    double losses[STEPS];
    uint64_t digest;     /* of gradients, and of what evaluation computes */
    int profiled_points; /* of its all-to-all */
    pthread_t thread;
} rank_run;

static uint64_t add_to_digest(uint64_t digest, const float *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        digest = (digest ^ bits) * 1099511628211u;
    }
    return digest;
}

static fsm_batch make_batch(const fsm_stepper *s, int step, int32_t *ids, int32_t *targets)
{
    int samples = SAMPLES / s->topo.dp;
    for (int i = 0; i < samples * TOKENS; i++) {
        uint64_t at = (uint64_t)((step * SAMPLES + s->topo.dp_index * samples) * TOKENS + i);
        ids[i] = (int32_t)(fsm_rng_bits(5, FSM_RNG_TEST, at) % 256);
        targets[i] = (int32_t)(fsm_rng_bits(6, FSM_RNG_TEST, at) % 256);
    }
    return (fsm_batch){.samples = samples, .seq_len = TOKENS, .ids = ids, .targets = targets};
}

/* Evaluation drops nothing, so it sends more rows than training with a capacity. */
static fsmoe_status evaluate(rank_run *r, fsm_stepper *s)
{
    int32_t ids[SAMPLES * TOKENS], targets[SAMPLES * TOKENS];
    fsm_batch batch = make_batch(s, STEPS, ids, targets);
    FSM_TRY(fsm_stepper_forward(s, &batch));
    r->digest = add_to_digest(r->digest, s->model->passes[0].x_out,
                              s->model->passes[0].n_local * s->model->config->model.hidden);
    return FSMOE_OK;
}

static fsmoe_status profile(rank_run *r, fsm_stepper *s)
{
    fsm_cluster cluster;
    const fsm_profile_options options = {.min_elems = 61, .max_elems = 1000, .points = 4, .repeats = 1, .budget_s = 60};
    FSM_TRY(fsm_profile_stepper(s, &options, &cluster));
    r->profiled_points = cluster.op[FSM_COST_ALLTOALL].point_count;
    fsm_cluster_destroy(&cluster);
    return FSMOE_OK;
}

static fsmoe_status train(rank_run *r, fsm_stepper *s)
{
    fsm_step_shape shape;
    fsm_graph graph;
    FSM_TRY(fsm_stepper_shape(s, &shape));
    FSM_TRY(fsm_schedule_in_order(&shape, r->layout->forward_degree, r->layout->backward_degree, &graph));
    fsm_step_shape_destroy(&shape);
    FSM_TRY(fsm_stepper_use_graph(s, graph));
    model_case_randomize(&s->model->params, 0.2f, s->model->values);
    fsm_model_update_weights(s->model);
    for (int step = 0; step < STEPS; step++) {
        int32_t ids[SAMPLES * TOKENS], targets[SAMPLES * TOKENS];
        fsm_batch batch = make_batch(s, step, ids, targets);
        s->optimizer.lr = 1e-3;
        FSM_TRY(fsm_stepper_train_batch(s, &batch, SAMPLES * TOKENS));
        fsm_model_sums sums = fsm_model_loss_sums(s->model, s->model->step_sums);
        r->losses[step] = sums.loss / sums.tokens;
        r->digest = add_to_digest(r->digest, s->model->grads, s->model->params.elems);
    }
    return FSMOE_OK;
}

static fsmoe_status run_steps(rank_run *r, const fsmoe_config *config, fsm_comm *comm)
{
    fsm_stepper s;
    int dp = comm->size / (int)config->parallel.mp_size;
    const fsm_model_options options = {.max_samples = SAMPLES / dp, .training = true};
    FSM_TRY(fsm_stepper_create(config, comm, &options, &s));
    fsmoe_status status = train(r, &s);
    if (status == FSMOE_OK) status = evaluate(r, &s);
    if (status == FSMOE_OK) status = profile(r, &s);
    fsm_stepper_destroy(&s);
    return status;
}

static void *run_rank(void *user)
{
    rank_run *r = user;
    const char *settings[32];
    char alltoall[64];
    int n = 0;
    for (size_t i = 0; i < sizeof tiny / sizeof *tiny; i++) settings[n++] = tiny[i];
    for (int i = 0; i < LAYOUT_SETTINGS && r->layout->settings[i]; i++) settings[n++] = r->layout->settings[i];
    snprintf(alltoall, sizeof alltoall, "moe.alltoall=%s", r->alltoall);
    settings[n++] = alltoall;
    settings[n] = NULL;
    fsmoe_config *config = model_case_config(settings);
    fsm_comm *comm = thread_comm_of(r->group, r->rank);
    r->status = run_steps(r, config, comm);
    if (r->status != FSMOE_OK) snprintf(r->sentence, sizeof r->sentence, "%s", fsmoe_last_error());
    fsm_comm_destroy(comm);
    fsmoe_config_destroy(config);
    return NULL;
}

static void run_ranks(const layout *l, const char *alltoall, rank_run *runs)
{
    thread_group *group = thread_group_create(l->ranks);
    for (int r = 0; r < l->ranks; r++) {
        runs[r] = (rank_run){.group = group, .rank = r, .layout = l, .alltoall = alltoall};
        assert_int_equal(pthread_create(&runs[r].thread, NULL, run_rank, &runs[r]), 0);
    }
    for (int r = 0; r < l->ranks; r++) pthread_join(runs[r].thread, NULL);
}

static void check_steps(const char *alltoall)
{
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        rank_run want[THREAD_MOST_RANKS], got[THREAD_MOST_RANKS];
        run_ranks(&layouts[i], "direct", want);
        run_ranks(&layouts[i], alltoall, got);
        for (int r = 0; r < layouts[i].ranks; r++) {
            if (want[r].status != FSMOE_OK || got[r].status != FSMOE_OK)
                fail_msg("layout %zu: %s%s", i, want[r].sentence, got[r].sentence);
            assert_true(want[r].losses[0] > 1 && want[r].losses[1] != want[r].losses[0]);
            assert_memory_equal(got[r].losses, want[r].losses, sizeof want[r].losses);
            assert_true(got[r].digest == want[r].digest);
            assert_int_equal(got[r].profiled_points, 4);
        }
    }
}

static void test_alltoall_steps_with_1dh_are_those_with_direct(void **state)
{
    (void)state;
    check_steps("1dh");
}

static void test_alltoall_steps_with_2dh_are_those_with_direct(void **state)
{
    (void)state;
    check_steps("2dh");
}

static void test_alltoall_steps_on_uneven_nodes_are_refused(void **state)
{
    (void)state;
    rank_run runs[THREAD_MOST_RANKS];
    for (int kind = 0; kind < 2; kind++) {
        run_ranks(&uneven, kind == 0 ? "1dh" : "2dh", runs);
        for (int r = 0; r < uneven.ranks; r++) {
            assert_int_equal(runs[r].status, FSMOE_ERROR_LAYOUT);
            assert_non_null(strstr(runs[r].sentence, "one node holds 2 ranks"));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alltoall_steps_with_1dh_are_those_with_direct),
        cmocka_unit_test(test_alltoall_steps_with_2dh_are_those_with_direct),
        cmocka_unit_test(test_alltoall_steps_on_uneven_nodes_are_refused),
    };
    alarm(300); /* ranks that wait for each other would wait for ever */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
