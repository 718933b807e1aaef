/* Profiles: medians of tasks, and a whole profile of a tiny model whose file reads back. Runs alone and on four
 * ranks. */
#include "comm/world.h"
#include "exec/recorder.h"
#include "measure_case.h"
#include "model_case.h"
#include "plan/cost.h"
#include "profile/measure.h"
#include "train/place.h"
#include "train/profile.h"

#include <fsmoe/bench.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- medians of tasks ---- */

/* A step as an executor tells of it: each task takes the step's number times its size, and 10 s more in layer 1. */
static void tell_of_step(fsm_task_recorder *recorder, const fsm_graph *graph, int step)
{
    fsm_observer observer = fsm_task_recorder_observer(recorder);
    double now_s = 1e4 * step;
    for (int i = 0; i < graph->count; i++) {
        double start_s = now_s;
        now_s += step * graph->tasks[i].size + (graph->tasks[i].layer == 1 ? 10 : 0);
        observer.task_ran(observer.user, i, start_s, now_s);
    }
}

static void test_profile_recorder_gives_medians_by_kind_phase_and_size(void **state)
{
    (void)state;
    fsm_graph graph = {0};
    fsm_task_recorder *recorder;
    fsm_task_time *times;
    int step, count;
    const fsm_task tasks[] = {
        {.kind = FSM_TASK_NORM, .phase = FSM_FORWARD, .size = 1, .layer = 0},
        {.kind = FSM_TASK_NORM, .phase = FSM_FORWARD, .size = 1, .layer = 1},
        {.kind = FSM_TASK_NORM, .phase = FSM_FORWARD, .size = 100, .layer = 2},
        {.kind = FSM_TASK_NORM, .phase = FSM_BACKWARD, .size = 1, .layer = 2, .resource = FSM_INTRA},
    };
    for (int i = 0; i < 4; i++) fsm_graph_add(&graph, tasks[i], NULL, 0);
    assert_int_equal(fsm_task_recorder_create(&graph, &recorder), FSMOE_OK);
    tell_of_step(recorder, &graph, 1000);
    fsm_task_recorder_clear(recorder);
    for (step = 1; step <= 3; step++) tell_of_step(recorder, &graph, step);
    assert_int_equal(fsm_task_recorder_times(recorder, &times, &count), FSMOE_OK);
    assert_int_equal(count, 3);
    assert_true(times[0].size == 1 && times[0].tasks == 2 && times[0].phase == FSM_FORWARD);
    assert_near(times[0].median_s, 7); /* of 1 2 3 11 12 13 */
    assert_true(times[1].size == 100 && times[1].tasks == 1);
    assert_near(times[1].median_s, 200);
    assert_true(times[2].phase == FSM_BACKWARD && times[2].resource == FSM_INTRA);
    assert_near(times[2].median_s, 2);
    free(times);
    /* only the latest steps count: 4 … 19 are the last 16 */
    for (; step <= 19; step++) tell_of_step(recorder, &graph, step);
    assert_int_equal(fsm_task_recorder_times(recorder, &times, &count), FSMOE_OK);
    assert_near(times[1].median_s, 1150);
    free(times);
    fsm_task_recorder_destroy(recorder);
    fsm_graph_destroy(&graph);
}

/* What never ran has no median, but is there. */
static void test_profile_recorder_of_steps_that_did_not_run_is_empty(void **state)
{
    (void)state;
    fsm_graph graph = {0};
    fsm_task_recorder *recorder;
    fsm_task_time *times;
    int count;
    fsm_graph_add(&graph, (fsm_task){.kind = FSM_TASK_GATE}, NULL, 0);
    assert_int_equal(fsm_task_recorder_create(&graph, &recorder), FSMOE_OK);
    assert_int_equal(fsm_task_recorder_times(recorder, &times, &count), FSMOE_OK);
    assert_true(count == 1 && times[0].tasks == 1 && times[0].median_s == 0);
    free(times);
    fsm_task_recorder_destroy(recorder);
    fsm_graph_destroy(&graph);
}

/* ---- a whole profile ---- */

