/* Rows that ranks send to experts: where sizes are known beforehand they are computed, and are those that an exchange
 * would have brought, on every layout, with every order, with as many tokens on a rank as it happens to have, none too;
 * where they are not known they are exchanged. Oracle: what every rank sends, gathered over its expert group after the
 * step. Ranks are threads. */
#include "lanes_case.h"

#include "train/layer.h"

static const char *const layouts[][MOST_SETTINGS] = {
    {"parallel.ep_size=2", "parallel.esp_size=2", "parallel.mp_size=2"},
    {"parallel.ep_size=4", "parallel.mp_size=1"},
    {"parallel.ep_size=2", "parallel.mp_size=2"},
    {"parallel.ep_size=1", "parallel.esp_size=2", "parallel.mp_size=1"},
    {"parallel.ep_size=1", "parallel.mp_size=2"},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

/* Beside those of lanes_case.h. */
static const case_of more_cases[] = {
    {"padded", 2, 3, {"moe.capacity_factor=1.25", "moe.order=tutel"}},
    {"padded, groups of samples", 2, 3, {"moe.capacity_factor=1.25", "moe.order=tutel", "moe.capacity_group=8"}},
    {"one-hot products, all tokens", 1, 3, {"moe.capacity_factor=1", "moe.order=gshard"}},
    {"sorted, dropping", 2, 3, {"moe.capacity_factor=1", "moe.order=sorted", "moe.capacity_group=4"}},
};
enum { MORE_CASES = sizeof more_cases / sizeof *more_cases };

/* ---- exchanges of counts are counted ---- */

typedef struct spy {
    fsm_data_table table;
    const fsm_data_table *below;
    int exchanges;
} spy;

static fsmoe_status spied_all_gather(fsm_comm *comm, fsm_comm_type type, const void *send, void *recv,
                                     const int64_t *counts)
{
    spy *s = comm->data_state;
    s->exchanges += type == FSM_COMM_INT64;
    return s->below->start_all_gather(comm, type, send, recv, counts);
}

static void attach(fsm_comm *comm, spy *s)
{
    *s = (spy){.table = *comm->data, .below = comm->data};
    s->table.start_all_gather = spied_all_gather;
    comm->data = &s->table;
    comm->data_state = s;
}

static void detach(fsm_comm *comm, const spy *s)
{
    comm->data = s->below;
    comm->data_state = NULL;
}

/* ---- the oracle ---- */

static __attribute__((format(printf, 2, 3))) void fail_with(rank_run *r, const char *format, ...)
{
    va_list args;
    if (r->failure[0]) return;
    va_start(args, format);
    vsnprintf(r->failure, sizeof r->failure, format, args);
    va_end(args);
}

/* What pass->counts says is what members send. Collective. */
static fsmoe_status check_counts(rank_run *r, const fsm_moe_pass *pass, const char *what)
{
    fsm_comm *group = pass->moe->expert_group;
    int64_t experts = pass->moe->gate.num_experts, sent[RANKS * 16];
    FSM_TRY(fsm_comm_all_gather_int64(group, pass->route.rows, experts, sent));
    if (memcmp(sent, pass->counts, sizeof *sent * (size_t)(group->size * experts)) != 0)
        fail_with(r, "%s, %s: rank %d counts %lld rows of rank 0 for expert 0, which are %lld", r->c->name, what,
                  r->rank, (long long)pass->counts[0], (long long)sent[0]);
    return FSMOE_OK;
}

static fsmoe_status check_model(rank_run *r, const fsm_model *m, int passes, const char *what)
{
    for (int lane = 0; lane < passes; lane++)
        for (int i = 0; i < m->config->model.num_layers; i++)
            if (m->layers[i].is_moe) FSM_TRY(check_counts(r, &m->passes[lane].layers[i].moe, what));
    return FSMOE_OK;
}

static void check_exchanges(rank_run *r, const spy *s, bool known, const char *what)
{
    if (known ? s->exchanges != 0 : s->exchanges == 0)
        fail_with(r, "%s, %s: %d exchanges of counts", r->c->name, what, s->exchanges);
}

/* ---- steps of a model ---- */

static bool mixes(const fsmoe_config *c)
{
    return fsm_gate_find(c->moe.gate)->mixes;
}

static bool known_in_training(const fsmoe_config *c)
{
    return mixes(c) || (c->moe.capacity_factor > 0 && strcmp(c->moe.order, "sorted") != 0);
}

static fsmoe_status check_training(rank_run *r, fsm_stepper *s, fsm_batches *batches, const spread *how, uint64_t seed)
{
    spy spied;
    bool possible;
    fsm_comm *group = s->model->groups[FSM_GROUP_EXPERT];
    FSM_TRY(use_spread(s, how, seed, &possible));
    if (!possible) return FSMOE_OK;
    start_values(s);
    attach(group, &spied);
    fsmoe_status status = fsm_stepper_train(s, batches, 5);
    detach(group, &spied);
    FSM_TRY(status);
    check_exchanges(r, &spied, known_in_training(s->config), "training");
    r->checked++;
    return check_model(r, s->model, how->lanes, "training");
}

/* Samples that are left over are a micro-batch, too. */
static fsmoe_status check_evaluation(rank_run *r, fsm_stepper *s, fsm_batches *batches)
{
    spy spied;
    fsm_model_sums sums;
    fsm_comm *group = s->model->groups[FSM_GROUP_EXPERT];
    attach(group, &spied);
    fsmoe_status status = fsm_stepper_evaluate(s, batches, 3, s->config->train.micro_batch + 1, &sums);
    detach(group, &spied);
    FSM_TRY(status);
    check_exchanges(r, &spied, mixes(s->config), "evaluation");
    return check_model(r, s->model, 1, "evaluation");
}

/* What others are given is known where the batch says so. */
static fsmoe_status check_given(rank_run *r, fsm_stepper *s, bool told)
{
    spy spied;
    int32_t ids[64 * 8], targets[64 * 8];
    fsm_comm *group = s->model->groups[FSM_GROUP_EXPERT];
    int64_t n = r->c->samples * s->config->data.seq_len;
    const fsm_batch batch = {.samples = r->c->samples,
                             .seq_len = s->config->data.seq_len,
                             .ids = ids,
                             .targets = targets,
                             .micro_samples = told ? r->c->samples * s->topo.dp : 0};
    for (int i = 0; i < n; i++) ids[i] = targets[i] = (37 * i + 11 * s->topo.dp_index) % 256;
    attach(group, &spied);
    fsmoe_status status = fsm_stepper_train_batch(s, &batch, n * s->topo.dp);
    detach(group, &spied);
    FSM_TRY(status);
    check_exchanges(r, &spied, told && known_in_training(s->config), "a given batch");
    return check_model(r, s->model, s->model->lanes, "a given batch");
}

static fsmoe_status check_rank(rank_run *r, fsm_comm *comm, fsmoe_config *config)
{
    const fsm_model_options options = {.max_samples = r->c->samples, .training = true};
    fsm_stepper s;
    fsm_batches batches;
    FSM_TRY(fsm_stepper_create(config, comm, &options, &s));
    FSM_TRY(fsm_batches_create(tokens, config->data.seq_len, 3, true, config->train.micro_batch, &s.topo, &batches));
    for (int i = 0; i < SPREADS; i++) {
        FSM_TRY(check_training(r, &s, &batches, &spreads[i], (uint64_t)i));
        FSM_TRY(check_evaluation(r, &s, &batches));
    }
    FSM_TRY(check_given(r, &s, false));
    FSM_TRY(check_given(r, &s, true));
    fsm_batches_destroy(&batches);
    fsm_stepper_destroy(&s);
    return FSMOE_OK;
}

static void test_counts_of_steps_are_those_that_are_exchanged(void **state)
{
    (void)state;
    for (int l = 0; l < LAYOUTS; l++)
        for (int i = 0; i < MORE_CASES; i++) assert_true(check_case(check_rank, &more_cases[i], layouts[l]) >= 1);
    for (int i = 0; i < LANE_CASES; i++) assert_true(check_case(check_rank, &lane_cases[i], layouts[i % LAYOUTS]) >= 3);
}

/* ---- a layer alone ---- */

/* Of all ranks: none, fewer than ranks, and numbers that no layout divides. */
static const int64_t totals[] = {0, 1, 3, 4, 13, 37};

static const case_of layer_cases[] = {
    {"tutel", 1, 1, {"moe.capacity_factor=1", "moe.capacity_group=4", "moe.order=tutel"}},
    {"gshard", 1, 1, {"moe.capacity_factor=1.5", "moe.capacity_group=4", "moe.order=gshard"}},
    {"sorted", 1, 1, {"moe.capacity_factor=1", "moe.capacity_group=4", "moe.order=sorted"}},
    {"dropless", 1, 1, {"moe.order=tutel"}},
};
enum { LAYER_CASES = sizeof layer_cases / sizeof *layer_cases };

static fsmoe_status check_layer(rank_run *r, fsm_comm *comm, const fsmoe_config *config, int64_t total)
{
    spy spied;
    fsm_layer_run run;
    char what[32];
    FSM_TRY(fsm_layer_run_create(config, comm, total, false, &run));
    for (int64_t i = 0; i < run.n * config->model.hidden; i++) run.x[i] = (float)random_number(1, (uint64_t)i);
    for (int p = 0; p < run.params.count; p++)
        for (int64_t i = 0; i < run.params.items[p].elems; i++)
            run.params.items[p].value[i] = (float)random_number(2, (uint64_t)i);
    memset(run.dy, 0, sizeof *run.dy * (size_t)(run.n * config->model.hidden));
    attach(run.groups[FSM_GROUP_EXPERT], &spied);
    FSM_TRY(fsm_layer_run_step(&run, NULL, 1, 1));
    detach(run.groups[FSM_GROUP_EXPERT], &spied);
    snprintf(what, sizeof what, "a layer of %lld tokens", (long long)total);
    check_exchanges(r, &spied, known_in_training(config), what);
    FSM_TRY(check_counts(r, &run.pass, what));
    fsm_layer_run_destroy(&run);
    r->checked++;
    return FSMOE_OK;
}

static fsmoe_status check_layers(rank_run *r, fsm_comm *comm, fsmoe_config *config)
{
    for (size_t i = 0; i < sizeof totals / sizeof *totals; i++) FSM_TRY(check_layer(r, comm, config, totals[i]));
    return FSMOE_OK;
}

static void test_counts_of_layers_are_those_that_are_exchanged(void **state)
{
    (void)state;
    for (int l = 0; l < LAYOUTS; l++)
        for (int i = 0; i < LAYER_CASES; i++)
            assert_int_equal(check_case(check_layers, &layer_cases[i], layouts[l]), sizeof totals / sizeof *totals);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_of_layers_are_those_that_are_exchanged),
        cmocka_unit_test(test_counts_of_steps_are_those_that_are_exchanged),
    };
    return cmocka_run_group_tests(tests, open_tokens, close_tokens);
}
