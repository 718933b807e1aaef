/* The simulator: a graph on a virtual clock.
 * Oracles: schedules worked out by hand, the closed forms of a chunked layer where they are exact, simulators that
 * look at every task at every moment, written for nothing but being plain. Times are whole seconds, so that sums are
 * exact. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DRAW_SEED 42
#include "draws.h"
#include "plan/simulate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TASKS = 120, MOST_CLASSES = 5 };

/* ---- graphs ---- */

/* Adds a task after up to two others (-1: none); its number is kept as its layer. */
static int add(fsm_graph *graph, fsm_resource resource, int after, int also)
{
    const int waits[2] = {after, also};
    fsm_task task = {.kind = FSM_TASK_NORM, .resource = resource, .layer = graph->count, .micro = -1};
    return fsm_graph_add(graph, task, waits, 2);
}

/* Whole seconds, one in `zeros` of them 0. */
static void random_graph(fsm_graph *graph, double *seconds, int zeros)
{
    int tasks = 1 + (int)draw(MOST_TASKS), reach = 1 + (int)draw(20), longest = 1 + (int)draw(9);
    *graph = (fsm_graph){0};
    for (int i = 0; i < tasks; i++) {
        fsm_resource resource = (fsm_resource)draw(FSM_RESOURCE_COUNT);
        int from = i > reach ? i - reach : 0;
        assert_int_equal(add(graph, resource, draw(4) ? i - 1 - (int)draw(i - from + 1) : -1, -1), i);
        for (int e = (int)draw(3); i > 0 && e > 0; e--) fsm_graph_wait(graph, i, from + (int)draw(i - from));
        seconds[i] = draw(zeros) ? (double)(1 + draw(longest)) : 0;
    }
    assert_int_equal(fsm_graph_check(graph), FSMOE_OK);
}

static void simulate(const fsm_graph *graph, const double *seconds, fsm_discipline discipline, fsm_timeline *timeline)
{
    assert_int_equal(fsm_simulate(graph, seconds, discipline, timeline), FSMOE_OK);
}

static void assert_times(const fsm_timeline *timeline, int count, const double (*want)[2])
{
    double makespan_s = 0;
    for (int i = 0; i < count; i++) {
        if (timeline->start_s[i] != want[i][0] || timeline->end_s[i] != want[i][1])
            fail_msg("task %d runs from %g to %g, not from %g to %g", i, timeline->start_s[i], timeline->end_s[i],
                     want[i][0], want[i][1]);
        makespan_s = fmax(makespan_s, want[i][1]);
    }
    assert_true(timeline->makespan_s == makespan_s);
}

/* ---- by hand ---- */

/* Two tasks of the compute resource that wait for different things; in order the second waits for the first, though
 * its own work is there. */
static void make_crossing(fsm_graph *graph)
{
    *graph = (fsm_graph){0};
    add(graph, FSM_COMPUTE, -1, -1); /* 0: 2 s */
    add(graph, FSM_INTER, 0, -1);    /* 1: 3 s */
    add(graph, FSM_COMPUTE, 1, -1);  /* 2: 4 s */
    add(graph, FSM_COMPUTE, 0, -1);  /* 3: 1 s */
    add(graph, FSM_INTRA, 3, -1);    /* 4: 2 s */
    add(graph, FSM_INTER, -1, -1);   /* 5: 1 s */
    add(graph, FSM_COMPUTE, 2, 4);   /* 6: 1 s */
}

static const double crossing_s[] = {2, 3, 4, 1, 2, 1, 1};

static void test_simulate_in_order_is_as_by_hand(void **state)
{
    (void)state;
    static const double want[][2] = {{0, 2}, {2, 5}, {5, 9}, {9, 10}, {10, 12}, {5, 6}, {12, 13}};
    fsm_graph graph;
    fsm_timeline timeline;
    make_crossing(&graph);
    simulate(&graph, crossing_s, FSM_IN_ORDER, &timeline);
    assert_times(&timeline, graph.count, want);
    fsm_timeline_destroy(&timeline);
    fsm_graph_destroy(&graph);
}

