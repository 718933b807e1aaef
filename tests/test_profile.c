/* Profiles: the timing loop on a clock that the test moves, operations that cost exactly a line, medians of tasks, and
 * a whole profile of a tiny model whose file reads back. Runs alone and on four ranks. */
#include "comm/world.h"
#include "exec/recorder.h"
#include "model_case.h"
#include "profile/measure.h"
#include "train/profile.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a clock that stands still unless it is moved ---- */

typedef struct fake {
    fsm_comm comm; /* first: collectives find the rest behind it */
    double now_s;
    double other_s;         /* how much longer than us the other rank says it takes */
    double alpha_s, beta_s; /* what an operation of the table costs */
    int barriers;
} fake;

static double read_fake(void *user)
{
    return ((fake *)user)->now_s;
}

static fsmoe_status spend(fsm_comm *comm, double n)
{
    fake *f = (fake *)comm;
    f->now_s += f->alpha_s + n * f->beta_s;
    return FSMOE_OK;
}

static double sum_of(const int64_t *counts, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)counts[i];
    return sum;
}

static fsmoe_status fake_all_to_all(fsm_comm *comm, const float *send, const int64_t *send_counts, float *recv,
                                    const int64_t *recv_counts)
{
    (void)send, (void)recv, (void)recv_counts;
    return spend(comm, sum_of(send_counts, comm->size));
}

static fsmoe_status fake_all_gather(fsm_comm *comm, const float *send, float *recv, const int64_t *counts)
{
    (void)send, (void)recv;
    return spend(comm, sum_of(counts, comm->size));
}

static fsmoe_status fake_reduce_scatter(fsm_comm *comm, const float *send, float *recv, const int64_t *counts)
{
    (void)send, (void)recv;
    return spend(comm, sum_of(counts, comm->size));
}

static fsmoe_status fake_all_reduce(fsm_comm *comm, float *buffer, int64_t count)
{
    (void)buffer;
    return spend(comm, (double)count);
}

/* The other rank says a little more than we do. */
static fsmoe_status fake_all_gather_int64(fsm_comm *comm, const int64_t *send, int64_t count, int64_t *recv)
{
    assert_int_equal(count, 1);
    recv[0] = *send;
    if (comm->size == 2) recv[1] = *send + llround(1e9 * ((fake *)comm)->other_s);
    return FSMOE_OK;
}

static fsmoe_status fake_all_reduce_double(fsm_comm *comm, double *buffer, int64_t count)
{
    (void)comm, (void)buffer, (void)count;
    return FSMOE_OK;
}

static fsmoe_status fake_barrier(fsm_comm *comm)
{
    ((fake *)comm)->barriers++;
    return FSMOE_OK;
}

static const fsm_comm_table fake_table = {
    .name = "fake",
    .all_to_all = fake_all_to_all,
    .all_gather = fake_all_gather,
    .all_gather_int64 = fake_all_gather_int64,
    .reduce_scatter = fake_reduce_scatter,
    .all_reduce = fake_all_reduce,
    .all_reduce_double = fake_all_reduce_double,
    .barrier = fake_barrier,
};

static fake make_fake(int ranks)
{
    return (fake){.comm = {.table = &fake_table, .size = ranks}};
}

/* ---- the timing loop ---- */

/* An operation whose n-th run takes script[n], or n of a size. */
typedef struct scripted {
    fake *fake;
    const double *script;
    int runs;
    int64_t sizes[64];
} scripted;

static fsmoe_status run_script(void *object, int64_t n)
{
    scripted *s = object;
    s->fake->now_s += s->script[s->runs];
    s->sizes[s->runs++] = n;
    return FSMOE_OK;
}

static fsmoe_status run_size(void *object, int64_t n)
{
    scripted *s = object;
    s->fake->now_s += (double)n;
    s->sizes[s->runs++ % 64] = n;
    return FSMOE_OK;
}

static fsm_timing_loop make_loop(fake *f, int repeats, double budget_s)
{
    return (fsm_timing_loop){.world = &f->comm, .clock = {read_fake, f}, .repeats = repeats, .budget_s = budget_s};
}

