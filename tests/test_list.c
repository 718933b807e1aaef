/* List scheduling on random graphs. Oracles: the definition, looked at instant by instant; the simulator in order; the
 * longest way, searched without memory. */
#define DRAW_SEED 41
#include "draws.h"
#include "plan/list.h"
#include "plan/simulate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GRAPHS = 300, MOST_TASKS = 40 };

typedef struct random_case {
    fsm_graph graph;
    double seconds[MOST_TASKS], keys[MOST_TASKS];
} random_case;

/* Whole numbers, of which many are equal and some 0: ties are where a scheduler goes wrong. */
static void make(random_case *c)
{
    int n = draw(MOST_TASKS) + 1;
    c->graph = (fsm_graph){.lanes = 1 + draw(3), .parts = 1, .spare = draw(2)};
    for (int i = 0; i < n; i++) {
        int after[3], count = i > 0 ? draw(4) : 0;
        for (int k = 0; k < count; k++) after[k] = draw(i);
        fsm_graph_add(&c->graph, (fsm_task){.resource = (fsm_resource)draw(FSM_RESOURCE_COUNT), .layer = i, .size = i},
                      after, count);
        c->seconds[i] = draw(5);
        c->keys[i] = draw(6);
    }
}

static double longest_way(const fsm_graph *graph, const double *seconds, int task)
{
    double after_s = 0;
    for (int i = task + 1; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        for (int e = 0; e < t->after_count; e++) {
            if (graph->edges[t->after_first + e] != task) continue;
            double way_s = longest_way(graph, seconds, i);
            if (way_s > after_s) after_s = way_s;
        }
    }
    return seconds[task] + after_s;
}

static bool is_ready(const fsm_list *list, int task, double at_s)
{
    const fsm_task *t = &list->graph->tasks[task];
    for (int e = 0; e < t->after_count; e++)
        if (list->end_s[list->graph->edges[t->after_first + e]] > at_s) return false;
    return true;
}

/* When a task starts, it was ready, its resource was free, and nothing with a greater key was ready and waiting for it;
 * and no resource is idle while a task that could run on it is ready. */
static void check_start(const fsm_list *list, const double *keys, int task)
{
    double start_s = list->start_s[task];
    assert_true(is_ready(list, task, start_s));
    assert_true(list->end_s[task] == start_s + list->seconds[task]);
    for (int i = 0; i < list->count; i++) {
        bool same = list->graph->tasks[i].resource == list->graph->tasks[task].resource;
        if (!same || i == task) continue;
        bool overlaps = list->start_s[i] < list->end_s[task] && start_s < list->end_s[i];
        assert_false(overlaps);
        if (list->start_s[i] <= start_s || list->seconds[task] == 0) continue;
        if (is_ready(list, i, start_s)) assert_true(keys[task] >= keys[i]);
    }
}

static void check_no_idling(const fsm_list *list, int task)
{
    double ready_s = 0, free_s = 0;
    const fsm_task *t = &list->graph->tasks[task];
    for (int e = 0; e < t->after_count; e++) {
        double end_s = list->end_s[list->graph->edges[t->after_first + e]];
        if (end_s > ready_s) ready_s = end_s;
    }
    for (int i = 0; i < list->count; i++)
        if (list->graph->tasks[i].resource == t->resource && i != task && list->start_s[i] <= list->start_s[task] &&
            list->end_s[i] > free_s)
            free_s = list->end_s[i];
    assert_true(list->start_s[task] <= (ready_s > free_s ? ready_s : free_s));
}

static void test_list_runs_are_what_they_are_defined_to_be(void **state)
{
    (void)state;
    for (int k = 0; k < GRAPHS; k++) {
        random_case c;
        fsm_list list;
        make(&c);
        assert_int_equal(fsm_list_create(&c.graph, c.seconds, &list), FSMOE_OK);
        fsm_list_run(&list, c.keys);
        for (int i = 0; i < c.graph.count; i++) {
            check_start(&list, c.keys, i);
            check_no_idling(&list, i);
        }
        fsm_list_destroy(&list);
        fsm_graph_destroy(&c.graph);
    }
}

static void test_list_ways_are_the_longest(void **state)
{
    (void)state;
    for (int k = 0; k < GRAPHS; k++) {
        random_case c;
        fsm_list list;
        make(&c);
        if (c.graph.count > 14) c.graph.count = 14; /* all ways are walked */
        c.graph.edge_count =
            c.graph.tasks[c.graph.count - 1].after_first + c.graph.tasks[c.graph.count - 1].after_count;
        assert_int_equal(fsm_list_create(&c.graph, c.seconds, &list), FSMOE_OK);
        for (int i = 0; i < c.graph.count; i++) assert_true(list.way_s[i] == longest_way(&c.graph, c.seconds, i));
        fsm_list_destroy(&list);
        fsm_graph_destroy(&c.graph);
    }
}

/* The same tasks with the same predecessors, and in order it takes what the list took. */
static void test_list_reorders_the_graph(void **state)
{
    (void)state;
    for (int k = 0; k < GRAPHS; k++) {
        random_case c;
        fsm_list list;
        fsm_graph ordered;
        fsm_timeline timeline;
        double seconds[MOST_TASKS];
        make(&c);
        assert_int_equal(fsm_list_create(&c.graph, c.seconds, &list), FSMOE_OK);
        fsm_list_run(&list, c.keys);
        assert_int_equal(fsm_list_reorder(&list, &ordered), FSMOE_OK);
        assert_int_equal(ordered.count, c.graph.count);
        assert_int_equal(ordered.edge_count, c.graph.edge_count);
        assert_true(ordered.lanes == c.graph.lanes && ordered.parts == 1 && ordered.spare == c.graph.spare);
        for (int i = 0; i < ordered.count; i++) {
            const fsm_task *t = &ordered.tasks[i], *was = &c.graph.tasks[t->layer];
            seconds[i] = c.seconds[t->layer];
            assert_true(t->size == was->size && t->resource == was->resource && t->after_count == was->after_count);
            for (int e = 0; e < t->after_count; e++)
                assert_int_equal(ordered.tasks[ordered.edges[t->after_first + e]].layer,
                                 c.graph.edges[was->after_first + e]);
        }
        assert_int_equal(fsm_simulate(&ordered, seconds, FSM_IN_ORDER, &timeline), FSMOE_OK);
        assert_true(timeline.makespan_s == list.makespan_s);
        fsm_timeline_destroy(&timeline);
        fsm_graph_destroy(&ordered);
        fsm_list_destroy(&list);
        fsm_graph_destroy(&c.graph);
    }
}

static void test_list_of_nothing_takes_nothing(void **state)
{
    (void)state;
    fsm_graph empty = {0};
    fsm_list list;
    assert_int_equal(fsm_list_create(&empty, NULL, &list), FSMOE_OK);
    fsm_list_run(&list, NULL);
    assert_true(list.makespan_s == 0);
    fsm_list_destroy(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list_runs_are_what_they_are_defined_to_be),
        cmocka_unit_test(test_list_ways_are_the_longest),
        cmocka_unit_test(test_list_reorders_the_graph),
        cmocka_unit_test(test_list_of_nothing_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