static fsmoe_world *world;

#define TINY                                                                                                  \
    "model.hidden=32", "model.ffn_hidden=48", "model.num_layers=2", "model.moe_every=2", "moe.num_experts=4", \
        "data.seq_len=16", "train.global_batch=8", "train.micro_batch=4", "parallel.threads=1"
#define QUICK .min_elems = 64, .max_elems = 1024, .points = 4, .repeats = 2, .budget_s = 2

static fsmoe_config *make_config(void)
{
    static const char *const alone[] = {TINY, "model.vocab_size=256", NULL};
    static const char *const four[] = {TINY,
                                       "model.vocab_size=256",
                                       "parallel.nodes=2",
                                       "parallel.ranks_per_node=2",
                                       "parallel.ep_size=2",
                                       "parallel.esp_size=2",
                                       "parallel.mp_size=2",
                                       NULL};
    return model_case_config(fsmoe_world_size(world) == 4 ? four : alone);
}

/* A copy of what a profile must leave alone. */
typedef struct snapshot {
    float *arrays[4];
    size_t bytes;
    int64_t step;
} snapshot;

static snapshot take_snapshot(const fsm_stepper *s)
{
    snapshot shot = {.bytes = sizeof(float) * (size_t)s->model->params.elems, .step = s->optimizer.step};
    const float *from[4] = {s->model->values, s->model->grads, s->optimizer.m, s->optimizer.v};
    for (int i = 0; i < 4; i++) {
        shot.arrays[i] = malloc(shot.bytes);
        assert_non_null(shot.arrays[i]);
        memcpy(shot.arrays[i], from[i], shot.bytes);
    }
    return shot;
}

static void assert_unchanged(const fsm_stepper *s, snapshot shot)
{
    const float *now[4] = {s->model->values, s->model->grads, s->optimizer.m, s->optimizer.v};
    for (int i = 0; i < 4; i++) {
        assert_memory_equal(now[i], shot.arrays[i], shot.bytes);
        free(shot.arrays[i]);
    }
    assert_int_equal(s->optimizer.step, shot.step);
}

