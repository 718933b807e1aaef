/* What a step says that the tasks of an MoE layer multiply, and what it costs: shared experts, rows made by products
 * with matrices (order gshard), gates that mix (soft).
 * Oracle: an op table that counts the multiply-adds of the tasks as they run; the sizes written out once more. */
#include "model_case.h"
#include "plan_case.h"

#include "cpu/instance.h"
#include "cpu/slots.h"

#include <unistd.h>

enum { SAMPLES = 2, LENGTH = 16, HIDDEN = 32, WIDTH = 48, EXPERTS = 4 };

#define TINY                                                                                                    \
    "model.hidden=32", "model.ffn_hidden=48", "model.num_layers=1", "model.vocab_size=64", "moe.num_experts=4", \
        "data.seq_len=16", "train.global_batch=2", "train.micro_batch=2"
#define SOFT "moe.gate=soft", "moe.slots_per_expert=3", "moe.allow_non_causal=true"
enum { MOST_SETTINGS = 16 };

static const char *const models[][MOST_SETTINGS] = {
    {TINY, "model.family=mixtral"},
    {TINY, "model.family=mixtral", "moe.shared_experts=1"},
    {TINY, "model.family=gpt2", "moe.shared_experts=3", "moe.shared_gate=true"},
    {TINY, "model.family=mixtral", "moe.order=gshard", "moe.capacity_factor=1.25"},
    {TINY, "model.family=mixtral", "moe.order=gshard", "moe.capacity_factor=1", "moe.capacity_group=8"},
    {TINY, "model.family=mixtral", SOFT},
    {TINY, "model.family=gpt2", SOFT, "moe.shared_experts=2", "moe.normalize_slots=true"},
};
enum { MODELS = sizeof models / sizeof *models };

/* ---- counted while it runs ---- */

static double counted; /* multiply-adds since the last task */

static void count_gemm(const fsm_ops *self, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
                       const fsm_real *alpha, fsm_matrix a, fsm_matrix b, float beta, fsm_matrix c)
{
    counted += (double)(m * n * k);
    fsm_cpu_gemm(self, trans_a, trans_b, m, n, k, alpha, a, b, beta, c);
}

static void count_forward(const fsm_ops *self, int64_t n, const fsm_weight *weight, const fsm_real *bias, fsm_matrix x,
                          fsm_matrix y)
{
    counted += (double)(n * weight->in * weight->out);
    fsm_cpu_linear_forward(self, n, weight, bias, x, y);
}

static void count_input(const fsm_ops *self, int64_t n, const fsm_weight *weight, fsm_matrix dy, float beta,
                        fsm_matrix dx)
{
    counted += (double)(n * weight->in * weight->out);
    fsm_cpu_linear_backward_input(self, n, weight, dy, beta, dx);
}

static void count_joined(const fsm_ops *self, int64_t n, const fsm_weight *weight, const fsm_joined *joined,
                         fsm_matrix dy, fsm_matrix dx)
{
    counted += (double)(n * weight->in * weight->out);
    fsm_cpu_linear_backward_joined(self, n, weight, joined, dy, dx);
}

static void count_weight(const fsm_ops *self, int64_t n, int64_t out, int64_t in, fsm_matrix dy, fsm_matrix x,
                         fsm_real *dw, fsm_real *dbias)
{
    counted += (double)(n * in * out);
    fsm_cpu_linear_backward_weight(self, n, out, in, dy, x, dw, dbias);
}

/* Experts get as many rows as the gate says, the others what the step says. */
static void check_task(void *user, int index, double start_s, double end_s)
{
    (void)start_s, (void)end_s;
    const fsm_task *t = &((fsm_stepper *)user)->train_graph.tasks[index];
    bool is_checked = t->kind == FSM_TASK_GATE || t->kind == FSM_TASK_ORDER || t->kind == FSM_TASK_IORDER;
    char name[128];
    fsm_task_name(t, name);
    if (is_checked && counted != (t->launches > 0 ? t->size : 0))
        fail_msg("%s: %d launches with %g, not %g", name, t->launches, t->size, counted);
    counted = 0;
}

