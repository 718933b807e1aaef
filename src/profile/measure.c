/* The timing loop. */
#include "profile/measure.h"

#include "base/clock.h"
#include "comm/op.h"

#include <math.h>
#include <stdlib.h>

double fsm_clock_now_s(const fsm_clock *clock)
{
    return clock->now_s ? clock->now_s(clock->user) : fsm_clock_s();
}

/* Without memory the others wait already, so that only ending the job ends them. */
fsmoe_status fsm_ranks_range(fsm_comm *comm, double mine, double *least, double *greatest)
{
    int64_t sent = llround(1e9 * mine), *all = malloc(sizeof *all * (size_t)comm->size);
    fsmoe_status status = all ? fsm_comm_all_gather_int64(comm, &sent, 1, all)
                              : fsm_fail(FSMOE_ERROR_COMM, "no memory for the times of %d ranks", comm->size);
    for (int i = 0; status == FSMOE_OK && i < comm->size; i++) {
        double value = (double)all[i] / 1e9;
        if (i == 0 || value < *least) *least = value;
        if (i == 0 || value > *greatest) *greatest = value;
    }
    free(all);
    return status;
}

int fsm_geometric_sizes(int64_t min, int64_t max, int points, int64_t sizes[FSM_MOST_SIZES])
{
    int count = 0;
    for (int i = 0; i < points && i < FSM_MOST_SIZES; i++) {
        double exponent = points > 1 ? (double)i / (points - 1) : 0;
        int64_t size = llround((double)min * pow((double)max / (double)min, exponent));
        if (count == 0 || size > sizes[count - 1]) sizes[count++] = size;
    }
    return count;
}

/* The slowest rank's time of one run that all ranks start together. What the clock cannot see took a nanosecond. */
static fsmoe_status time_once(const fsm_timing_loop *loop, fsm_timed_run run, void *object, int64_t n, double *time_s)
{
    double least_s;
    FSM_TRY(loop->world->control->barrier(loop->world));
    double start_s = fsm_clock_now_s(&loop->clock);
    FSM_TRY(run(object, n));
    FSM_TRY(fsm_ranks_range(loop->world, fsm_clock_now_s(&loop->clock) - start_s, &least_s, time_s));
    if (*time_s < 1e-9) *time_s = 1e-9;
    return FSMOE_OK;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double fsm_median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    return n % 2 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

/* A loop at work. Every rank sees the same times and so decides alike. */
typedef struct timing_work {
    const fsm_timing_loop *loop;
    fsm_timed_run run;
    void *object;
    const int64_t *n;
    double left_s;
    double *times;      /* [count, loop->repeats] */
    int *planned;       /* [count] repeats */
    fsm_timing *timing; /* of each size, the latest repeat's time until all are done */
} timing_work;

static fsmoe_status repeat(timing_work *w, int i)
{
    fsm_timing *t = &w->timing[i];
    FSM_TRY(time_once(w->loop, w->run, w->object, w->n[i], &t->time_s));
    w->times[i * w->loop->repeats + t->repeats++] = t->time_s;
    w->left_s -= t->time_s;
    return FSMOE_OK;
}

static double work(const timing_work *w, int i)
{
    return w->loop->work ? w->loop->work(w->object, w->n[i]) : (double)w->n[i];
}

/* A warm-up and a repeat of every size that, should its time grow as its work does, the budget has room for. */
static fsmoe_status begin_sizes(timing_work *w, int count, int *timed)
{
    for (*timed = 0; *timed < count; ++*timed) {
        int i = *timed;
        double grown = i > 0 ? work(w, i) / work(w, i - 1) : 0, warm_up_s;
        if (i >= FSM_LEAST_SIZES && 2 * grown * w->timing[i - 1].time_s > w->left_s) break;
        FSM_TRY(time_once(w->loop, w->run, w->object, w->n[i], &warm_up_s));
        w->left_s -= warm_up_s;
        w->timing[i] = (fsm_timing){0};
        FSM_TRY(repeat(w, i));
        if (w->loop->on_time) w->loop->on_time(w->loop->user, 0.5 * (i + 1) / count);
    }
    return FSMOE_OK;
}

/* From small to large, each size may use an equal share of what those before it leave. */
static void plan_repeats(timing_work *w, int timed)
{
    double left_s = w->left_s;
    for (int i = 0; i < timed; i++) {
        double share = left_s / (timed - i) / w->timing[i].time_s;
        int more = share > w->loop->repeats - 1 ? w->loop->repeats - 1 : (int)fmax(share, 0);
        w->planned[i] = 1 + more;
        left_s -= more * w->timing[i].time_s;
    }
}

/* In rounds over all sizes, so that a slow moment of the machine is not all of one size's time. */
static fsmoe_status repeat_sizes(timing_work *w, int timed)
{
    for (int round = 1; round < w->loop->repeats; round++) {
        for (int i = 0; i < timed; i++)
            if (w->timing[i].repeats < w->planned[i] && w->timing[i].time_s <= w->left_s) FSM_TRY(repeat(w, i));
        if (w->loop->on_time) w->loop->on_time(w->loop->user, 0.5 + 0.5 * (round + 1) / w->loop->repeats);
    }
    return FSMOE_OK;
}

fsmoe_status fsm_time_sizes(const fsm_timing_loop *loop, fsm_timed_run run, void *object, const int64_t *n, int count,
                            fsm_timing *timing, int *timed)
{
    timing_work w = {.loop = loop, .run = run, .object = object, .n = n, .left_s = loop->budget_s, .timing = timing};
    w.times = malloc(sizeof *w.times * (size_t)count * (size_t)loop->repeats);
    w.planned = malloc(sizeof *w.planned * (size_t)count);
    fsmoe_status status =
        w.times && w.planned ? FSMOE_OK
                             : fsm_fail(FSMOE_ERROR_MEMORY, "no memory for %d times of %d sizes", loop->repeats, count);
    FSM_TRY_GOTO(status, fsm_comm_agree(loop->world, status), done);
    FSM_TRY_GOTO(status, begin_sizes(&w, count, timed), done);
    plan_repeats(&w, *timed);
    FSM_TRY_GOTO(status, repeat_sizes(&w, *timed), done);
    for (int i = 0; i < *timed; i++) {
        timing[i].time_s = fsm_median(w.times + i * loop->repeats, timing[i].repeats);
        timing[i].fastest_s = w.times[i * loop->repeats]; /* they are in order now */
    }
done:
    free(w.times);
    free(w.planned);
    return status;
}
