/* Every schedule, every pair of degrees up to four, every layout, gate and expert of the tables: ten training steps
 * have the losses of dsmoe's, and the same bits when they are run again. Ranks are threads of this process. */
#include "model_case.h"
#include "moe/expert/expert.h"
#include "moe/gate/gate.h"
#include "plan/plan.h"
#include "thread_comm.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { RANKS = 4, STEPS = 10, MOST_DEGREE = 4, MOST_VARIANTS = 64, PASSES = 2, TOKENS = 16 };

static const char *const tiny[] = {
    "model.hidden=16",      "model.ffn_hidden=24",       "model.num_layers=2",       "model.num_heads=4",
    "moe.num_experts=4",    "data.seq_len=16",           "moe.z_loss_coeff=0.01",    "moe.aux_loss_coeff=0.05",
    "model.vocab_size=256", "train.global_batch=4",      "train.micro_batch=4",      "parallel.threads=1",
    "parallel.nodes=2",     "parallel.ranks_per_node=2", "parallel.progress=thread", NULL};

/* How the model lies over the ranks, and what else changes a step's graph. */
static const char *const layouts[][5] = {
    {"parallel.ep_size=2", "parallel.esp_size=2", "parallel.mp_size=2", "moe.order=tutel", "moe.capacity_factor=1.5"},
    {"parallel.ep_size=4", "parallel.esp_size=1", "parallel.mp_size=1", "moe.order=sorted", "moe.capacity_factor=0"},
    {"parallel.ep_size=2", "parallel.esp_size=1", "parallel.mp_size=2", "moe.order=sorted", "train.clip_grad=0"},
    {"parallel.ep_size=1", "parallel.esp_size=2", "parallel.mp_size=1", "moe.order=tutel", "moe.capacity_factor=1.5"},
    {"parallel.ep_size=2", "parallel.esp_size=2", "parallel.mp_size=1", "model.moe_every=2", "train.clip_grad=0"},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

/* What a gate needs of other keys; they come last. */
static const struct {
    const char *gate, *settings[3];
} needs[] = {
    {"switch", {"moe.top_k=1", "moe.jitter=0.1"}},
    {"expert_choice", {"moe.capacity_factor=1", "moe.allow_non_causal=true"}},
    {"soft", {"moe.order=auto", "moe.capacity_factor=0", "moe.allow_non_causal=true"}},
    {"deepseek", {"moe.n_group=2"}},
};

/* One case on one rank. */
typedef struct rank_run {
    thread_group *group;
    int rank;
    const char *const *settings;
    const fsm_cluster *costs;
    double losses[PASSES][MOST_VARIANTS][STEPS];
    char names[MOST_VARIANTS][48];
    int variants;
} rank_run;

/* dsmoe first, then pairs of degrees, then schedules. *made: whether there is such a variant. */
static fsmoe_status make_graph(rank_run *r, const fsm_step_shape *shape, int variant, fsm_graph *graph, bool *made)
{
    int pairs = MOST_DEGREE * MOST_DEGREE, most = fsm_step_max_degree(shape);
    *made = true;
    if (variant < pairs) {
        int forward = variant / MOST_DEGREE + 1, backward = variant % MOST_DEGREE + 1;
        snprintf(r->names[variant], sizeof r->names[variant], "degrees %d/%d", forward, backward);
        return fsm_schedule_in_order(shape, forward < most ? forward : most, backward < most ? backward : most, graph);
    }
    const fsm_schedule *schedule = fsm_schedules[variant - pairs];
    *made = schedule != NULL;
    if (!schedule) return FSMOE_OK;
    snprintf(r->names[variant], sizeof r->names[variant], "%s", schedule->name);
    return schedule->build(shape, r->costs, graph);
}

static fsmoe_status train(fsm_stepper *s, int dp_samples, double losses[STEPS])
{
    int32_t ids[8 * TOKENS], targets[8 * TOKENS];
    assert_int_equal(fsm_stepper_reset(s), FSMOE_OK);
    model_case_randomize(&s->model->params, 0.2f, s->model->values);
    fsm_model_update_weights(s->model);
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < dp_samples * TOKENS; i++) {
            uint64_t at = (uint64_t)((step * 8 + s->topo.dp_index * dp_samples) * TOKENS + i);
            ids[i] = (int32_t)(fsm_rng_bits(5, FSM_RNG_TEST, at) % 256);
            targets[i] = (int32_t)(fsm_rng_bits(6, FSM_RNG_TEST, at) % 256);
        }
        const fsm_batch batch = {.samples = dp_samples, .seq_len = TOKENS, .ids = ids, .targets = targets};
        s->optimizer.lr = 1e-3;
        FSM_TRY(fsm_stepper_train_batch(s, &batch, 4 * TOKENS));
        fsm_model_sums sums = fsm_model_loss_sums(s->model, s->model->step_sums);
        losses[step] = sums.loss / sums.tokens;
    }
    return FSMOE_OK;
}

static fsmoe_status run_variants(rank_run *r, fsm_stepper *s)
{
    fsm_step_shape shape;
    FSM_TRY(fsm_stepper_shape(s, &shape));
    for (r->variants = 0; r->variants < MOST_VARIANTS; r->variants++) {
        fsm_graph graph;
        bool made;
        FSM_TRY(make_graph(r, &shape, r->variants, &graph, &made));
        if (!made) break;
        FSM_TRY(fsm_stepper_use_graph(s, graph));
        for (int pass = 0; pass < PASSES; pass++) FSM_TRY(train(s, 4 / s->topo.dp, r->losses[pass][r->variants]));
    }
    fsm_step_shape_destroy(&shape);
    return FSMOE_OK;
}

