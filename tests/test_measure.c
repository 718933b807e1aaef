/* Measuring operations: the timing loop on a clock that the test moves, operations that cost exactly a line. */
#include "measure_case.h"
#include "model_case.h"
#include "profile/measure.h"

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
    double burst, credit;   /* elements that a link takes at once when it has rested, and as many are left */
    int barriers;
    fsm_alltoall alltoall;
} fake;

static double read_fake(void *user)
{
    return ((fake *)user)->now_s;
}

static fsmoe_status spend(fsm_comm *comm, double n)
{
    fake *f = (fake *)comm;
    double free_elems = fmin(n, f->credit);
    f->credit -= free_elems;
    f->now_s += f->alpha_s + (n - free_elems) * f->beta_s;
    return FSMOE_OK;
}

static double sum_of(const int64_t *counts, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)counts[i];
    return sum;
}

/* Nothing is left to do. */
static void fake_all_to_all(fsm_alltoall *a, const fsm_alltoall_counts *counts, fsm_stages *stages)
{
    (void)stages;
    spend(a->comm, sum_of(counts->send, a->comm->size));
}

static fsmoe_status fake_all_gather(fsm_comm *comm, fsm_comm_type type, const void *send, void *recv,
                                    const int64_t *counts)
{
    (void)type, (void)send, (void)recv;
    return spend(comm, sum_of(counts, comm->size));
}

/* Of a reduce-scatter of two ranks: the block of the other one, half of all. */
static fsmoe_status fake_post_send(fsm_comm *comm, int slot, int to, fsm_comm_type type, const void *elems,
                                   int64_t count)
{
    (void)slot, (void)to, (void)type, (void)elems;
    return spend(comm, (double)(2 * count));
}

static fsmoe_status fake_post_recv(fsm_comm *comm, int slot, int from, fsm_comm_type type, void *elems, int64_t count)
{
    (void)comm, (void)slot, (void)from;
    memset(elems, 0, fsm_comm_bytes(type, count));
    return FSMOE_OK;
}

static fsmoe_status fake_test(fsm_comm *comm, int slot, bool *done)
{
    (void)comm, (void)slot;
    *done = true;
    return FSMOE_OK;
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
    ((fake *)comm)->credit = ((fake *)comm)->burst;
    return FSMOE_OK;
}

static const fsm_data_table fake_data = {
    .start_all_gather = fake_all_gather,
    .post_send = fake_post_send,
    .post_recv = fake_post_recv,
    .test = fake_test,
};

static const fsm_control_table fake_control = {
    .name = "fake",
    .all_gather_int64 = fake_all_gather_int64,
    .all_reduce_double = fake_all_reduce_double,
    .barrier = fake_barrier,
};

enum { FAKE_SEGMENT_ELEMS = 1 << 14 }; /* no block is longer */