static void test_profile_loop_takes_the_median_of_rounds_after_a_warm_up(void **state)
{
    (void)state;
    /* warm-up and repeat of 10, of 20; then rounds over both */
    static const double script[] = {1000, 5, 2000, 70, 1, 90, 3, 50};
    static const int64_t order[] = {10, 10, 20, 20, 10, 20, 10, 20}, sizes[] = {10, 20};
    fake f = make_fake(1);
    scripted s = {.fake = &f, .script = script};
    fsm_timing_loop loop = make_loop(&f, 3, 1e5);
    fsm_timing timing[2];
    int timed;
    assert_int_equal(fsm_time_sizes(&loop, run_script, &s, sizes, 2, timing, &timed), FSMOE_OK);
    assert_int_equal(timed, 2);
    assert_int_equal(s.runs, 8);
    assert_int_equal(f.barriers, 8);
    assert_memory_equal(s.sizes, order, sizeof order);
    assert_true(timing[0].time_s == 3 && timing[1].time_s == 70);
    assert_true(timing[0].fastest_s == 1 && timing[1].fastest_s == 50);
    assert_true(timing[0].repeats == 3 && timing[1].repeats == 3);
}

static void test_profile_loop_takes_the_mean_of_the_two_middle_times(void **state)
{
    (void)state;
    static const double script[] = {9, 4, 8, 1, 2};
    static const int64_t size = 1;
    fake f = make_fake(1);
    scripted s = {.fake = &f, .script = script};
    fsm_timing_loop loop = make_loop(&f, 4, 1e5);
    fsm_timing timing;
    int timed;
    assert_int_equal(fsm_time_sizes(&loop, run_script, &s, &size, 1, &timing, &timed), FSMOE_OK);
    assert_true(timing.time_s == 3);
}

static void test_profile_loop_counts_the_slowest_rank(void **state)
{
    (void)state;
    static const double script[] = {9, 4};
    static const int64_t size = 1;
    fake f = make_fake(2);
    f.other_s = 0.25;
    scripted s = {.fake = &f, .script = script};
    fsm_timing_loop loop = make_loop(&f, 1, 1e5);
    fsm_timing timing;
    int timed;
    assert_int_equal(fsm_time_sizes(&loop, run_script, &s, &size, 1, &timing, &timed), FSMOE_OK);
    assert_true(timing.time_s == 4.25);
}

/* Once each, with warm-ups, the six sizes take 2 (1 + 2 + 4 + 8 + 16 + 32) = 126 s. Of 48 s more the first gets all
 * its 6 repeats of at most 48 / 6 s, the second 4 of at most 42 / 5 s, then 2 of 34 / 4, 1 of 26 / 3, none of 18 / 2
 * and 18. */
static void test_profile_loop_repeats_large_sizes_less(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 4, 8, 16, 32};
    static const int repeats[] = {7, 5, 3, 2, 1, 1};
    fake f = make_fake(1);
    scripted s = {.fake = &f};
    fsm_timing_loop loop = make_loop(&f, 7, 126 + 48);
    fsm_timing timing[6];
    int timed;
    assert_int_equal(fsm_time_sizes(&loop, run_size, &s, sizes, 6, timing, &timed), FSMOE_OK);
    assert_int_equal(timed, 6);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(timing[i].repeats, repeats[i]);
        assert_true(timing[i].time_s == (double)sizes[i]);
    }
    assert_true(f.now_s <= 126 + 48);
}

/* After 1, 2, 4, 8, 16 twice each, 62 s, the 64 s of the sixth size are not there any more. */
static void test_profile_loop_leaves_out_what_the_budget_has_no_room_for(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 4, 8, 16, 32, 64};
    fake f = make_fake(1);
    scripted s = {.fake = &f};
    fsm_timing_loop loop = make_loop(&f, 7, 62 + 63);
    fsm_timing timing[7];
    int timed;
    assert_int_equal(fsm_time_sizes(&loop, run_size, &s, sizes, 7, timing, &timed), FSMOE_OK);
    assert_int_equal(timed, 5);
    assert_true(f.now_s <= 62 + 63);
}