static void test_simulate_by_priority_is_as_by_hand(void **state)
{
    (void)state;
    static const double want[][2] = {{0, 2}, {2, 5}, {5, 9}, {2, 3}, {3, 5}, {0, 1}, {9, 10}};
    fsm_graph graph;
    fsm_timeline timeline;
    make_crossing(&graph);
    simulate(&graph, crossing_s, FSM_BY_PRIORITY, &timeline);
    assert_times(&timeline, graph.count, want);
    fsm_timeline_destroy(&timeline);
    fsm_graph_destroy(&graph);
}

/* Three tasks become ready while the link is taken: the one issued first goes first, not the one that was ready
 * first. */
static void test_simulate_by_priority_takes_the_task_issued_first(void **state)
{
    (void)state;
    static const double seconds[] = {10, 3, 2, 1, 5, 1, 4},
                        want[][2] = {{0, 10}, {0, 3}, {3, 5}, {5, 6}, {10, 15}, {15, 16}, {16, 20}};
    fsm_graph graph = {0};
    fsm_timeline timeline;
    add(&graph, FSM_INTER, -1, -1); /* holds the link */
    for (int i = 1; i <= 3; i++) add(&graph, FSM_COMPUTE, i > 1 ? i - 1 : -1, -1);
    for (int i = 4; i <= 6; i++) add(&graph, FSM_INTER, 7 - i, -1); /* ready at 6, 5 and 3 */
    simulate(&graph, seconds, FSM_BY_PRIORITY, &timeline);
    assert_times(&timeline, graph.count, want);
    fsm_timeline_destroy(&timeline);
    fsm_graph_destroy(&graph);
}

static void test_simulate_empty_graph_takes_no_time(void **state)
{
    (void)state;
    fsm_graph graph = {0};
    fsm_timeline timeline;
    for (int discipline = 0; discipline < 2; discipline++) {
        simulate(&graph, NULL, (fsm_discipline)discipline, &timeline);
        assert_true(timeline.makespan_s == 0);
        fsm_timeline_destroy(&timeline);
    }
}

/* ---- closed forms ---- */

typedef struct layer {
    int r;
    double a, g, e, s, allreduce;
} layer;

/* Chunks through five stages, stage by stage, with an all-reduce after the last dispatch. */
static double layer_s(const layer *l)
{
    static const fsm_resource resources[] = {FSM_INTER, FSM_INTRA, FSM_COMPUTE, FSM_INTRA, FSM_INTER};
    const double stage_s[] = {l->a, l->g, l->e, l->s, l->a};
    double seconds[MOST_TASKS];
    fsm_graph graph = {0};
    fsm_timeline timeline;
    int at[16];
    for (int stage = 0; stage < 5; stage++)
        for (int c = 0; c < l->r; c++) {
            if (stage == 4 && c == 0) seconds[add(&graph, FSM_INTER, -1, -1)] = l->allreduce;
            at[c] = add(&graph, resources[stage], stage > 0 ? at[c] : -1, -1);
            seconds[at[c]] = stage_s[stage];
        }
    simulate(&graph, seconds, FSM_IN_ORDER, &timeline);
    double makespan_s = timeline.makespan_s;
    fsm_timeline_destroy(&timeline);
    fsm_graph_destroy(&graph);
    return makespan_s;
}

/* Where one resource never waits the closed forms of a layer are exact. */
static void test_simulate_chunked_layer_gives_the_closed_forms(void **state)
{
    (void)state;
    for (int i = 0; i < 2000; i++) {
        layer l = {.r = 1 + (int)draw(8), .a = (double)draw(20), .g = (double)draw(20), .s = (double)draw(20)};
        l.e = fmax(l.a, l.g) + fmax(l.a, l.s) + (double)draw(20);
        assert_true(layer_s(&l) == 2 * l.a + l.g + l.s + l.r * l.e); /* compute bound */
        l.e = (double)draw(20);
        l.allreduce = l.r * (l.g + l.e + l.s);
        assert_true(layer_s(&l) == 2 * l.r * l.a + l.allreduce); /* inter-node bound with an all-reduce */
        l.allreduce = 0;
        l.g += l.a, l.s += l.a;
        l.e = l.r > 1 ? fmin(l.g, l.s) : 0;
        assert_true(layer_s(&l) == 2 * l.a + l.r * (l.g + l.s)); /* intra-node bound */
    }
    layer two = {.r = 2, .a = 7, .g = 3, .e = 7, .s = 2};
    assert_true(layer_s(&two) == 2 * two.r * two.a + two.g + two.s); /* all-to-all bound */
}