static fake make_fake(int ranks)
{
    static float scratch[FSM_COMM_SLOTS * 2 * FAKE_SEGMENT_ELEMS];
    static int64_t blocks[2];
    return (fake){.comm = {.control = &fake_control,
                           .data = &fake_data,
                           .size = ranks,
                           .segment_elems = FAKE_SEGMENT_ELEMS,
                           .scratch = (char *)scratch,
                           .blocks = blocks}};
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

static void test_measure_loop_takes_the_median_of_rounds_after_a_warm_up(void **state)
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

static void test_measure_loop_takes_the_mean_of_the_two_middle_times(void **state)
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

static void test_measure_loop_counts_the_slowest_rank(void **state)
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
static void test_measure_loop_repeats_large_sizes_less(void **state)
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
static void test_measure_loop_leaves_out_what_the_budget_has_no_room_for(void **state)
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

static void test_measure_loop_times_four_sizes_whatever_they_take(void **state)
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

static void test_measure_loop_passes_a_failure_on(void **state)
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

static void test_measure_sizes_grow_by_one_factor(void **state)
{
    (void)state;
    int64_t sizes[FSM_MOST_SIZES];
    assert_int_equal(fsm_geometric_sizes(1 << 14, 1 << 24, 11, sizes), 11);
    for (int i = 0; i < 11; i++) assert_int_equal(sizes[i], 1 << (14 + i));
    assert_int_equal(fsm_geometric_sizes(1, 4, 9, sizes), 4); /* no size twice */
    for (int i = 0; i < 4; i++) assert_int_equal(sizes[i], i + 1);
}

/* ---- operations ---- */

/* Operations that spend a fake's time. */
typedef struct fake_ops {
    fsm_ops ops; /* first */
    fake *fake;
} fake_ops;

static fake_ops make_ops(fake *f)
{
    return (fake_ops){fsm_ops_reference, f};
}

static void fake_linear(const fsm_ops *self, int64_t n, const fsm_weight *weight, const fsm_real *bias, fsm_matrix x,
                        fsm_matrix y)
{
    (void)bias;
    assert_true(x.ld == weight->in && y.ld == weight->out);
    spend(&((const fake_ops *)self)->fake->comm, (double)(n * weight->in * weight->out));
}

static fsm_measure_site make_site(fake *f, const fsm_ops *ops)
{
    static const fsm_alltoall_kind kind = {.name = "fake", .emit = fake_all_to_all};
    f->alltoall = (fsm_alltoall){.kind = &kind, .comm = &f->comm};
    fsm_measure_site site = {
        .world = &f->comm, .ops = ops, .gemm_in = 24, .gemm_out = 40, .alltoall = &f->alltoall, .local_ranks = 1};
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

static void spend_unsteadily(const fsm_ops *self, int64_t n, const fsm_weight *weight, const fsm_real *bias,
                             fsm_matrix x, fsm_matrix y)
{
    (void)n, (void)weight, (void)bias, (void)x, (void)y;
    fake *f = ((const fake_ops *)self)->fake;
    f->alpha_s = f->alpha_s == 1 ? 3 : 1;
    spend(&f->comm, 0);
}

/* The reference's rows are floats, for which there is no room where they are narrower. */
static void leave_rows(const fsm_ops *self, int64_t n, fsm_row *y)
{
    (void)self, (void)n, (void)y;
}

/* A cluster whose operations cost alpha + n beta for what the fakes count by themselves, measured with such rows. */
static void measure_lines(double alpha_s, double beta_s, int64_t row_bytes, notes *n, fsm_cluster *cluster)
{
    fake f = make_fake(2);
    fake_ops ops = make_ops(&f);
    fsm_measure_site site = make_site(&f, &ops.ops);
    fsm_measure_options options = make_options(&f, n);
    *cluster = (fsm_cluster){0};
    f.alpha_s = alpha_s;
    f.beta_s = beta_s;
    ops.ops.linear_forward = fake_linear;
    ops.ops.row_bytes = row_bytes;
    if (row_bytes != FSM_REAL_BYTES) ops.ops.zero_rows = leave_rows;
    if (fsm_measure_cluster(&site, &options, cluster) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
}

/* What operations cost is given back. An all-reduce is two of them. */
static void test_measure_operations_give_their_lines_back(void **state)
{
    (void)state;
    notes n = {0};
    fsm_cluster cluster;
    measure_lines(3e-3, 1e-5, FSM_REAL_BYTES, &n, &cluster);
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) {
        const fsm_measured *m = &cluster.op[op];
        assert_near(m->cost.line[0].alpha_s, op == FSM_COST_ALLREDUCE ? 6e-3 : 3e-3);
        assert_near(m->cost.line[0].beta_s, op == FSM_COST_ALLREDUCE ? 2e-5 : 1e-5);
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

/* Lines are of elements of 4 bytes: rows of bf16 are sent as they are, two for one; gradients are fp32 whatever rows
 * are. */
static void test_measure_operations_of_narrow_rows_send_twice_as_many(void **state)
{
    (void)state;
    notes n = {0};
    fsm_cluster cluster;
    measure_lines(0, 1e-5, 2, &n, &cluster);
    assert_near(cluster.op[FSM_COST_GEMM].cost.line[0].beta_s, 1e-5);
    assert_near(cluster.op[FSM_COST_ALLTOALL].cost.line[0].beta_s, 2e-5);
    assert_near(cluster.op[FSM_COST_ALLGATHER].cost.line[0].beta_s, 2e-5);
    assert_near(cluster.op[FSM_COST_REDUCESCATTER].cost.line[0].beta_s, 2e-5);
    assert_near(cluster.op[FSM_COST_ALLREDUCE].cost.line[0].beta_s, 2e-5); /* two of them, of 1e-5 */
    fsm_cluster_destroy(&cluster);
}

/* The cost of an all-to-all over a link that takes 48 elements at once after every rest. */
static fsm_cost measure_bursty(int in_a_row)
{
    fake f = make_fake(2);
    fake_ops ops = make_ops(&f);
    notes n = {0};
    fsm_measure_site site = make_site(&f, &ops.ops);
    fsm_measure_options options = make_options(&f, &n);
    fsm_cluster cluster = {0};
    f.alpha_s = 1e-4;
    f.beta_s = 1e-5;
    f.burst = 48;
    options.in_a_row = in_a_row;
    ops.ops.linear_forward = fake_linear;
    assert_int_equal(fsm_measure_cluster(&site, &options, &cluster), FSMOE_OK);
    fsm_cost cost = cluster.op[FSM_COST_ALLTOALL].cost;
    fsm_cluster_destroy(&cluster);
    return cost;
}

/* One at a time, small ones are so fast that alpha vanishes; in a row it does not. */
static void test_measure_operations_in_a_row_do_not_see_what_a_rested_link_takes_at_once(void **state)
{
    (void)state;
    fsm_cost alone = measure_bursty(1), in_a_row = measure_bursty(32);
    assert_true(alone.line[0].alpha_s == 0);
    for (double size = 64; size <= 1 << 14; size *= 4) {
        double want_s = 1e-4 + size * 1e-5;
        assert_true(fabs(fsm_cost_s(&in_a_row, 1, size) - want_s) < 0.05 * want_s);
    }
    assert_true(in_a_row.line[0].alpha_s >= 0.9e-4);
}

static void test_measure_operations_of_one_rank_cost_nothing_and_say_so(void **state)
{
    (void)state;
    fake f = make_fake(1);
    fake_ops ops = make_ops(&f);
    notes n = {0};
    fsm_measure_site site = make_site(&f, &ops.ops);
    fsm_measure_options options = make_options(&f, &n);
    fsm_cluster cluster = {0};
    f.beta_s = 1e-5;
    ops.ops.linear_forward = fake_linear;
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
static void test_measure_operations_beyond_the_budget_say_what_is_left_out(void **state)
{
    (void)state;
    fake f = make_fake(2);
    fake_ops ops = make_ops(&f);
    notes n = {0};
    fsm_measure_site site = make_site(&f, &ops.ops);
    fsm_measure_options options = make_options(&f, &n);
    fsm_cluster cluster = {0};
    f.beta_s = 1e-2;
    options.budget_s = 25;
    ops.ops.linear_forward = fake_linear;
    assert_int_equal(fsm_measure_cluster(&site, &options, &cluster), FSMOE_OK);
    assert_int_equal(cluster.op[FSM_COST_ALLREDUCE].point_count, 4);
    assert_int_equal(n.messages, 5);
    assert_non_null(strstr(n.text, "allreduce: the 5 largest of 9 sizes left out, 4 repeated less than 3 times"));
    fsm_cluster_destroy(&cluster);
}

/* Every other run takes 3 s instead of 1 s: after a warm-up of 1 s, each size has 3 s, and once more 3 s and 1 s. */
static void test_measure_operations_that_take_now_this_now_that_say_so(void **state)
{
    (void)state;
    fake f = make_fake(1);
    fake_ops ops = make_ops(&f);
    notes n = {0};
    fsm_measure_site site = make_site(&f, &ops.ops);
    fsm_measure_options options = make_options(&f, &n);
    fsm_cluster cluster = {0};
    options.repeats = 3;
    ops.ops.linear_forward = spend_unsteadily;
    assert_int_equal(fsm_measure_cluster(&site, &options, &cluster), FSMOE_OK);
    assert_non_null(strstr(n.text, "gemm: 9 of 9 sizes took more than twice"));
    fsm_cluster_destroy(&cluster);
}

static void test_measure_operations_refuse_sizes_that_make_no_sense(void **state)
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_measure_loop_takes_the_median_of_rounds_after_a_warm_up),
        cmocka_unit_test(test_measure_loop_takes_the_mean_of_the_two_middle_times),
        cmocka_unit_test(test_measure_loop_counts_the_slowest_rank),
        cmocka_unit_test(test_measure_loop_repeats_large_sizes_less),
        cmocka_unit_test(test_measure_loop_leaves_out_what_the_budget_has_no_room_for),
        cmocka_unit_test(test_measure_loop_times_four_sizes_whatever_they_take),
        cmocka_unit_test(test_measure_loop_passes_a_failure_on),
        cmocka_unit_test(test_measure_sizes_grow_by_one_factor),
        cmocka_unit_test(test_measure_operations_give_their_lines_back),
        cmocka_unit_test(test_measure_operations_of_narrow_rows_send_twice_as_many),
        cmocka_unit_test(test_measure_operations_in_a_row_do_not_see_what_a_rested_link_takes_at_once),
        cmocka_unit_test(test_measure_operations_of_one_rank_cost_nothing_and_say_so),
        cmocka_unit_test(test_measure_operations_beyond_the_budget_say_what_is_left_out),
        cmocka_unit_test(test_measure_operations_that_take_now_this_now_that_say_so),
        cmocka_unit_test(test_measure_operations_refuse_sizes_that_make_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
