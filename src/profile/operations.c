/* The five operations of a cluster file, measured. */
#include "profile/collective.h"
#include "profile/measure.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FEWEST_ROWS = 4, MOST_ROWS = 4096 }; /* of a GEMM: three decades */

/* One operation and its buffers. */
typedef struct operation {
    const fsm_measure_site *site;
    fsm_cost_op op;
    fsm_comm *group; /* of a collective */
    fsm_collective collective;
    fsm_row *from, *to; /* a GEMM's rows and results */
    fsm_real *values;   /* and its weight */
    fsm_weight weight;
    fsm_alltoall alltoall;
    fsm_memory memory;
    int in_a_row;
    int64_t most; /* largest size */
} operation;

typedef struct measurement {
    const fsm_measure_site *site;
    const fsm_measure_options *options;
    double budget_s; /* of one operation */
    fsm_cost_op op;  /* the present one */
} measurement;

__attribute__((format(printf, 2, 3))) static void say(const measurement *m, const char *format, ...)
{
    char text[256];
    va_list args;
    if (!m->options->on_message) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    m->options->on_message(m->options->user, text);
}

/* ---- one run each ---- */

static fsmoe_status run_gemm(operation *o, int64_t rows)
{
    o->site->ops->linear_forward(o->site->ops, rows, &o->weight, NULL, fsm_rows(o->from, o->weight.in),
                                 fsm_rows(o->to, o->weight.out));
    return FSMOE_OK;
}

/* Every rank cuts alike. */
static int64_t elems_between(const void *user, int from, int to)
{
    const operation *o = user;
    (void)from;
    return o->collective.counts[to];
}

/* What the operation moves: rows, or gradients. */
static fsm_comm_type type_of(const operation *o)
{
    return o->op == FSM_COST_ALLREDUCE || o->site->ops->row_bytes == FSM_REAL_BYTES ? FSM_COMM_FP32 : FSM_COMM_BF16;
}

/* Of n elements of 4 bytes, which lines are of whatever is moved. */
static int64_t elems_of(const operation *o, int64_t n)
{
    return n * (int64_t)(fsm_comm_bytes(FSM_COMM_FP32, 1) / fsm_comm_bytes(type_of(o), 1));
}

/* As a step does it: its own all-to-all, and sums as a tree where they are canonical. */
static fsmoe_status start_collective(operation *o, int64_t n, fsm_comm_op *op)
{
    const fsm_measure_site *s = o->site;
    const fsm_comm_type type = type_of(o);
    fsm_collective *c = &o->collective;
    const fsm_alltoall_counts counts = {c->counts, c->mine, elems_between, o};
    if (o->op == FSM_COST_ALLTOALL) {
        fsm_collective_cut(c, o->group, elems_of(o, n));
        return fsm_alltoall_start(&o->alltoall, op, type, c->from, c->to, &counts);
    }
    if (o->op == FSM_COST_ALLREDUCE && s->tree_scratch)
        return fsm_comm_start_all_reduce_tree(op, o->group, c->from, n, s->tree_scratch, s->tree_counts);
    return fsm_collective_start(c, o->group, o->op, type, elems_of(o, n), op);
}

static fsmoe_status run_collective(operation *o, int64_t n)
{
    fsm_comm_op op;
    FSM_TRY(start_collective(o, n, &op));
    return fsm_comm_finish(&op);
}

/* As many as take about a quarter of the largest size's time, at most o->in_a_row. */
static int count_in_a_row(const operation *o, int64_t n)
{
    int64_t fit = o->op == FSM_COST_GEMM || n == 0 ? 1 : o->most / (4 * n);
    return fit < 1 ? 1 : fit < o->in_a_row ? (int)fit : o->in_a_row;
}

static fsmoe_status run_one(operation *o, int64_t n)
{
    return o->op == FSM_COST_GEMM ? run_gemm(o, n) : run_collective(o, n);
}

static fsmoe_status run_operation(void *object, int64_t n)
{
    operation *o = object;
    for (int i = count_in_a_row(o, n); i > 0; i--) FSM_TRY(run_one(o, n));
    return FSMOE_OK;
}