static void *run_rank(void *user)
{
    rank_run *r = user;
    fsm_stepper s;
    fsmoe_config *config = model_case_config(r->settings);
    fsm_comm *comm = thread_comm_of(r->group, r->rank);
    const fsm_model_options options = {.max_samples = 4 / (RANKS / config->parallel.mp_size), .training = true};
    fsmoe_status status = fsm_stepper_create(config, comm, &options, &s);
    if (status == FSMOE_OK) status = run_variants(r, &s);
    if (status != FSMOE_OK) {
        fprintf(stderr, "rank %d: %s\n", r->rank, fsmoe_last_error());
        abort(); /* the others wait for it */
    }
    fsm_stepper_destroy(&s);
    fsmoe_config_destroy(config);
    fsm_comm_destroy(comm);
    return NULL;
}

static void check_run(const rank_run *r, const rank_run *first)
{
    const double *want = r->losses[0][0];
    assert_true(r->variants > MOST_DEGREE * MOST_DEGREE && want[0] > 1 && want[STEPS - 1] != want[0]);
    for (int v = 0; v < r->variants; v++) {
        for (int step = 0; step < STEPS; step++)
            if (!(fabs(r->losses[0][v][step] - want[step]) <= 1e-5 * want[step]))
                fail_msg("%s, step %d: loss %.9g, dsmoe's %.9g", r->names[v], step, r->losses[0][v][step], want[step]);
        if (memcmp(r->losses[0][v], r->losses[1][v], sizeof r->losses[0][v]) != 0)
            fail_msg("%s: other bits when it is run again", r->names[v]);
        assert_memory_equal(r->losses[0][v], first->losses[0][v], sizeof r->losses[0][v]);
    }
}

static void check_case(const char *const *settings, const fsm_cluster *costs)
{
    pthread_t threads[RANKS];
    rank_run *runs = calloc(RANKS, sizeof *runs);
    thread_group *group = thread_group_create(RANKS);
    assert_non_null(runs);
    for (int r = 0; r < RANKS; r++) {
        runs[r].group = group;
        runs[r].rank = r;
        runs[r].settings = settings;
        runs[r].costs = costs;
        assert_int_equal(pthread_create(&threads[r], NULL, run_rank, &runs[r]), 0);
    }
    for (int r = 0; r < RANKS; r++) pthread_join(threads[r], NULL);
    for (int r = 0; r < RANKS; r++) check_run(&runs[r], &runs[0]);
    free(runs);
}

/* The layout's settings and those of a gate and an expert after the tiny model's. */
static void check_layout(int layout, const fsm_gate_kind *gate, const fsm_expert_kind *expert, const fsm_cluster *costs)
{
    char gate_text[64], expert_text[64];
    const char *settings[32];
    int n = 0;
    for (; tiny[n]; n++) settings[n] = tiny[n];
    for (size_t i = 0; i < sizeof layouts[layout] / sizeof *layouts[layout]; i++) settings[n++] = layouts[layout][i];
    snprintf(gate_text, sizeof gate_text, "moe.gate=%s", gate->name);
    snprintf(expert_text, sizeof expert_text, "moe.expert=%s", expert->name);
    settings[n++] = gate_text;
    settings[n++] = expert_text;
    if (!gate->has_logits) settings[n++] = "moe.z_loss_coeff=0";
    if (!gate->has_probability) settings[n++] = "moe.aux_loss_coeff=0";
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
        for (int k = 0; k < 3 && strcmp(needs[i].gate, gate->name) == 0 && needs[i].settings[k]; k++)
            settings[n++] = needs[i].settings[k];
    settings[n] = NULL;
    check_case(settings, costs);
}

/* Costs with next to no alpha: what is as small as this model would not be cut otherwise. */
static void read_costs(fsm_cluster *costs)
{
    assert_int_equal(fsm_cluster_read(FSMOE_SOURCE_DIR "/examples/clusters/paper-a.json", costs), FSMOE_OK);
    for (int op = 0; op < FSM_COST_OP_COUNT; op++)
        for (int line = 0; line < 2; line++) costs->op[op].cost.line[line].alpha_s *= 1e-8;
}

/* FSMOE_TEST_LONG: every gate on every layout, not on half of them. */
static void test_schedule_matrix_losses_are_those_of_dsmoe(void **state)
{
    (void)state;
    fsm_cluster costs;
    read_costs(&costs);
    bool all = getenv("FSMOE_TEST_LONG") != NULL;
    for (int layout = 0; layout < LAYOUTS; layout++) {
        for (int e = 0; fsm_expert_at(e); e++) check_layout(layout, fsm_gate_at(0), fsm_expert_at(e), &costs);
        for (int g = 1; fsm_gate_at(g); g++)
            if (all || (layout + g) % 2 == 0)
                check_layout(layout, fsm_gate_at(g), fsm_expert_at((layout / 2 + g) % 2), &costs);
    }
    fsm_cluster_destroy(&costs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_schedule_matrix_losses_are_those_of_dsmoe)};
    alarm(500); /* ranks that wait for each other would wait for ever */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