/* ---- plain simulators ---- */

static bool has_edge(const fsm_graph *graph, int task, int before)
{
    const fsm_task *t = &graph->tasks[task];
    for (int e = 0; e < t->after_count; e++)
        if (graph->edges[t->after_first + e] == before) return true;
    return false;
}

/* Pushes starts back until nothing is too early. */
static void plain_in_order(const fsm_graph *graph, const double *seconds, double *start_s)
{
    for (int i = 0; i < graph->count; i++) start_s[i] = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int i = graph->count - 1; i >= 0; i--)
            for (int j = 0; j < i; j++) {
                bool waits = graph->tasks[i].resource == graph->tasks[j].resource || has_edge(graph, i, j);
                if (!waits || start_s[i] >= start_s[j] + seconds[j]) continue;
                start_s[i] = start_s[j] + seconds[j];
                moved = true;
            }
    }
}

static bool plain_ready(const fsm_graph *graph, int task, const bool *ended)
{
    for (int j = 0; j < task; j++)
        if (has_edge(graph, task, j) && !ended[j]) return false;
    return true;
}

/* The task that a free resource takes: the first that is ready; -1: none. */
static int plain_next(const fsm_graph *graph, int resource, const bool *started, const bool *ended)
{
    for (int i = 0; i < graph->count; i++)
        if (!started[i] && graph->tasks[i].resource == (fsm_resource)resource && plain_ready(graph, i, ended)) return i;
    return -1;
}

/* Every second: what has run out ends; as long as a free resource's next task takes no time, it is done; then each free
 * resource takes its next one. */
static void plain_by_priority(const fsm_graph *graph, const double *seconds, double *start_s)
{
    bool started[MOST_TASKS] = {0}, ended[MOST_TASKS] = {0};
    int left = graph->count, running[FSM_RESOURCE_COUNT] = {-1, -1, -1};
    for (double now_s = 0; left > 0; now_s++) {
        for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
            int i = running[r];
            if (i < 0 || start_s[i] + seconds[i] > now_s) continue;
            ended[i] = true;
            running[r] = -1;
            left--;
        }
        for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
            int i = running[r] < 0 ? plain_next(graph, r, started, ended) : -1;
            if (i < 0 || seconds[i] > 0) continue;
            started[i] = ended[i] = true;
            start_s[i] = now_s;
            left--;
            r = -1; /* look at all again */
        }
        for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
            int i = running[r] < 0 ? plain_next(graph, r, started, ended) : -1;
            if (i < 0) continue;
            started[i] = true;
            start_s[i] = now_s;
            running[r] = i;
        }
    }
}

static void check_timeline(const fsm_graph *graph, const double *seconds, const fsm_timeline *t)
{
    double last_s = 0;
    for (int i = 0; i < graph->count; i++) {
        assert_true(t->start_s[i] >= 0 && t->end_s[i] == t->start_s[i] + seconds[i]);
        last_s = fmax(last_s, t->end_s[i]);
        for (int j = 0; j < i; j++) {
            if (has_edge(graph, i, j)) assert_true(t->start_s[i] >= t->end_s[j]);
            if (graph->tasks[i].resource == graph->tasks[j].resource)
                assert_true(t->start_s[i] >= t->end_s[j] || t->start_s[j] >= t->end_s[i]);
        }
    }
    assert_true(t->makespan_s == last_s);
}

static void test_simulate_random_graphs_are_as_simulated_plainly(void **state)
{
    (void)state;
    for (int i = 0; i < 1500; i++) {
        fsm_graph graph;
        double seconds[MOST_TASKS], start_s[MOST_TASKS];
        random_graph(&graph, seconds, 2 + (int)draw(8));
        for (int discipline = 0; discipline < 2; discipline++) {
            fsm_timeline timeline;
            simulate(&graph, seconds, (fsm_discipline)discipline, &timeline);
            check_timeline(&graph, seconds, &timeline);
            if (discipline == FSM_IN_ORDER) plain_in_order(&graph, seconds, start_s);
            else plain_by_priority(&graph, seconds, start_s);
            assert_memory_equal(timeline.start_s, start_s, sizeof *start_s * (size_t)graph.count);
            fsm_timeline_destroy(&timeline);
        }
        fsm_graph_destroy(&graph);
    }
}

