/* Whole training steps by the issue driver, on streams that work at once and on shuffled ones, have the bits of the
 * threads driver's: losses, gradients and parameters, for every schedule's graph and for lanes in any order, on one
 * rank and on four. */
#include "lanes_case.h"

#include "plan/schedule/schedule.h"

/* How a model lies over four ranks. */
static const char *const layouts[][MOST_SETTINGS] = {
    {"parallel.ep_size=2", "parallel.esp_size=2", "parallel.mp_size=2", "train.clip_grad=0"},
    {"parallel.ep_size=4", "parallel.mp_size=1"},
    {"parallel.ep_size=2", "parallel.esp_size=2", "parallel.mp_size=1"},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts, MOST_GRAPHS = 32, AT_ONCE = -1 };

static fsm_cluster costs;

/* ---- the graphs of a case: those of the schedules, then spreads in a random order ---- */

static fsmoe_status use_graph(fsm_stepper *s, int number, char name[64], bool *made)
{
    int schedules = 0;
    fsm_step_shape shape;
    fsm_graph graph;
    *made = true;
    while (fsm_schedules[schedules]) schedules++;
    if (number >= schedules) {
        snprintf(name, 64, "spread %d", number - schedules);
        return use_spread(s, &spreads[number - schedules], (uint64_t)(31 * number), made);
    }
    snprintf(name, 64, "%s", fsm_schedules[number]->name);
    FSM_TRY(fsm_stepper_shape(s, &shape));
    fsmoe_status status = fsm_schedules[number]->build(&shape, &costs, &graph);
    fsm_step_shape_destroy(&shape);
    FSM_TRY(status);
    return fsm_stepper_use_graph(s, graph);
}

/* A model takes one graph in so many, and the next model the next ones; fewer under the sanitizer for threads, which
 * makes steps many times as long. Some spreads are not possible, but so many graphs are. */
#ifdef FSMOE_ONE_THREAD
enum { USUAL_STRIDE = 8, LEAST_CHECKED = 1 };
#else
enum { USUAL_STRIDE = 2, LEAST_CHECKED = 6 };
#endif

static int stride(void)
{
    return getenv("FSMOE_TEST_LONG") ? 1 : USUAL_STRIDE;
}

static int graph_count(void)
{
    int n = SPREADS;
    for (int i = 0; fsm_schedules[i]; i++) n++;
    return n;
}

/* ---- a step by a driver ---- */

/* What passes hold is no number when the step begins, so what is read too early shows. */
static fsmoe_status take_step(fsm_stepper *s, fsm_batches *batches, outcome *out)
{
    poison(s->model);
    start_values(s);
    FSM_TRY(fsm_stepper_train(s, batches, 5));
    take_outcome(s, out);
    return FSMOE_OK;
}

/* The same by the issue driver, which takes the place of the stepper's own for this step. */
static fsmoe_status take_issued_step(fsm_stepper *s, fsm_batches *batches, int seed, outcome *out)
{
    fsm_device *host, *device;
    fsm_exec *threads = s->exec;
    FSM_TRY(fsm_device_create_host(&host));
    device = host;
    if (seed != AT_ONCE) FSM_TRY(fsm_device_create_shuffled(host, (uint64_t)seed, &device));
    FSM_TRY(fsm_exec_create_issue(device, &s->exec));
    fsmoe_status status = take_step(s, batches, out);
    fsm_exec_destroy(s->exec);
    s->exec = threads;
    if (device != host) fsm_device_destroy(device);
    fsm_device_destroy(host);
    return status;
}

static bool has_same_bits(const fsm_model *m, const outcome *a, const outcome *b, const float *values)
{
    size_t bytes = sizeof(float) * (size_t)m->params.elems;
    return a->loss == b->loss && a->tokens == b->tokens && a->aux == b->aux && a->z == b->z && a->norm == b->norm &&
           a->dropped == b->dropped && memcmp(a->grads, b->grads, bytes) == 0 && memcmp(m->values, values, bytes) == 0;
}

static fsmoe_status check_graph(rank_run *r, fsm_stepper *s, fsm_batches *batches, const char *name)
{
    outcome want, got;
    int seeds = getenv("FSMOE_TEST_LONG") ? 8 : 2;
    size_t bytes = sizeof(float) * (size_t)s->model->params.elems;
    float *values = malloc(bytes);
    FSM_TRY(take_step(s, batches, &want));
    memcpy(values, s->model->values, bytes);
    for (int seed = AT_ONCE; seed < seeds; seed++) {
        int of_rank = seed == AT_ONCE ? AT_ONCE : (r->checked * seeds + seed) * RANKS + r->rank;
        FSM_TRY(take_issued_step(s, batches, of_rank, &got));
        if (!has_same_bits(s->model, &got, &want, values) && !r->failure[0])
            snprintf(r->failure, sizeof r->failure, "%s, rank %d, %s, seed %d: loss %.9g, norm %.9g, not %.9g, %.9g",
                     r->c->name, r->rank, name, of_rank, got.loss, got.norm, want.loss, want.norm);
        free(got.grads);
    }
    free(values);
    free(want.grads);
    r->checked++;
    return FSMOE_OK;
}

/* ---- a rank ---- */

static fsmoe_status check_rank(rank_run *r, fsm_comm *comm, fsmoe_config *config)
{
    const fsm_model_options options = {.max_samples = r->c->samples, .training = true};
    fsm_stepper s;
    fsm_batches batches;
    FSM_TRY(fsm_stepper_create(config, comm, &options, &s));
    FSM_TRY(fsm_batches_create(tokens, config->data.seq_len, 3, true, config->train.micro_batch, &s.topo, &batches));
    for (int i = (int)(r->c - lane_cases) % stride(); i < graph_count(); i += stride()) {
        char name[64];
        bool made;
        FSM_TRY(use_graph(&s, i, name, &made));
        if (made) FSM_TRY(check_graph(r, &s, &batches, name));
    }
    fsm_batches_destroy(&batches);
    fsm_stepper_destroy(&s);
    return FSMOE_OK;
}

/* ---- one rank, and four ---- */

static void test_issue_steps_of_one_rank_have_the_bits_of_the_threads_driver(void **state)
{
    (void)state;
    for (int i = 0; i < LANE_CASES; i++) assert_true(check_case(check_rank, &lane_cases[i], NULL) >= LEAST_CHECKED);
}

static void test_issue_steps_of_four_ranks_have_the_bits_of_the_threads_driver(void **state)
{
    (void)state;
    for (int i = 0; i < LANE_CASES; i++)
        assert_true(check_case(check_rank, &lane_cases[i], layouts[i % LAYOUTS]) >= LEAST_CHECKED);
}

/* Costs with next to no alpha: what is as small as these models would not be cut otherwise. */
static int open_case(void **state)
{
    if (fsm_cluster_read(FSMOE_SOURCE_DIR "/examples/clusters/paper-a.json", &costs) != FSMOE_OK) return -1;
    for (int op = 0; op < FSM_COST_OP_COUNT; op++)
        for (int line = 0; line < 2; line++) costs.op[op].cost.line[line].alpha_s *= 1e-8;
    return open_tokens(state);
}

static int close_case(void **state)
{
    fsm_cluster_destroy(&costs);
    return close_tokens(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_issue_steps_of_one_rank_have_the_bits_of_the_threads_driver),
        cmocka_unit_test(test_issue_steps_of_four_ranks_have_the_bits_of_the_threads_driver),
    };
    return cmocka_run_group_tests(tests, open_case, close_case);
}