/* ---- buffers ---- */

static void destroy_operation(operation *o)
{
    if (o->weight.pack) o->site->ops->weight_destroy(o->site->ops, &o->weight);
    fsm_collective_destroy(&o->collective);
    fsm_memory_destroy(&o->memory);
}

static void take_gemm(fsm_memory *memory, int64_t most_rows, operation *o)
{
    const fsm_measure_site *s = o->site;
    o->from = fsm_take_rows(memory, most_rows * s->gemm_in);
    o->to = fsm_take_rows(memory, most_rows * s->gemm_out);
    o->values = fsm_take_reals(memory, s->gemm_in * s->gemm_out);
}

/* Written once, so that the pages exist. */
static void fill_gemm(const operation *o, int64_t most_rows)
{
    const fsm_measure_site *s = o->site;
    s->ops->zero_rows(s->ops, most_rows * s->gemm_in, o->from);
    s->ops->zero_rows(s->ops, most_rows * s->gemm_out, o->to);
    s->ops->zero(s->ops, s->gemm_in * s->gemm_out, o->values);
}

static bool create_gemm(operation *o, int64_t most_rows)
{
    const fsm_measure_site *s = o->site;
    fsm_memory measure = fsm_memory_measure_for(s->ops);
    take_gemm(&measure, most_rows, o);
    if (fsm_memory_create(&measure, &o->memory) != FSMOE_OK) return false;
    take_gemm(&o->memory, most_rows, o);
    fill_gemm(o, most_rows);
    o->weight = (fsm_weight){.w = o->values, .out = s->gemm_out, .in = s->gemm_in};
    if (!s->ops->weight_create(s->ops, &o->weight)) return false;
    s->ops->weight_update(s->ops, &o->weight);
    return true;
}

static bool create_alltoall(operation *o, int64_t most_elems)
{
    fsm_memory measure = fsm_memory_measure(FSM_REAL_BYTES);
    const fsm_comm_type type = type_of(o);
    const int64_t elems = elems_of(o, most_elems), pair_elems = elems / o->group->size + 1;
    o->alltoall = *o->site->alltoall;
    fsm_alltoall_take(&measure, type, elems, pair_elems, &o->alltoall);
    if (fsm_memory_create(&measure, &o->memory) != FSMOE_OK) return false;
    fsm_alltoall_take(&o->memory, type, elems, pair_elems, &o->alltoall);
    return true;
}

static bool create_collective(operation *o, int64_t most_elems)
{
    int ranks = o->group->size;
    if (most_elems < ranks) most_elems = ranks; /* the smallest that is timed has an element a rank */
    if (o->op == FSM_COST_ALLTOALL && !create_alltoall(o, most_elems)) return false;
    return fsm_collective_create(ranks, most_elems, &o->collective) == FSMOE_OK;
}

static fsmoe_status create_operation(const measurement *m, int64_t most, operation *o)
{
    *o = (operation){.site = m->site, .op = m->op, .group = m->site->group[m->op], .most = most};
    o->in_a_row = m->options->in_a_row > 1 ? m->options->in_a_row : 1;
    if (m->op == FSM_COST_GEMM ? create_gemm(o, most) : create_collective(o, most)) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to measure %s", fsm_cost_op_name(m->op));
}

/* ---- one operation ---- */

/* The size, the same on all ranks, at which buffers, `times` as large, fill a quarter of the machine's memory. */
static fsmoe_status affordable_elems(const fsm_measure_site *site, int64_t times, double *elems)
{
    double memory_bytes = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE), greatest;
    double mine = memory_bytes / 4 / sizeof(float) / (site->local_ranks > 0 ? site->local_ranks : 1) / (double)times;
    FSM_TRY(fsm_ranks_range(site->world, 1e-9 * mine, elems, &greatest));
    *elems *= 1e9;
    return FSMOE_OK;
}