/* ---- classes of ranks ---- */

static const fsm_rank_class as_planned = {"all", 1, {1, 1, 1}};

static void simulate_classes(const fsm_graph *graph, const double *seconds, const fsm_link_share *other,
                             const fsm_rank_class *classes, int n, fsm_timeline *timeline, double *makespan_s)
{
    assert_int_equal(fsm_simulate_classes(graph, seconds, other, classes, n, timeline, makespan_s), FSMOE_OK);
}

static void assert_same_timeline(const fsm_graph *graph, const fsm_timeline *x, const fsm_timeline *y)
{
    assert_memory_equal(x->start_s, y->start_s, sizeof(double) * (size_t)graph->count);
    assert_memory_equal(x->end_s, y->end_s, sizeof(double) * (size_t)graph->count);
    assert_true(x->makespan_s == y->makespan_s);
}

static void test_simulate_equal_ranks_are_one_rank(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++) {
        fsm_graph graph;
        double seconds[MOST_TASKS], each_s[3];
        fsm_timeline one, many;
        const fsm_rank_class classes[] = {{"a", 1, {1, 1, 1}}, {"b", 9000, {1, 1, 1}}, {"c", 999, {1, 1, 1}}};
        random_graph(&graph, seconds, 5);
        simulate(&graph, seconds, FSM_IN_ORDER, &one);
        for (int n = 1; n <= 3; n++) {
            simulate_classes(&graph, seconds, NULL, classes, n, &many, each_s);
            assert_same_timeline(&graph, &one, &many);
            for (int c = 0; c < n; c++) assert_true(each_s[c] == one.makespan_s);
            fsm_timeline_destroy(&many);
        }
        fsm_timeline_destroy(&one);
        fsm_graph_destroy(&graph);
    }
}

/* Compute, intra-node, inter-node, compute, one after the other: 2, 3, 4 and 1 s. */
static void make_chain(fsm_graph *graph)
{
    static const fsm_resource resources[] = {FSM_COMPUTE, FSM_INTRA, FSM_INTER, FSM_COMPUTE};
    *graph = (fsm_graph){0};
    for (int i = 0; i < 4; i++) add(graph, resources[i], i - 1, -1);
}

static void test_simulate_straggler_slows_others_between_nodes_alone(void **state)
{
    (void)state;
    static const double seconds[] = {2, 3, 4, 1};
    static const struct {
        double slowdown[FSM_RESOURCE_COUNT], makespan_s[2], want[4][2];
    } cases[] = {
        {{2, 1, 1}, {12, 13}, {{0, 4}, {4, 7}, {7, 11}, {11, 13}}}, /* computes at half the pace */
        {{1, 2, 1},
         {13, 13},
         {{0, 2}, {2, 5}, {8, 12}, {12, 13}}}, /* a slow link inside its node; the times are the first's */
        {{1, 1, 3}, {18, 18}, {{0, 2}, {2, 5}, {5, 17}, {17, 18}}},  /* a slow link between nodes */
        {{0.5, 1, 1}, {10, 9.5}, {{0, 2}, {2, 5}, {5, 9}, {9, 10}}}, /* faster than the others: it waits */
    };
    fsm_graph graph;
    make_chain(&graph);
    for (int i = 0; i < 4; i++) {
        fsm_rank_class classes[2] = {{"most", 9992, {1, 1, 1}}, {.name = "straggler", .ranks = 8}};
        fsm_timeline timeline;
        double each_s[2];
        memcpy(classes[1].slowdown, cases[i].slowdown, sizeof classes[1].slowdown);
        simulate_classes(&graph, seconds, NULL, classes, 2, &timeline, each_s);
        assert_times(&timeline, graph.count, cases[i].want);
        assert_true(each_s[0] == cases[i].makespan_s[0] && each_s[1] == cases[i].makespan_s[1]);
        fsm_timeline_destroy(&timeline);
    }
    fsm_graph_destroy(&graph);
}

