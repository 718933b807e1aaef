#include "plan/ancestry.h"

#include <stdlib.h>

fsmoe_status fsm_ancestry_begin(const fsm_graph *graph, fsm_ancestry *a)
{
    *a = (fsm_ancestry){.graph = graph};
    a->mark = calloc((size_t)graph->count + 1, sizeof *a->mark);
    a->stack = malloc(sizeof *a->stack * ((size_t)graph->count + 1));
    if (a->mark && a->stack) return FSMOE_OK;
    fsm_ancestry_end(a);
    return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to check %d tasks", graph->count);
}

void fsm_ancestry_end(fsm_ancestry *a)
{
    free(a->mark);
    free(a->stack);
    *a = (fsm_ancestry){0};
}

/* Until `wanted` is found, -1: until there are no more. Nothing before `first` matters. */
static bool search(fsm_ancestry *a, int task, int first, int wanted)
{
    int depth = 0;
    a->stamp++;
    a->stack[depth++] = task;
    while (depth > 0) {
        const fsm_task *t = &a->graph->tasks[a->stack[--depth]];
        for (int e = t->after_first; e < t->after_first + t->after_count; e++) {
            int next = a->graph->edges[e];
            if (next == wanted) return true;
            if (next < first || a->mark[next] == a->stamp) continue;
            a->mark[next] = a->stamp;
            a->stack[depth++] = next;
        }
    }
    return false;
}

bool fsm_waits_for(fsm_ancestry *a, int task, int before)
{
    return search(a, task, before, before);
}

void fsm_mark_ancestors(fsm_ancestry *a, int task, int first)
{
    search(a, task, first, -1);
}

bool fsm_is_marked(const fsm_ancestry *a, int task)
{
    return a->mark[task] == a->stamp;
}