/* What the sizes of the operation count, in run_operation's n: rows of a GEMM, elements of a collective. */
static fsmoe_status choose_sizes(const measurement *m, int64_t sizes[FSM_MOST_SIZES], int *count)
{
    const fsm_measure_options *options = m->options;
    const fsm_measure_site *site = m->site;
    double elems;
    int64_t min = options->min_elems, max = options->max_elems, each = 2; /* sent and received */
    if (m->op == FSM_COST_GEMM) min = FEWEST_ROWS, max = MOST_ROWS, each = site->gemm_in + site->gemm_out;
    if (m->op == FSM_COST_ALLTOALL && site->alltoall->kind->buffer_elems) each += FSM_ALLTOALL_BUFFERS;
    FSM_TRY(affordable_elems(site, each, &elems));
    int64_t most = (int64_t)elems;
    if (most < max) {
        max = most > 2 * min ? most : 2 * min;
        say(m, "%s: at most %lld %s, which fill a quarter of the memory", fsm_cost_op_name(m->op), (long long)max,
            m->op == FSM_COST_GEMM ? "rows" : "elements");
    }
    *count = fsm_geometric_sizes(min, max, options->points, sizes);
    return FSMOE_OK;
}

static void on_time(void *user, double fraction)
{
    const measurement *m = user;
    if (m->options->on_progress)
        m->options->on_progress(m->options->user, (m->op + fraction) / FSM_COST_OP_COUNT, fsm_cost_op_name(m->op));
}

/* Half of a size's repeats took twice the fastest one's time: the median says little then. */
static int count_unsteady(const fsm_timing *timing, int timed)
{
    int unsteady = 0;
    for (int i = 0; i < timed; i++) unsteady += timing[i].time_s > 2 * timing[i].fastest_s;
    return unsteady;
}

static void explain(const measurement *m, const fsm_timing *timing, int timed, int count)
{
    const char *name = fsm_cost_op_name(m->op);
    int full = 0, unsteady = count_unsteady(timing, timed);
    while (full < timed && timing[full].repeats == m->options->repeats) full++;
    if (timed < count)
        say(m, "%s: the %d largest of %d sizes left out, %d repeated less than %d times, to keep to %.3g s", name,
            count - timed, count, timed - full, m->options->repeats, m->budget_s);
    else if (full < timed)
        say(m, "%s: the %d largest of %d sizes repeated less than %d times, to keep to %.3g s", name, timed - full,
            count, m->options->repeats, m->budget_s);
    if (unsteady > 0)
        say(m, "%s: %d of %d sizes took more than twice their fastest time; is something else using the machine?", name,
            unsteady, timed);
}

static fsmoe_status fit(const measurement *m, const int64_t *sizes, const fsm_timing *timing, int timed,
                        fsm_cluster *cluster)
{
    double unit = m->op == FSM_COST_GEMM ? (double)m->site->gemm_in * (double)m->site->gemm_out : 1;
    fsm_point *points = malloc(sizeof *points * (size_t)timed);
    if (!points) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for %d points", timed);
    for (int i = 0; i < timed; i++) points[i] = (fsm_point){unit * (double)sizes[i], timing[i].time_s};
    const int most_lines = 2; /* a third through a dozen sizes would follow the noise of a shared machine */
    return fsm_cluster_fit(cluster, m->op, points, timed, most_lines);
}

/* What a collective of an element a rank takes: no alpha is below that, though a line through larger ones may say so,
 * where a link's buffers make the small ones among them fast. */
static fsmoe_status find_latency(const measurement *m, operation *o, double *latency_s, double *used_s)
{
    enum { TRIES = 3, IN_A_ROW = 8 };
    *latency_s = *used_s = 0;
    for (int i = 0; i < TRIES && o->in_a_row > 1; i++) {
        double least_s, slowest_s;
        FSM_TRY(m->site->world->control->barrier(m->site->world));
        double start_s = fsm_clock_now_s(&m->options->clock);
        for (int k = 0; k < IN_A_ROW; k++) FSM_TRY(run_one(o, o->group->size));
        FSM_TRY(fsm_ranks_range(m->site->world, fsm_clock_now_s(&m->options->clock) - start_s, &least_s, &slowest_s));
        *used_s += slowest_s;
        *latency_s = i == 0 ? slowest_s / IN_A_ROW : fmin(*latency_s, slowest_s / IN_A_ROW);
    }
    return FSMOE_OK;
}