static void check_model(const char *const *settings)
{
    const fsm_model_options options = {.max_samples = SAMPLES, .training = true};
    fsmoe_config *config = model_case_config(settings);
    fsm_comm *self;
    fsm_stepper s;
    int32_t ids[SAMPLES * LENGTH] = {0};
    const fsm_batch batch = {.samples = SAMPLES, .seq_len = LENGTH, .ids = ids, .targets = ids};
    assert_int_equal(fsm_comm_create_self(&self), FSMOE_OK);
    assert_int_equal(fsm_stepper_create(config, self, &options, &s), FSMOE_OK);
    fsm_moe *moe = &s.model->layers[0].moe;
    fsm_cpu counting = *fsm_cpu_of(s.ops);
    fsm_ops *ops = &counting.ops;
    ops->gemm = count_gemm;
    ops->linear_forward = count_forward;
    ops->linear_backward_input = count_input;
    ops->linear_backward_joined = count_joined;
    ops->linear_backward_weight = count_weight;
    moe->ops = moe->gate.ops = moe->shared.ops = ops;
    s.observer = (fsm_observer){check_task, &s};
    assert_int_equal(fsm_stepper_train_batch(&s, &batch, SAMPLES * LENGTH), FSMOE_OK);
    moe->ops = moe->gate.ops = moe->shared.ops = s.ops;
    fsm_stepper_destroy(&s);
    fsm_comm_destroy(self);
    fsmoe_config_destroy(config);
}

static void test_step_sizes_are_what_tasks_multiply(void **state)
{
    (void)state;
    for (size_t i = 0; i < MODELS; i++) check_model(models[i]);
}

/* ---- on many ranks ---- */