static void test_profile_of_a_stepper_leaves_it_as_it_is(void **state)
{
    (void)state;
    fsm_comm *ranks = world->comm;
    fsmoe_config *config = make_config();
    int dp = fsmoe_world_size(world) / (int)config->parallel.mp_size;
    const fsm_model_options options = {.max_samples = 4 / dp, .training = true};
    const fsm_profile_options quick = {QUICK, .name = "here"};
    int32_t ids[2 * 4 * 16];
    fsm_stepper s;
    fsm_cluster cluster;
    for (int i = 0; i < 2 * 4 * 16; i++) ids[i] = 37 * i % 256;
    const fsm_batch batch = {.samples = options.max_samples, .seq_len = 16, .ids = ids, .targets = ids + 64};
    assert_int_equal(fsm_stepper_create(config, ranks, &options, &s), FSMOE_OK);
    /* without a recorder there are operations, but no tasks */
    if (fsm_profile_stepper(&s, &quick, &cluster) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    assert_int_equal(cluster.task_count, 0);
    assert_string_equal(cluster.name, "here");
    fsm_cluster_destroy(&cluster);
    fsm_task_recorder *recorder;
    assert_int_equal(fsm_task_recorder_create(&s.train_graph, &recorder), FSMOE_OK);
    s.recorder = recorder;
    assert_int_equal(fsm_stepper_train_batch(&s, &batch, 64), FSMOE_OK);
    snapshot shot = take_snapshot(&s);
    if (fsm_profile_stepper(&s, &quick, &cluster) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    assert_unchanged(&s, shot);
    assert_non_null(fsm_cluster_task(&cluster, "expert.forward"));
    fsm_cluster_destroy(&cluster);
    fsm_task_recorder_destroy(recorder);
    fsm_stepper_destroy(&s);
    fsmoe_config_destroy(config);
}

/* Tells the recorder that what computes took twice its cost, and links half. */
static void record_times(const fsm_graph *graph, const fsm_cluster *cluster, bool overlapped,
                         fsm_task_recorder *recorder)
{
    fsm_observer observer = fsm_task_recorder_observer(recorder);
    for (int i = 0; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        fsm_price price = fsm_cost_find(cluster, t->kind, t->phase, overlapped);
        double cost_s = price.known ? fsm_cost_s(&price.cost, 1, t->size) : 0;
        observer.task_ran(observer.user, i, 0, t->resource == FSM_COMPUTE ? 2 * cost_s : cost_s / 2);
    }
}

static void assert_about(double value, double expected)
{
    if (fabs(value - expected) > 1e-3 * expected) fail_msg("%g is not %g", value, expected);
}

/* A stepper with a recorder of a graph in two chunks, or in order, on ranks that may be one or four. */
typedef struct recorded {
    fsmoe_config *config;
    fsm_stepper stepper;
    fsm_task_recorder *recorder;
} recorded;

static void make_recorded(recorded *r, int degree)
{
    fsm_step_shape shape;
    fsm_graph graph;
    r->config = make_config();
    int dp = fsmoe_world_size(world) / (int)r->config->parallel.mp_size;
    const fsm_model_options options = {.max_samples = 4 / dp, .training = true};
    assert_int_equal(fsm_stepper_create(r->config, world->comm, &options, &r->stepper), FSMOE_OK);
    assert_int_equal(fsm_stepper_shape(&r->stepper, &shape), FSMOE_OK);
    assert_int_equal(fsm_schedule_in_order(&shape, degree, degree, &graph), FSMOE_OK);
    fsm_step_shape_destroy(&shape);
    assert_int_equal(fsm_stepper_use_graph(&r->stepper, graph), FSMOE_OK);
    assert_int_equal(fsm_task_recorder_create(&r->stepper.train_graph, &r->recorder), FSMOE_OK);
    r->stepper.recorder = r->recorder;
}

static void destroy_recorded(recorded *r)
{
    fsm_task_recorder_destroy(r->recorder);
    fsm_stepper_destroy(&r->stepper);
    fsmoe_config_destroy(r->config);
}

/* Twice for what computes; a collective never costs less than alone: its last rank finds what others sent there. */
static void test_profile_overlap_scales_tasks_by_what_they_took(void **state)
{
    (void)state;
    recorded r;
    fsm_cluster cluster = {.name = "alone"};
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) cluster.op[op].cost.line[0] = (fsm_line){1e-3, 1e-6};
    make_recorded(&r, 2);
    record_times(&r.stepper.train_graph, &cluster, false, r.recorder);
    if (fsm_profile_overlap(&r.stepper, &cluster) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    assert_about(fsm_cluster_overlap(&cluster, "expert.backward"), 2);
    if (fsmoe_world_size(world) > 1) assert_about(fsm_cluster_overlap(&cluster, "a2a_combine.forward"), 1);
    assert_null(fsm_cluster_task(&cluster, "expert.backward"));
    fsm_cluster_destroy(&cluster);
    destroy_recorded(&r);
}

/* A step in order tells nothing of what overlap costs. */
static void test_profile_overlap_of_a_graph_in_order_is_nothing(void **state)
{
    (void)state;
    recorded r;
    fsm_cluster cluster = {.name = "alone"};
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) cluster.op[op].cost.line[0] = (fsm_line){1e-3, 1e-6};
    make_recorded(&r, 1);
    record_times(&r.stepper.train_graph, &cluster, false, r.recorder);
    assert_int_equal(fsm_profile_overlap(&r.stepper, &cluster), FSMOE_OK);
    assert_int_equal(cluster.task_count, 0);
    destroy_recorded(&r);
}

/* An expert that takes twice as long does so alone and beside others, whatever graph it was seen in; what overlap costs
 * it stays. */
static void test_profile_renewed_costs_follow_what_tasks_take_now(void **state)
{
    (void)state;
    const fsm_profile_options quick = {QUICK};
    for (int degree = 1; degree <= 2; degree++) {
        recorded r;
        fsm_cluster before = {.name = "before"}, after;
        for (int op = 0; op < FSM_COST_OP_COUNT; op++) before.op[op].cost.line[0] = (fsm_line){1e-3, 1e-6};
        assert_int_equal(fsm_cluster_set_task(&before, "expert.forward", (fsm_cost){.line[0] = {1e-3, 1e-6}}),
                         FSMOE_OK);
        assert_int_equal(fsm_cluster_set_overlap(&before, "expert.forward", 1.5), FSMOE_OK);
        make_recorded(&r, degree);
        record_times(&r.stepper.train_graph, &before, degree > 1, r.recorder);
        if (fsm_profile_renew(&r.stepper, &quick, &before, &after) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
        assert_about(fsm_cluster_task(&after, "expert.forward")->line[0].beta_s, 2e-6);
        assert_about(fsm_cluster_overlap(&after, "expert.forward"), 1.5);
        assert_true(after.op[FSM_COST_GEMM].point_count > 0); /* measured anew */
        if (degree == 1) assert_true(fsm_cluster_overlap(&after, "a2a_dispatch.forward") == 1);
        fsm_cluster_destroy(&before);
        fsm_cluster_destroy(&after);
        destroy_recorded(&r);
    }
}

/* A file without tasks (fsmoe cluster makes such ones) learns what they take; that is no price of overlap. */
static void test_profile_renewed_costs_learn_tasks_that_they_did_not_know(void **state)
{
    (void)state;
    const fsm_profile_options quick = {QUICK};
    recorded r;
    fsm_cluster before = {.name = "before"}, after;
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) before.op[op].cost.line[0] = (fsm_line){1e-3, 1e-6};
    make_recorded(&r, 2);
    fsm_observer observer = fsm_task_recorder_observer(r.recorder);
    for (int i = 0; i < r.stepper.train_graph.count; i++) observer.task_ran(observer.user, i, 0, 0.5);
    if (fsm_profile_renew(&r.stepper, &quick, &before, &after) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    for (int i = 0; i < r.stepper.train_graph.count; i++) {
        const fsm_task *t = &r.stepper.train_graph.tasks[i];
        bool learns = t->kind == FSM_TASK_ATTENTION || t->kind == FSM_TASK_ORDER || t->kind == FSM_TASK_OPTIMIZER;
        fsm_price price = fsm_cost_find(&after, t->kind, t->phase, false);
        if (!learns || (t->kind == FSM_TASK_OPTIMIZER && r.stepper.model->params.region_count > 1)) continue;
        assert_true(price.own);
        assert_about(fsm_cost_s(&price.cost, 1, t->size), 0.5);
    }
    assert_true(fsm_cluster_overlap(&after, "attention.forward") == 1);
    fsm_cluster_destroy(&after);
    destroy_recorded(&r);
}

/* What all ranks must find, or the others wait. */
static void check_tasks(const fsm_cluster *cluster)
{
    static const char *const expected[] = {
        "embedding.forward", "embedding.backward", "norm.forward",     "norm.backward",      "attention.forward",
        "ffn_norm.forward",  "ffn.forward",        "ffn.backward",     "gate.forward",       "gate.backward",
        "counts.forward",    "order.forward",      "order.backward",   "iorder.forward",     "iorder.backward",
        "expert.forward",    "expert.backward",    "head.forward",     "head.backward",      "weight_grad.backward",
        "sums.forward",      "grad_norm.update",   "optimizer.update", "attention.backward", "grad_squares.update",
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        if (!fsm_cluster_task(cluster, expected[i])) fail_msg("no cost of %s", expected[i]);
    assert_true((fsm_cluster_task(cluster, "mp_allgather.forward") != NULL) == (fsmoe_world_size(world) == 4));
    for (int i = 0; i < cluster->task_count; i++) {
        const fsm_task_cost *t = &cluster->tasks[i];
        bool is_operation = strncmp(t->task, "a2a_", 4) == 0 || strncmp(t->task, "allreduce", 9) == 0 ||
                            strncmp(t->task, "allgather", 9) == 0 || strncmp(t->task, "reducescatter", 13) == 0;
        assert_true(t->own != is_operation);
        if (t->own) assert_true(fsm_cost_s(&t->cost, 1, 1e6) > 0);
        assert_true(t->overlap >= 0 && isfinite(t->overlap));
    }
}

static void check_cluster(const fsm_cluster *cluster)
{
    bool alone = fsmoe_world_size(world) == 1;
    assert_string_equal(cluster->name, "desk");
    assert_int_equal(cluster->nodes, alone ? 1 : 2);
    assert_int_equal(cluster->ranks_per_node, alone ? 1 : 2);
    assert_int_equal(cluster->ep_size * cluster->esp_size, alone ? 1 : 4);
    assert_int_equal(cluster->mp_size, alone ? 1 : 2);
    assert_int_equal(strlen(cluster->work), 16);
    assert_non_null(strstr(cluster->machine, alone ? "1 ranks x 1 threads" : "4 ranks x 1 threads"));
    assert_int_equal(strlen(cluster->date), strlen("2026-01-01T00:00:00Z"));
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) {
        bool measured = op == FSM_COST_GEMM || !alone;
        assert_int_equal(cluster->op[op].point_count, measured ? 4 : 0);
        assert_true((fsm_cost_s(&cluster->op[op].cost, 1, 512) > 0) == measured);
        for (int i = 0; i < cluster->op[op].point_count; i++) assert_true(cluster->op[op].points[i].time_s > 0);
    }
    check_tasks(cluster);
}

static void check_result(const fsmoe_profile_result *r)
{
    bool alone = fsmoe_world_size(world) == 1;
    assert_string_equal(r->name, "desk");
    assert_string_equal(r->ops[0].name, "gemm");
    assert_true(r->ops[0].rate > 0 && r->ops[0].largest > 0);
    assert_string_equal(r->ops[FSM_COST_ALLTOALL].group, "EP");
    assert_int_equal(r->ops[FSM_COST_ALLTOALL].ranks, alone ? 1 : 2);
    assert_string_equal(r->ops[FSM_COST_ALLTOALL].link, alone ? "intra" : "inter");
    assert_string_equal(r->ops[FSM_COST_ALLGATHER].link, "intra");
    assert_string_equal(r->tasks[0].name, "embedding.forward");
    for (int i = 0; i < r->task_count; i++) {
        const fsmoe_profile_task *t = &r->tasks[i];
        assert_true(t->tasks > 0 && t->size > 0 && t->time_s > 0);
        if (strcmp(t->name, "attention.forward") == 0) assert_int_equal(t->tasks, 2); /* one micro-batch, two layers */
    }
}

static void test_profile_file_reads_back_with_every_operation_and_task(void **state)
{
    (void)state;
    char dir[] = "/tmp/fsmoe-profile-XXXXXX", path[64] = "";
    fsmoe_config *config = make_config();
    fsmoe_profile_result result;
    fsm_cluster cluster;
    notes n = {0};
    const fsmoe_profile_options options = {QUICK, .name = "desk", .on_message = note_message,
                                           .on_progress = note_progress, .user = &n};
    bool first = fsmoe_world_rank(world) == 0;
    if (first) assert_non_null(mkdtemp(dir));
    if (first) snprintf(path, sizeof path, "%s/cluster.json", dir);
    if (fsmoe_profile(world, config, &options, path, &result) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    check_result(&result);
    assert_true(first == (n.progresses > 0) && (first || n.messages == 0));
    if (first) {
        if (fsm_cluster_read(path, &cluster) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
        check_cluster(&cluster);
        fsm_cluster_destroy(&cluster);
        unlink(path);
        assert_int_equal(rmdir(dir), 0); /* nothing else was left */
    }
    fsmoe_config_destroy(config);
}

/* ---- products that are measured ---- */

static void note_products(void *user, const char *sentence)
{
    if (strstr(sentence, "products measured now: ")) ++*(int *)user;
}

/* As a run with such products computes; and what was measured without them is no longer what it costs. */
static void test_profile_is_of_steps_with_the_products_of_the_configuration(void **state)
{
    (void)state;
    char dir[] = "/tmp/fsmoe-profile-XXXXXX", path[64] = "";
    fsmoe_config *config = make_config();
    fsmoe_profile_result result;
    int told = 0;
    const fsmoe_profile_options options = {QUICK, .on_message = note_products, .user = &told};
    bool first = fsmoe_world_rank(world) == 0;
    assert_int_equal(fsmoe_config_set(config, "train.products=measured"), FSMOE_OK);
    if (first) assert_non_null(mkdtemp(dir));
    if (first) snprintf(path, sizeof path, "%s/cluster.json", dir);
    if (fsmoe_profile(world, config, &options, path, &result) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    assert_non_null(strstr(result.machine, ", measured products"));
    assert_int_equal(told, first);
    if (first) unlink(path), rmdir(dir);
    fsmoe_config_destroy(config);
}

static void test_bench_is_of_steps_with_the_products_of_the_configuration(void **state)
{
    (void)state;
    static fsmoe_bench_row rows[FSMOE_BENCH_MOST_ROWS];
    fsmoe_config *config = make_config();
    int told = 0, count;
    const char *const names[] = {"dsmoe", NULL};
    const fsmoe_bench_options options = {.steps = 1, .budget_s = 1, .on_message = note_products, .user = &told};
    assert_int_equal(fsmoe_config_set(config, "train.products=measured"), FSMOE_OK);
    if (fsmoe_bench_schedules(world, config, names, &options, rows, &count) != FSMOE_OK)
        fail_msg("%s", fsmoe_last_error());
    assert_int_equal(told, fsmoe_world_rank(world) == 0);
    fsmoe_config_destroy(config);
}

static void test_profile_products_are_measured_with_a_rank_s_share_of_threads(void **state)
{
    (void)state;
    static fsmoe_products products;
    fsmoe_config *config = make_config();
    config->parallel.threads = 0;
    assert_int_equal(fsmoe_profile_products(world, config, 0.1, &products), FSMOE_OK);
    assert_int_equal(products.threads, fsm_threads_of(config, fsmoe_world_size(world)));
    fsmoe_config_destroy(config);
}

static void test_profile_that_cannot_succeed_fails_before_it_measures(void **state)
{
    (void)state;
    fsmoe_config *config = make_config();
    notes n = {0};
    fsmoe_profile_options options = {QUICK, .on_progress = note_progress, .user = &n};
    assert_int_equal(fsmoe_profile(world, config, &options, "/nowhere/cluster.json", NULL), FSMOE_ERROR_IO);
    assert_non_null(strstr(fsmoe_last_error(), "/nowhere/cluster.json"));
    options.max_elems = 1;
    assert_int_equal(fsmoe_profile(world, config, &options, "/tmp/cluster.json", NULL), FSMOE_ERROR_CONFIG);
    assert_int_equal(n.progresses, 0);
    fsmoe_config_destroy(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_profile_recorder_gives_medians_by_kind_phase_and_size),
        cmocka_unit_test(test_profile_recorder_of_steps_that_did_not_run_is_empty),
        cmocka_unit_test(test_profile_of_a_stepper_leaves_it_as_it_is),
        cmocka_unit_test(test_profile_overlap_scales_tasks_by_what_they_took),
        cmocka_unit_test(test_profile_overlap_of_a_graph_in_order_is_nothing),
        cmocka_unit_test(test_profile_renewed_costs_learn_tasks_that_they_did_not_know),
        cmocka_unit_test(test_profile_renewed_costs_follow_what_tasks_take_now),
        cmocka_unit_test(test_profile_is_of_steps_with_the_products_of_the_configuration),
        cmocka_unit_test(test_bench_is_of_steps_with_the_products_of_the_configuration),
        cmocka_unit_test(test_profile_products_are_measured_with_a_rank_s_share_of_threads),
        cmocka_unit_test(test_profile_file_reads_back_with_every_operation_and_task),
        cmocka_unit_test(test_profile_that_cannot_succeed_fails_before_it_measures),
    };
    if (fsmoe_world_create(&world) != FSMOE_OK) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fsmoe_world_destroy(world);
    return failed;
}