static double work_of(const void *object, int64_t n)
{
    return (double)count_in_a_row(object, n) * (double)n;
}

static fsmoe_status measure(measurement *m, fsm_cluster *cluster)
{
    double latency_s = 0, used_s = 0;
    const fsm_measure_options *options = m->options;
    int64_t sizes[FSM_MOST_SIZES];
    fsm_timing timing[FSM_MOST_SIZES];
    operation o = {0};
    int count, timed;
    fsm_timing_loop loop = {.world = m->site->world,
                            .clock = options->clock,
                            .repeats = options->repeats,
                            .work = work_of,
                            .on_time = on_time,
                            .user = m};
    FSM_TRY(choose_sizes(m, sizes, &count));
    fsmoe_status status = fsm_comm_agree(m->site->world, create_operation(m, sizes[count - 1], &o));
    if (status == FSMOE_OK && m->op != FSM_COST_GEMM) status = find_latency(m, &o, &latency_s, &used_s);
    loop.budget_s = fmax(m->budget_s - used_s, 0);
    if (status == FSMOE_OK) status = fsm_time_sizes(&loop, run_operation, &o, sizes, count, timing, &timed);
    for (int i = 0; status == FSMOE_OK && i < timed; i++) {
        timing[i].time_s /= count_in_a_row(&o, sizes[i]);
        timing[i].fastest_s /= count_in_a_row(&o, sizes[i]);
    }
    destroy_operation(&o);
    FSM_TRY(status);
    explain(m, timing, timed, count);
    FSM_TRY(fsm_comm_agree(m->site->world, fit(m, sizes, timing, timed, cluster)));
    for (int i = 0; i < FSM_COST_LINES; i++) {
        double *alpha_s = &cluster->op[m->op].cost.line[i].alpha_s;
        *alpha_s = fmax(*alpha_s, latency_s);
    }
    return FSMOE_OK;
}

fsmoe_status fsm_measure_check(const fsm_measure_options *o)
{
    if (o->min_elems < 1 || o->max_elems < 2 * o->min_elems)
        return fsm_fail(FSMOE_ERROR_CONFIG, "sizes from %lld to %lld elements: the largest must be twice the smallest",
                        (long long)o->min_elems, (long long)o->max_elems);
    if (o->points < FSM_LEAST_SIZES || o->points > FSM_MOST_SIZES)
        return fsm_fail(FSMOE_ERROR_CONFIG, "%d sizes: between %d and %d can be measured", o->points, FSM_LEAST_SIZES,
                        FSM_MOST_SIZES);
    if (o->repeats < 1 || !(o->budget_s > 0))
        return fsm_fail(FSMOE_ERROR_CONFIG, "%d repeats in %g s: both must be positive", o->repeats, o->budget_s);
    return FSMOE_OK;
}

static bool costs_nothing(const fsm_measure_site *site, int op)
{
    return op != FSM_COST_GEMM && site->group[op]->size == 1;
}

fsmoe_status fsm_measure_cluster(const fsm_measure_site *site, const fsm_measure_options *options, fsm_cluster *cluster)
{
    int measured = 0;
    FSM_TRY(fsm_measure_check(options));
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) measured += !costs_nothing(site, op);
    measurement m = {.site = site, .options = options, .budget_s = options->budget_s / measured};
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) {
        m.op = (fsm_cost_op)op;
        if (costs_nothing(site, op)) {
            say(&m, "%s: its group is one rank, so it costs nothing", fsm_cost_op_name(m.op));
            cluster->op[op] = (fsm_measured){.r2 = NAN};
            on_time(&m, 1);
            continue;
        }
        FSM_TRY(measure(&m, cluster));
    }
    return FSMOE_OK;
}