static fsm_step_shape shape_with(const char *const *settings)
{
    static const char *const ranks[] = {"parallel.ep_size=2", "parallel.esp_size=2", "train.global_batch=8",
                                        "train.micro_batch=8", "model.num_layers=4"};
    fsmoe_config *config;
    fsm_step_shape shape;
    fsmoe_status status = fsmoe_config_create(&config);
    for (; status == FSMOE_OK && *settings; settings++) status = fsmoe_config_set(config, *settings);
    for (int i = 0; status == FSMOE_OK && i < 5; i++) status = fsmoe_config_set(config, ranks[i]);
    if (status == FSMOE_OK) status = fsm_step_of_config(config, 2, 2, &shape);
    if (status != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    fsmoe_config_destroy(config);
    return shape;
}

/* Seconds of all tasks of a kind and phase of the step in order. */
static double seconds_of(const fsm_step_shape *shape, fsm_task_kind kind, fsm_phase phase)
{
    fsm_cluster cluster = costs();
    fsm_graph graph;
    double sum_s = 0;
    assert_int_equal(fsm_schedule_in_order(shape, 1, 1, &graph), FSMOE_OK);
    double *seconds = malloc(sizeof *seconds * (size_t)graph.count);
    assert_int_equal(fsm_cost_graph(&graph, &cluster, seconds), FSMOE_OK);
    for (int i = 0; i < graph.count; i++)
        if (graph.tasks[i].kind == kind && graph.tasks[i].phase == phase) sum_s += seconds[i];
    free(seconds);
    fsm_graph_destroy(&graph);
    return sum_s;
}

static void assert_gemms(const fsm_step_shape *shape, fsm_task_kind kind, fsm_phase phase, int gemms, double macs)
{
    const fsm_line line = costs().op[FSM_COST_GEMM].cost.line[0];
    double s = seconds_of(shape, kind, phase), expected_s = 4 * (gemms * line.alpha_s + macs * line.beta_s);
    if (fabs(s - expected_s) > 1e-12 * expected_s)
        fail_msg("%s.%s: %g s, not %g s", fsm_task_kind_name(kind), fsm_phase_name(phase), s, expected_s);
}

/* n = 32 tokens a rank and micro-batch. */
static void test_step_sizes_cost_what_their_gemms_do(void **state)
{
    (void)state;
    const double n = 2 * LENGTH, shared = 3 * n * HIDDEN * WIDTH, row = n * HIDDEN;
    const double columns = EXPERTS * 20 /* ceil(2 * 1.25 * 32 / 4) */, slots = EXPERTS * 3;
    fsm_step_shape plain = shape_with(models[0]), with = shape_with(models[1]), gshard = shape_with(models[3]);
    fsm_step_shape soft = shape_with(models[5]);
    assert_int_equal(plain.n_local, n);
    assert_gemms(&plain, FSM_TASK_IORDER, FSM_FORWARD, 0, 0);
    assert_gemms(&plain, FSM_TASK_ORDER, FSM_BACKWARD, 0, 0);
    assert_gemms(&with, FSM_TASK_ORDER, FSM_FORWARD, 0, 0);
    assert_gemms(&with, FSM_TASK_IORDER, FSM_FORWARD, 3, shared);
    assert_gemms(&with, FSM_TASK_IORDER, FSM_BACKWARD, 0, 0);
    assert_gemms(&with, FSM_TASK_ORDER, FSM_BACKWARD, 6, 2 * shared);
    assert_gemms(&gshard, FSM_TASK_ORDER, FSM_FORWARD, 1, row * columns);
    assert_gemms(&gshard, FSM_TASK_IORDER, FSM_FORWARD, 1, row * columns);
    assert_gemms(&gshard, FSM_TASK_IORDER, FSM_BACKWARD, 2, 2 * row * columns);
    assert_gemms(&gshard, FSM_TASK_ORDER, FSM_BACKWARD, 1, row * columns);
    assert_gemms(&gshard, FSM_TASK_GATE, FSM_BACKWARD, 2, 2 * row * EXPERTS);
    assert_gemms(&soft, FSM_TASK_GATE, FSM_FORWARD, 2, row * slots); /* two samples */
    assert_gemms(&soft, FSM_TASK_GATE, FSM_BACKWARD, 4, 2 * row * slots);
    assert_gemms(&soft, FSM_TASK_ORDER, FSM_BACKWARD, 4, 2 * row * slots);
    fsm_step_shape *shapes[] = {&plain, &with, &gshard, &soft};
    for (int i = 0; i < 4; i++) fsm_step_shape_destroy(shapes[i]);
}

/* A measured task costs what it was measured to, whatever it is made of. */
static void test_step_sizes_give_way_to_measurements(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    fsm_task task = {.kind = FSM_TASK_IORDER, .phase = FSM_FORWARD, .size = 1000, .launches = 3};
    fsm_graph one = {.tasks = &task, .count = 1, .capacity = 1};
    double s;
    assert_int_equal(fsm_cluster_set_task(&cluster, "iorder.forward", (fsm_cost){.line = {{0, 1e-6}}}), FSMOE_OK);
    assert_int_equal(fsm_cost_graph(&one, &cluster, &s), FSMOE_OK);
    assert_true(fabs(s - 1e-3) < 1e-15);
    fsm_cluster_destroy(&cluster);
}

/* Gradients go beside them as they do beside attention. */
static void test_step_sizes_leave_gradients_room_beside_products(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    for (size_t i = 1; i < MODELS; i++) {
        double dense_s, order_s;
        fsm_step_shape shape = shape_with(models[i]);
        assert_int_equal(fsm_step_dense_s(&shape, &cluster, false, 0, &dense_s), FSMOE_OK);
        order_s = seconds_of(&shape, FSM_TASK_ORDER, FSM_BACKWARD) / 4;
        double rest_s =
            (seconds_of(&shape, FSM_TASK_GATE, FSM_BACKWARD) + seconds_of(&shape, FSM_TASK_ATTENTION, FSM_BACKWARD)) /
            4;
        assert_true(order_s > 0 && fabs(dense_s - order_s - rest_s) < 1e-12);
        fsm_step_shape_destroy(&shape);
    }
}

static void test_step_sizes_are_in_plans_that_are_written_read_and_checked(void **state)
{
    (void)state;
    char path[] = "/tmp/fsmoe-step-sizes-XXXXXX";
    fsm_cluster cluster = costs(), read_cluster;
    fsm_plan plan, again;
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    for (size_t i = 0; i < MODELS; i++)
        for (int k = 0; fsm_schedules[k]; k++) {
            fsm_step_shape shape = shape_with(models[i]);
            assert_int_equal(fsm_plan_create(&shape, &cluster, fsm_schedules[k], &plan), FSMOE_OK);
            assert_int_equal(fsm_plan_write(&plan, &cluster, path), FSMOE_OK);
            if (fsm_plan_read(path, &again, &read_cluster) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
            if (fsm_plan_check(&again, &read_cluster) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
            again.shape.order_width += again.shape.order_gemms;
            again.shape.shared_width += again.shape.shared_gemms;
            assert_int_equal(fsm_plan_check(&again, &read_cluster), i == 0 ? FSMOE_OK : FSMOE_ERROR_FORMAT);
            fsm_plan_destroy(&plan);
            fsm_plan_destroy(&again);
            fsm_cluster_destroy(&read_cluster);
        }
    remove(path);
}

/* ---- parameters ---- */

static void count_parameters(const char *const *settings, int64_t *total, int64_t *active)
{
    fsmoe_config *config = model_case_config(settings);
    fsm_topo topo;
    fsm_params params;
    assert_int_equal(fsm_topo_create(1, 1, &config->parallel, 0, &topo), FSMOE_OK);
    assert_int_equal(fsm_params_create(config, &topo, &params), FSMOE_OK);
    fsm_params_totals(&params, config, total, active);
    fsm_params_destroy(&params);
    fsmoe_config_destroy(config);
}

/* A shared expert is a token's as well as the model's; a gate that mixes takes every token to every expert. */
static void test_step_sizes_of_parameters_count_shared_experts_and_phi(void **state)
{
    (void)state;
    const int64_t expert = 3 * HIDDEN * WIDTH, gate = EXPERTS * HIDDEN;
    static const char *const gated[] = {TINY, "model.family=mixtral", "moe.shared_experts=2", "moe.shared_gate=true",
                                        NULL};
    int64_t total[4], active[4];
    count_parameters(models[0], &total[0], &active[0]);
    count_parameters(models[1], &total[1], &active[1]);
    count_parameters(gated, &total[2], &active[2]);
    count_parameters(models[5], &total[3], &active[3]);
    assert_int_equal(total[0] - active[0], (EXPERTS - 2) * expert);
    assert_int_equal(total[1] - total[0], expert);
    assert_int_equal(active[1] - active[0], expert);
    assert_int_equal(total[2] - total[0], 2 * expert + 2 * HIDDEN);
    assert_int_equal(active[2] - active[0], 2 * expert + 2 * HIDDEN);
    assert_int_equal(total[3] - total[0], HIDDEN * EXPERTS * 3 - gate);
    assert_int_equal(active[3], total[3]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_sizes_are_what_tasks_multiply),
        cmocka_unit_test(test_step_sizes_cost_what_their_gemms_do),
        cmocka_unit_test(test_step_sizes_give_way_to_measurements),
        cmocka_unit_test(test_step_sizes_leave_gradients_room_beside_products),
        cmocka_unit_test(test_step_sizes_are_in_plans_that_are_written_read_and_checked),
        cmocka_unit_test(test_step_sizes_of_parameters_count_shared_experts_and_phi),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