static void test_profile_loop_times_four_sizes_whatever_they_take(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 4, 8, 16};
    fake f = make_fake(1);
    scripted s = {.fake = &f};
    fsm_timing_loop loop = make_loop(&f, 7, 0.5);
    fsm_timing timing[5];
    int timed;
    assert_int_equal(fsm_time_sizes(&loop, run_size, &s, sizes, 5, timing, &timed), FSMOE_OK);
    assert_int_equal(timed, FSM_LEAST_SIZES);
    assert_int_equal(s.runs, 2 * FSM_LEAST_SIZES);
}

static fsmoe_status run_broken(void *object, int64_t n)
{
    (void)object;
    return fsm_fail(FSMOE_ERROR_COMM, "broken at %lld", (long long)n);
}

static void test_profile_loop_passes_a_failure_on(void **state)
{
    (void)state;
    static const int64_t size = 7;
    fake f = make_fake(1);
    fsm_timing_loop loop = make_loop(&f, 1, 1);
    fsm_timing timing;
    int timed;
    assert_int_equal(fsm_time_sizes(&loop, run_broken, NULL, &size, 1, &timing, &timed), FSMOE_ERROR_COMM);
    assert_string_equal(fsmoe_last_error(), "broken at 7");
}

static void test_profile_sizes_grow_by_one_factor(void **state)
{
    (void)state;
    int64_t sizes[FSM_MOST_SIZES];
    assert_int_equal(fsm_geometric_sizes(1 << 14, 1 << 24, 11, sizes), 11);
    for (int i = 0; i < 11; i++) assert_int_equal(sizes[i], 1 << (14 + i));
    assert_int_equal(fsm_geometric_sizes(1, 4, 9, sizes), 4); /* no size twice */
    for (int i = 0; i < 4; i++) assert_int_equal(sizes[i], i + 1);
}

/* ---- operations ---- */

static fake *gemm_fake; /* an op table has no object */

static void fake_linear(int64_t n, const fsm_weight *weight, const float *bias, const float *x, int64_t ld_x, float *y,
                        int64_t ld_y)
{
    (void)bias, (void)x, (void)y;
    assert_true(ld_x == weight->in && ld_y == weight->out);
    spend(&gemm_fake->comm, (double)(n * weight->in * weight->out));
}

typedef struct notes {
    int messages, progresses;
    char text[4096];
    double fraction;
} notes;

static void note_message(void *user, const char *sentence)
{
    notes *n = user;
    n->messages++;
    snprintf(n->text + strlen(n->text), sizeof n->text - strlen(n->text), "%s\n", sentence);
}

static void note_progress(void *user, double fraction, const char *what)
{
    notes *n = user;
    assert_true(fraction >= n->fraction && fraction <= 1);
    assert_true(what[0] != 0);
    n->fraction = fraction;
    n->progresses++;
}

static fsm_measure_site make_site(fake *f, const fsm_ops *ops)
{
    fsm_measure_site site = {
        .world = &f->comm, .ops = ops, .gemm_in = 24, .gemm_out = 40, .all_to_all = fake_all_to_all, .local_ranks = 1};
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) site.group[op] = &f->comm;
    return site;
}

static fsm_measure_options make_options(fake *f, notes *n)
{
    return (fsm_measure_options){.min_elems = 1 << 6,
                                 .max_elems = 1 << 14,
                                 .points = 9,
                                 .repeats = 3,
                                 .budget_s = 1e6,
                                 .clock = {read_fake, f},
                                 .on_message = note_message,
                                 .on_progress = note_progress,
                                 .user = n};
}

static void assert_near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-6 * fabs(b))) fail_msg("%.9g is not %.9g", a, b);
}

static void spend_unsteadily(int64_t n, const fsm_weight *weight, const float *bias, const float *x, int64_t ld_x,
                             float *y, int64_t ld_y)
{
    (void)n, (void)weight, (void)bias, (void)x, (void)ld_x, (void)y, (void)ld_y;
    gemm_fake->alpha_s = gemm_fake->alpha_s == 1 ? 3 : 1;
    spend(&gemm_fake->comm, 0);
}

