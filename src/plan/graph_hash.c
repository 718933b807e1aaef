/* The hash of a task graph: equal for graphs that run alike, on whatever machine. */
#include "plan/graph.h"

#include <string.h>
#include <xxhash.h>

/* Numbers without padding, so that no byte is left to chance. */
static uint64_t add_task(uint64_t hash, const fsm_task *t)
{
    int64_t numbers[] = {t->kind,  t->phase,      t->resource,    t->layer,       t->micro,
                         t->lane,  t->rows_first, t->rows_last,   t->slice_first, t->slice_last,
                         t->group, t->launches,   t->after_first, t->after_count, 0};
    memcpy(&numbers[sizeof numbers / sizeof *numbers - 1], &t->size, sizeof t->size);
    return XXH3_64bits_withSeed(numbers, sizeof numbers, hash);
}

uint64_t fsm_graph_hash(const fsm_graph *graph)
{
    const int64_t numbers[] = {graph->count, graph->lanes, graph->parts, graph->spare};
    uint64_t hash = XXH3_64bits(numbers, sizeof numbers);
    for (int i = 0; i < graph->count; i++) hash = add_task(hash, &graph->tasks[i]);
    for (int i = 0; i < graph->edge_count; i++) {
        int64_t edge = graph->edges[i];
        hash = XXH3_64bits_withSeed(&edge, sizeof edge, hash);
    }
    return hash;
}
