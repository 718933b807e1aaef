/* Graphs as JSON: what was read, written out again, reads back to the same. */
#include "json_mutator.h"
#include "plan/graph.h"

static void claim_same(const fsm_task *a, const fsm_task *b)
{
    FUZZ_CLAIM(a->kind == b->kind && a->phase == b->phase && a->resource == b->resource && a->group == b->group);
    FUZZ_CLAIM(a->layer == b->layer && a->micro == b->micro && a->launches == b->launches && a->size == b->size);
    FUZZ_CLAIM(a->rows_first == b->rows_first && a->rows_last == b->rows_last);
    FUZZ_CLAIM(a->slice_first == b->slice_first && a->slice_last == b->slice_last);
    FUZZ_CLAIM(a->after_first == b->after_first && a->after_count == b->after_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fsm_graph graph, back;
    char *text = fuzz_text(data, size), *again, name[128];
    fsmoe_status status = fsm_graph_from_json(text, &graph);
    free(text);
    if (status != FSMOE_OK) return 0;
    FUZZ_CLAIM(fsm_graph_check(&graph) == FSMOE_OK);
    FUZZ_CLAIM(fsm_graph_to_json(&graph, &again) == FSMOE_OK);
    FUZZ_CLAIM(fsm_graph_from_json(again, &back) == FSMOE_OK);
    FUZZ_CLAIM(graph.count == back.count && graph.edge_count == back.edge_count);
    for (int i = 0; i < graph.count; i++) {
        claim_same(&graph.tasks[i], &back.tasks[i]);
        fsm_task_name(&graph.tasks[i], name);
    }
    FUZZ_CLAIM(graph.edge_count == 0 ||
               memcmp(graph.edges, back.edges, sizeof *graph.edges * (size_t)graph.edge_count) == 0);
    free(again);
    fsm_graph_destroy(&back);
    fsm_graph_destroy(&graph);
    return 0;
}