/* An operation that costs alpha + n beta for what its n counts, which the fakes count by themselves, is given back. */
static void test_profile_operations_give_their_lines_back(void **state)
{
    (void)state;
    fake f = make_fake(2);
    fsm_ops ops = fsm_ops_reference;
    notes n = {0};
    fsm_measure_site site = make_site(&f, &ops);
    fsm_measure_options options = make_options(&f, &n);
    fsm_cluster cluster = {0};
    f.alpha_s = 3e-3;
    f.beta_s = 1e-5;
    gemm_fake = &f;
    ops.linear_forward = fake_linear;
    if (fsm_measure_cluster(&site, &options, &cluster) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) {
        const fsm_measured *m = &cluster.op[op];
        assert_near(m->cost.line[0].alpha_s, 3e-3);
        assert_near(m->cost.line[0].beta_s, 1e-5);
        assert_true(m->cost.large_from == 0);
        assert_int_equal(m->point_count, 9);
        assert_near(m->r2, 1);
    }
    assert_true(cluster.op[FSM_COST_ALLTOALL].points[0].size == 1 << 6);
    assert_true(cluster.op[FSM_COST_ALLTOALL].points[8].size == 1 << 14);
    assert_true(cluster.op[FSM_COST_GEMM].points[0].size == 4 * 24 * 40);
    assert_int_equal(n.messages, 0);
    assert_true(n.progresses > 0 && n.fraction == 1);
    fsm_cluster_destroy(&cluster);
}

static void test_profile_operations_of_one_rank_cost_nothing_and_say_so(void **state)
{
    (void)state;
    fake f = make_fake(1);
    fsm_ops ops = fsm_ops_reference;
    notes n = {0};
    fsm_measure_site site = make_site(&f, &ops);
    fsm_measure_options options = make_options(&f, &n);
    fsm_cluster cluster = {0};
    f.beta_s = 1e-5;
    gemm_fake = &f;
    ops.linear_forward = fake_linear;
    assert_int_equal(fsm_measure_cluster(&site, &options, &cluster), FSMOE_OK);
    for (int op = FSM_COST_ALLTOALL; op < FSM_COST_OP_COUNT; op++) {
        assert_true(fsm_cost_s(&cluster.op[op].cost, 1, 1e6) == 0);
        assert_null(cluster.op[op].points);
    }
    assert_int_equal(n.messages, 4);
    assert_true(n.fraction == 1);
    assert_non_null(strstr(n.text, "allreduce: its group is one rank"));
    fsm_cluster_destroy(&cluster);
}

/* Sizes take 64 … 16384 times 10 ms: of 5 s for each operation, 2 (0.64 + 1.28 + 2.56 + 5.12) are spent on four. */
static void test_profile_operations_beyond_the_budget_say_what_is_left_out(void **state)
{
    (void)state;
    fake f = make_fake(2);
    fsm_ops ops = fsm_ops_reference;
    notes n = {0};
    fsm_measure_site site = make_site(&f, &ops);
    fsm_measure_options options = make_options(&f, &n);
    fsm_cluster cluster = {0};
    f.beta_s = 1e-2;
    options.budget_s = 25;
    gemm_fake = &f;
    ops.linear_forward = fake_linear;
    assert_int_equal(fsm_measure_cluster(&site, &options, &cluster), FSMOE_OK);
    assert_int_equal(cluster.op[FSM_COST_ALLREDUCE].point_count, 4);
    assert_int_equal(n.messages, 5);
    assert_non_null(strstr(n.text, "allreduce: the 5 largest of 9 sizes left out, 4 repeated less than 3 times"));
    fsm_cluster_destroy(&cluster);
}

