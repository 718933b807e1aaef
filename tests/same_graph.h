/* Two task graphs are the same value, field by field: no printer's word is taken for it.
 */
#ifndef FSM_TESTS_SAME_GRAPH_H
#define FSM_TESTS_SAME_GRAPH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plan/graph.h"

static inline void assert_same_task(const fsm_task *a, const fsm_task *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->phase, b->phase);
    assert_int_equal(a->resource, b->resource);
    assert_int_equal(a->layer, b->layer);
    assert_int_equal(a->micro, b->micro);
    assert_int_equal(a->lane, b->lane);
    assert_int_equal(a->rows_first, b->rows_first);
    assert_int_equal(a->rows_last, b->rows_last);
    assert_int_equal(a->slice_first, b->slice_first);
    assert_int_equal(a->slice_last, b->slice_last);
    assert_int_equal(a->group, b->group);
    assert_true(a->size == b->size);
    assert_int_equal(a->launches, b->launches);
    assert_int_equal(a->after_first, b->after_first);
    assert_int_equal(a->after_count, b->after_count);
}

/* One lane may be said in several ways. */
static inline void assert_same_graph(const fsm_graph *a, const fsm_graph *b)
{
    assert_int_equal(fsm_graph_lanes(a), fsm_graph_lanes(b));
    assert_int_equal(fsm_graph_parts(a), fsm_graph_parts(b));
    assert_int_equal(a->spare, b->spare);
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->edge_count, b->edge_count);
    for (int i = 0; i < a->count; i++) assert_same_task(&a->tasks[i], &b->tasks[i]);
    if (a->edge_count > 0) assert_memory_equal(a->edges, b->edges, sizeof *a->edges * (size_t)a->edge_count);
}

#endif