/* Pushes the starts of all classes back until nothing is too early; inter-node tasks start at once everywhere. */
static void plain_classes(const fsm_graph *graph, const double *seconds, const fsm_rank_class *classes, int n,
                          double start_s[][MOST_TASKS], double end_s[][MOST_TASKS])
{
    memset(start_s, 0, sizeof *start_s * (size_t)n);
    for (bool moved = true; moved;) {
        moved = false;
        for (int c = 0; c < n; c++)
            for (int i = 0; i < graph->count; i++) {
                fsm_resource resource = graph->tasks[i].resource;
                double earliest_s = start_s[c][i], slow = classes[c].slowdown[resource];
                for (int j = 0; j < i; j++)
                    if (graph->tasks[j].resource == resource || has_edge(graph, i, j))
                        earliest_s = fmax(earliest_s, end_s[c][j]);
                for (int d = 0; d < n && resource == FSM_INTER; d++) {
                    earliest_s = fmax(earliest_s, start_s[d][i]);
                    slow = fmax(slow, classes[d].slowdown[resource]);
                }
                moved |= earliest_s > start_s[c][i];
                start_s[c][i] = earliest_s;
                end_s[c][i] = earliest_s + seconds[i] * slow;
            }
    }
}

static void test_simulate_random_classes_are_as_simulated_plainly(void **state)
{
    (void)state;
    static double start_s[MOST_CLASSES][MOST_TASKS], end_s[MOST_CLASSES][MOST_TASKS];
    for (int i = 0; i < 400; i++) {
        fsm_graph graph;
        fsm_rank_class classes[MOST_CLASSES];
        fsm_timeline timeline;
        double seconds[MOST_TASKS], each_s[MOST_CLASSES], last_s = 0;
        int n = 1 + (int)draw(MOST_CLASSES), last = 0;
        random_graph(&graph, seconds, 6);
        for (int c = 0; c < n; c++) {
            classes[c] = (fsm_rank_class){"some", 1 + draw(5000), {1, 1, 1}};
            for (int r = 0; r < FSM_RESOURCE_COUNT; r++) classes[c].slowdown[r] = 0.25 * (double)(1 + draw(12));
        }
        simulate_classes(&graph, seconds, NULL, classes, n, &timeline, each_s);
        plain_classes(&graph, seconds, classes, n, start_s, end_s);
        for (int c = 0; c < n; c++) {
            double class_s = 0;
            for (int t = 0; t < graph.count; t++) class_s = fmax(class_s, end_s[c][t]);
            assert_true(each_s[c] == class_s);
            if (class_s > last_s) last = c, last_s = class_s;
        }
        assert_true(timeline.makespan_s == last_s);
        assert_memory_equal(timeline.start_s, start_s[last], sizeof(double) * (size_t)graph.count);
        assert_memory_equal(timeline.end_s, end_s[last], sizeof(double) * (size_t)graph.count);
        fsm_timeline_destroy(&timeline);
        fsm_graph_destroy(&graph);
    }
}

/* ---- collectives split over links ---- */

/* An inter-node task of 4 s, another behind it, a task of each link that waits for nothing, a compute task behind
 * the first. */
static void make_split(fsm_graph *graph)
{
    *graph = (fsm_graph){0};
    add(graph, FSM_INTER, -1, -1);
    add(graph, FSM_INTER, -1, -1);
    add(graph, FSM_INTRA, -1, -1);
    add(graph, FSM_COMPUTE, 0, -1);
}

static void test_simulate_split_collective_takes_both_links(void **state)
{
    (void)state;
    static const double seconds[] = {4, 1, 2, 1};
    static const struct {
        double other_s, want[4][2];
    } cases[] = {
        {0, {{0, 4}, {4, 5}, {0, 2}, {4, 5}}},
        {3, {{0, 4}, {4, 5}, {3, 5}, {4, 5}}}, /* the other link is free before */
        {6, {{0, 6}, {4, 5}, {6, 8}, {6, 7}}}, /* and after */
    };
    fsm_graph graph;
    make_split(&graph);
    for (int i = 0; i < 3; i++) {
        fsm_link_share other[4] = {{cases[i].other_s}, {0}, {0}, {0}};
        fsm_timeline timeline;
        simulate_classes(&graph, seconds, other, &as_planned, 1, &timeline, NULL);
        assert_times(&timeline, graph.count, cases[i].want);
        fsm_timeline_destroy(&timeline);
    }
    fsm_graph_destroy(&graph);
}