/* Every other run takes 3 s instead of 1 s: after a warm-up of 1 s, each size has 3 s, and once more 3 s and 1 s. */
static void test_profile_operations_that_take_now_this_now_that_say_so(void **state)
{
    (void)state;
    fake f = make_fake(1);
    fsm_ops ops = fsm_ops_reference;
    notes n = {0};
    fsm_measure_site site = make_site(&f, &ops);
    fsm_measure_options options = make_options(&f, &n);
    fsm_cluster cluster = {0};
    options.repeats = 3;
    gemm_fake = &f;
    ops.linear_forward = spend_unsteadily;
    assert_int_equal(fsm_measure_cluster(&site, &options, &cluster), FSMOE_OK);
    assert_non_null(strstr(n.text, "gemm: 9 of 9 sizes took more than twice"));
    fsm_cluster_destroy(&cluster);
}

static void test_profile_operations_refuse_sizes_that_make_no_sense(void **state)
{
    (void)state;
    fake f = make_fake(1);
    notes n = {0};
    fsm_measure_site site = make_site(&f, &fsm_ops_reference);
    fsm_cluster cluster = {0};
    fsm_measure_options options = make_options(&f, &n);
    options.max_elems = options.min_elems;
    assert_int_equal(fsm_measure_cluster(&site, &options, &cluster), FSMOE_ERROR_CONFIG);
    options = make_options(&f, &n);
    options.points = 3;
    assert_int_equal(fsm_measure_cluster(&site, &options, &cluster), FSMOE_ERROR_CONFIG);
    options = make_options(&f, &n);
    options.budget_s = NAN;
    assert_int_equal(fsm_measure_cluster(&site, &options, &cluster), FSMOE_ERROR_CONFIG);
    fsm_cluster_destroy(&cluster);
}

/* ---- medians of tasks ---- */

static double task_clock_s;

static double read_task_clock(void)
{
    return task_clock_s;
}

/* Each run of a task takes the step's number times its size, and 10 s more in layer 1. */
static fsmoe_status run_sized(void *object, const fsm_task *task)
{
    task_clock_s += *(int *)object * task->size + (task->layer == 1 ? 10 : 0);
    return FSMOE_OK;
}

static void test_profile_recorder_gives_medians_by_kind_phase_and_size(void **state)
{
    (void)state;
    fsm_graph graph = {0};
    fsm_task_table table = {0};
    fsm_task_recorder *recorder;
    fsm_task_time *times;
    int step = 1000, count;
    table.run[FSM_TASK_NORM][FSM_FORWARD] = table.run[FSM_TASK_NORM][FSM_BACKWARD] = run_sized;
    const fsm_task tasks[] = {
        {.kind = FSM_TASK_NORM, .phase = FSM_FORWARD, .size = 1, .layer = 0},
        {.kind = FSM_TASK_NORM, .phase = FSM_FORWARD, .size = 1, .layer = 1},
        {.kind = FSM_TASK_NORM, .phase = FSM_FORWARD, .size = 100, .layer = 2},
        {.kind = FSM_TASK_NORM, .phase = FSM_BACKWARD, .size = 1, .layer = 2, .resource = FSM_INTRA},
    };
    for (int i = 0; i < 4; i++) fsm_graph_add(&graph, tasks[i], NULL, 0);
    assert_int_equal(fsm_task_recorder_create(&graph, &table, &step, read_task_clock, &recorder), FSMOE_OK);
    assert_int_equal(fsm_exec_run(&graph, fsm_task_recorder_table(recorder), recorder, NULL), FSMOE_OK);
    fsm_task_recorder_clear(recorder);
    for (step = 1; step <= 3; step++)
        assert_int_equal(fsm_exec_run(&graph, fsm_task_recorder_table(recorder), recorder, NULL), FSMOE_OK);
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
    for (; step <= 19; step++)
        assert_int_equal(fsm_exec_run(&graph, fsm_task_recorder_table(recorder), recorder, NULL), FSMOE_OK);
    assert_int_equal(fsm_task_recorder_times(recorder, &times, &count), FSMOE_OK);
    assert_near(times[1].median_s, 1150);
    free(times);
    fsm_task_recorder_destroy(recorder);
    fsm_graph_destroy(&graph);
}

