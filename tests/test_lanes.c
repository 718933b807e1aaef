/* Lanes: a step taken by several passes at once, in any order that its dependencies allow, is the step; and a task
 * touches what its own pass holds. On one rank, and on four. Oracle: the step in order, in one lane. */
#include "lanes_case.h"

/* How a model lies over four ranks. */
static const char *const layouts[][MOST_SETTINGS] = {
    {"parallel.ep_size=2", "parallel.esp_size=2", "parallel.mp_size=2"},
    {"parallel.ep_size=4", "parallel.mp_size=1"},
    {"parallel.ep_size=2", "parallel.mp_size=2", "train.clip_grad=0"},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

static fsmoe_status take_step(fsm_stepper *s, fsm_batches *batches, outcome *out)
{
    start_values(s);
    FSM_TRY(fsm_stepper_train(s, batches, 5));
    take_outcome(s, out);
    return FSMOE_OK;
}

static void compare_bits(rank_run *r, const fsm_model *m, const outcome *a, const outcome *b)
{
    bool same = a->loss == b->loss && a->aux == b->aux && a->z == b->z && a->norm == b->norm &&
                memcmp(a->grads, b->grads, sizeof *a->grads * (size_t)m->params.elems) == 0;
    if (!same && !r->failure[0]) snprintf(r->failure, sizeof r->failure, "%s: other bits when repeated", r->c->name);
}

/* ---- a task touches its own pass, and leaves nothing in scratch ---- */

static char *before; /* of the passes' arena */
static rank_run *watching;

/* Where a lane's memory begins: it is laid out lane after lane. */
static size_t begin_of(const fsm_model *m, int lane)
{
    return lane < m->lanes ? (size_t)((char *)m->passes[lane].position - m->pass_memory.device.base)
                           : m->pass_memory.device.used;
}

static bool touches_others(const fsm_model *m, int lane)
{
    size_t first = begin_of(m, lane), last = begin_of(m, lane + 1);
    return memcmp(before, m->pass_memory.device.base, first) != 0 ||
           memcmp(before + last, m->pass_memory.device.base + last, m->pass_memory.device.used - last) != 0;
}

static void spoil(float *scratch, int64_t elems)
{
    for (int64_t i = 0; scratch && i < elems; i++) scratch[i] = NAN;
}

/* At least some of each; a matrix of one-hot rows alone is to be zeros. */
static void spoil_scratch(fsm_model *m)
{
    fsm_wire_shape wire;
    fsm_lanes_wire(m->config, &m->topo, m->options.max_samples, &wire);
    int64_t tokens_held = wire.max_tokens, hidden = m->config->model.hidden;
    fsm_moe_scratch *s = &m->moe_scratch;
    spoil(m->logits, m->config->model.vocab_size);
    spoil(m->dqkv, tokens_held * m->qkv_width);
    spoil(m->dattended, tokens_held * m->heads * m->head_dim);
    spoil(m->dact, tokens_held * m->ffn_width);
    if (fsm_gate_find(m->config->moe.gate)->has_logits) spoil(s->dlogits, tokens_held * wire.num_experts);
    spoil(s->dact, wire.max_expert_rows);
    spoil(s->shared.out, tokens_held * hidden);
    spoil(s->shared.dx, tokens_held * hidden);
    spoil(s->shared.dy, tokens_held * hidden);
    spoil(s->mixing.d_matrix, s->mixing.d_matrix ? 1 : 0);
    spoil(s->mixing.slots, s->mixing.slots ? hidden : 0);
}

static fsmoe_status run_watched(void *object, const fsm_task *t)
{
    fsm_stepper *s = object;
    fsm_model *m = s->model;
    char name[128];
    bool of_pass = t->phase != FSM_UPDATE && t->kind != FSM_TASK_SUMS;
    spoil_scratch(m);
    memcpy(before, m->pass_memory.device.base, m->pass_memory.device.used);
    FSM_TRY(fsm_stepper_tasks.run[t->kind][t->phase](object, t));
    fsm_task_name(t, name);
    if (of_pass && touches_others(m, fsm_task_lane(t)) && !watching->failure[0])
        snprintf(watching->failure, sizeof watching->failure, "%s: %s touches another pass", watching->c->name, name);
    return FSMOE_OK;
}

/* Once more after a step, which has begun as this one would. */
static fsmoe_status take_watched_step(rank_run *r, fsm_stepper *s, outcome *out)
{
    fsm_task_table table = fsm_stepper_tasks;
    fsm_model *m = s->model;
    const fsmoe_train_config *c = &s->config->train;
    watching = r;
    before = malloc(m->pass_memory.device.used);
    for (int kind = 0; kind < FSM_TASK_KIND_COUNT; kind++)
        for (int phase = 0; phase < FSM_PHASE_COUNT; phase++)
            if (table.run[kind][phase]) table.run[kind][phase] = run_watched;
    start_values(s);
    fsm_model_begin_step(m, c->global_batch / c->micro_batch, c->global_batch * s->config->data.seq_len);
    fsmoe_status status = fsm_exec_run(s->exec, &s->train_graph, &table, s, NULL, 0);
    free(before);
    if (status == FSMOE_OK) take_outcome(s, out);
    return status;
}

/* ---- a rank ---- */

/* What the step in order leaves, and what evaluation says of the model, in one lane. */
typedef struct oracle {
    outcome step;
    double evaluated;
} oracle;

static fsmoe_status evaluate(fsm_stepper *s, fsm_batches *batches, double *loss)
{
    fsm_model_sums sums;
    start_values(s);
    FSM_TRY(fsm_stepper_evaluate(s, batches, 3, s->config->train.micro_batch + 1, &sums));
    *loss = sums.loss;
    return FSMOE_OK;
}

/* Evaluation has the same memory in between, and the same numbers however training is spread. */
static fsmoe_status check_evaluation(rank_run *r, fsm_stepper *s, fsm_batches *batches, double want)
{
    double loss;
    FSM_TRY(evaluate(s, batches, &loss));
    if (loss != want && !r->failure[0])
        snprintf(r->failure, sizeof r->failure, "%s: evaluation %.9g, not %.9g", r->c->name, loss, want);
    return FSMOE_OK;
}

static fsmoe_status check_spread(rank_run *r, fsm_stepper *s, fsm_batches *batches, const spread *how, uint64_t seed,
                                 const oracle *want)
{
    outcome got[3];
    bool possible;
    bool watched = !r->layout; /* one rank's passes are */
    int n = watched ? 3 : 2;
    FSM_TRY(use_spread(s, how, seed, &possible));
    if (!possible) return FSMOE_OK;
    poison(s->model);
    FSM_TRY(take_step(s, batches, &got[0]));
    FSM_TRY(check_evaluation(r, s, batches, want->evaluated));
    FSM_TRY(take_step(s, batches, &got[1]));
    FSM_TRY(check_evaluation(r, s, batches, want->evaluated));
    if (watched) {
        FSM_TRY(take_step(s, batches, &got[2]));
        free(got[2].grads);
        FSM_TRY(take_watched_step(r, s, &got[2]));
    }
    compare(r, s->model, how, "shuffled", &got[0], &want->step);
    for (int i = 1; i < n; i++) compare_bits(r, s->model, &got[0], &got[i]);
    for (int i = 0; i < n; i++) free(got[i].grads);
    r->checked++;
    return FSMOE_OK;
}

/* FSMOE_TEST_LONG: every number of lanes, parts and spares there may be, in several orders. */
enum { MOST_SPREADS = 64, LONG_SPARE = 3, LONG_ORDERS = 2 };

static int list_spreads(spread list[MOST_SPREADS])
{
    int n = 0;
    if (!getenv("FSMOE_TEST_LONG")) {
        memcpy(list, spreads, sizeof spreads);
        return SPREADS;
    }
    for (int lanes = 1; lanes <= FSM_MAX_LANES; lanes++)
        for (int parts = 1; parts <= lanes; parts++)
            for (int spare = -1; spare <= LONG_SPARE && lanes % parts == 0; spare++)
                list[n++] = (spread){lanes, parts, spare < 0 ? 0 : spare, spare >= 0};
    return n;
}

static fsmoe_status check_spreads(rank_run *r, fsm_stepper *s, fsm_batches *batches, const oracle *want)
{
    spread list[MOST_SPREADS];
    int count = list_spreads(list), orders = getenv("FSMOE_TEST_LONG") ? LONG_ORDERS : 1;
    for (int k = 0; k < orders; k++)
        for (int i = 0; i < count; i++)
            FSM_TRY(check_spread(r, s, batches, &list[i], (uint64_t)(100 * (k + 1) + i), want));
    return FSMOE_OK;
}

static fsmoe_status check_rank(rank_run *r, fsm_comm *comm, fsmoe_config *config)
{
    const fsm_model_options options = {.max_samples = r->c->samples, .training = true};
    fsm_stepper s;
    fsm_batches batches;
    oracle want;
    FSM_TRY(fsm_stepper_create(config, comm, &options, &s));
    FSM_TRY(fsm_batches_create(tokens, config->data.seq_len, 3, true, config->train.micro_batch, &s.topo, &batches));
    FSM_TRY(take_step(&s, &batches, &want.step));
    FSM_TRY(evaluate(&s, &batches, &want.evaluated));
    FSM_TRY(check_spreads(r, &s, &batches, &want));
    free(want.step.grads);
    fsm_batches_destroy(&batches);
    fsm_stepper_destroy(&s);
    return FSMOE_OK;
}

/* ---- one rank, and four ---- */

static void test_lanes_one_rank_takes_the_same_step(void **state)
{
    (void)state;
    for (int i = 0; i < LANE_CASES; i++) assert_true(check_case(check_rank, &lane_cases[i], NULL) >= 3);
}

static void test_lanes_four_ranks_take_the_same_step(void **state)
{
    (void)state;
    for (int i = 0; i < LANE_CASES; i++) assert_true(check_case(check_rank, &lane_cases[i], layouts[i % LAYOUTS]) >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lanes_one_rank_takes_the_same_step),
        cmocka_unit_test(test_lanes_four_ranks_take_the_same_step),
    };
    return cmocka_run_group_tests(tests, open_tokens, close_tokens);
}