/* What a compute task would spend on a link is not asked for. An intra-node task that is split waits for both links. */
static void test_simulate_split_collective_waits_for_both_links(void **state)
{
    (void)state;
    static const double seconds[] = {5, 2, 1}, want[][2] = {{0, 5}, {5, 8}, {0, 1}};
    const fsm_link_share other[] = {{0}, {3}, {9}};
    fsm_graph graph = {0};
    fsm_timeline timeline;
    add(&graph, FSM_INTER, -1, -1);
    add(&graph, FSM_INTRA, -1, -1);
    add(&graph, FSM_COMPUTE, -1, -1);
    simulate_classes(&graph, seconds, other, &as_planned, 1, &timeline, NULL);
    assert_times(&timeline, graph.count, want);
    fsm_timeline_destroy(&timeline);
    fsm_graph_destroy(&graph);
}

/* Whatever link is its own: a part of it goes between nodes, so it is a matter of all ranks and ends for all at
 * once. */
static void test_simulate_split_collective_ends_for_all_at_once(void **state)
{
    (void)state;
    static const double seconds[] = {4, 1};
    const fsm_link_share other[] = {{3}, {0}};
    const fsm_rank_class classes[] = {{"most", 6, {1, 1, 1}}, {"slow", 2, {1, 5, 2}}};
    for (int link = FSM_INTRA; link <= FSM_INTER; link++) {
        fsm_graph graph = {0};
        fsm_timeline timeline;
        double each_s[2], want_s = link == FSM_INTER ? 3 * 5 : 4 * 5; /* its part inside the slow node */
        add(&graph, (fsm_resource)link, -1, -1);
        add(&graph, FSM_COMPUTE, 0, -1);
        simulate_classes(&graph, seconds, other, classes, 2, &timeline, each_s);
        assert_true(each_s[0] == want_s + 1 && each_s[1] == want_s + 1);
        fsm_timeline_destroy(&timeline);
        fsm_graph_destroy(&graph);
    }
}

static void test_simulate_impossible_classes_are_refused(void **state)
{
    (void)state;
    static const double seconds[] = {2, 3, 4, 1}, bad[] = {0, -1, NAN, INFINITY};
    fsm_graph graph;
    fsm_timeline timeline;
    fsm_rank_class c = {"lame", 0, {1, 1, 1}};
    make_chain(&graph);
    assert_int_equal(fsm_simulate_classes(&graph, seconds, NULL, &c, 0, &timeline, NULL), FSMOE_ERROR_CONFIG);
    assert_int_equal(fsm_simulate_classes(&graph, seconds, NULL, &c, 1, &timeline, NULL), FSMOE_ERROR_CONFIG);
    assert_non_null(strstr(fsmoe_last_error(), "lame"));
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        for (int i = 0; i < 4; i++) {
            c = (fsm_rank_class){"lame", 1, {1, 1, 1}};
            c.slowdown[r] = bad[i];
            assert_int_equal(fsm_simulate_classes(&graph, seconds, NULL, &c, 1, &timeline, NULL), FSMOE_ERROR_CONFIG);
            assert_non_null(strstr(fsmoe_last_error(), "lame"));
            assert_non_null(strstr(fsmoe_last_error(), fsm_resource_name((fsm_resource)r)));
        }
    fsm_graph_destroy(&graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simulate_in_order_is_as_by_hand),
        cmocka_unit_test(test_simulate_by_priority_is_as_by_hand),
        cmocka_unit_test(test_simulate_by_priority_takes_the_task_issued_first),
        cmocka_unit_test(test_simulate_empty_graph_takes_no_time),
        cmocka_unit_test(test_simulate_chunked_layer_gives_the_closed_forms),
        cmocka_unit_test(test_simulate_random_graphs_are_as_simulated_plainly),
        cmocka_unit_test(test_simulate_equal_ranks_are_one_rank),
        cmocka_unit_test(test_simulate_straggler_slows_others_between_nodes_alone),
        cmocka_unit_test(test_simulate_random_classes_are_as_simulated_plainly),
        cmocka_unit_test(test_simulate_split_collective_takes_both_links),
        cmocka_unit_test(test_simulate_split_collective_waits_for_both_links),
        cmocka_unit_test(test_simulate_split_collective_ends_for_all_at_once),
        cmocka_unit_test(test_simulate_impossible_classes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