static void test_profile_recorder_leaves_tasks_without_a_function_to_the_executor(void **state)
{
    (void)state;
    fsm_graph graph = {0};
    fsm_task_table table = {0};
    fsm_task_recorder *recorder;
    fsm_graph_add(&graph, (fsm_task){.kind = FSM_TASK_GATE}, NULL, 0);
    assert_int_equal(fsm_task_recorder_create(&graph, &table, NULL, NULL, &recorder), FSMOE_OK);
    assert_int_equal(fsm_exec_run(&graph, fsm_task_recorder_table(recorder), recorder, NULL), FSMOE_ERROR_INTERNAL);
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
    assert_int_equal(fsm_task_recorder_create(&s.train_graph, &fsm_stepper_tasks, &s, NULL, &recorder), FSMOE_OK);
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

/* What all ranks must find, or the others wait. */
static void check_tasks(const fsm_cluster *cluster)
{
    static const char *const expected[] = {
        "embedding.forward", "embedding.backward", "norm.forward",     "norm.backward",      "attention.forward",
        "ffn_norm.forward",  "ffn.forward",        "ffn.backward",     "gate.forward",       "gate.backward",
        "counts.forward",    "order.forward",      "order.backward",   "iorder.forward",     "iorder.backward",
        "expert.forward",    "expert.backward",    "head.forward",     "head.backward",      "weight_grad.backward",
        "sums.forward",      "grad_norm.update",   "optimizer.update", "attention.backward",
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        if (!fsm_cluster_task(cluster, expected[i])) fail_msg("no cost of %s", expected[i]);
    assert_true((fsm_cluster_task(cluster, "mp_allgather.forward") != NULL) == (fsmoe_world_size(world) == 4));
    for (int i = 0; i < cluster->task_count; i++) {
        const fsm_task_cost *t = &cluster->tasks[i];
        assert_true(fsm_cost_s(&t->cost, 1, 1e6) > 0);
        assert_true(strncmp(t->task, "a2a_", 4) != 0 && strncmp(t->task, "allreduce", 9) != 0);
        assert_true(strncmp(t->task, "allgather", 9) != 0 && strncmp(t->task, "reducescatter", 13) != 0);
    }
}

static void check_cluster(const fsm_cluster *cluster)
{
    bool alone = fsmoe_world_size(world) == 1;
    assert_string_equal(cluster->name, "desk");
    assert_int_equal(cluster->nodes, alone ? 1 : 2);
    assert_int_equal(cluster->ranks_per_node, alone ? 1 : 2);
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
        cmocka_unit_test(test_profile_loop_takes_the_median_of_rounds_after_a_warm_up),
        cmocka_unit_test(test_profile_loop_takes_the_mean_of_the_two_middle_times),
        cmocka_unit_test(test_profile_loop_counts_the_slowest_rank),
        cmocka_unit_test(test_profile_loop_repeats_large_sizes_less),
        cmocka_unit_test(test_profile_loop_leaves_out_what_the_budget_has_no_room_for),
        cmocka_unit_test(test_profile_loop_times_four_sizes_whatever_they_take),
        cmocka_unit_test(test_profile_loop_passes_a_failure_on),
        cmocka_unit_test(test_profile_sizes_grow_by_one_factor),
        cmocka_unit_test(test_profile_operations_give_their_lines_back),
        cmocka_unit_test(test_profile_operations_of_one_rank_cost_nothing_and_say_so),
        cmocka_unit_test(test_profile_operations_beyond_the_budget_say_what_is_left_out),
        cmocka_unit_test(test_profile_operations_that_take_now_this_now_that_say_so),
        cmocka_unit_test(test_profile_operations_refuse_sizes_that_make_no_sense),
        cmocka_unit_test(test_profile_recorder_gives_medians_by_kind_phase_and_size),
        cmocka_unit_test(test_profile_recorder_leaves_tasks_without_a_function_to_the_executor),
        cmocka_unit_test(test_profile_of_a_stepper_leaves_it_as_it_is),
        cmocka_unit_test(test_profile_file_reads_back_with_every_operation_and_task),
        cmocka_unit_test(test_profile_that_cannot_succeed_fails_before_it_measures),
    };
    if (fsmoe_world_create(&world) != FSMOE_OK) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fsmoe_world_destroy(world);
    return failed;
}
