/* The task graph: one value that is planned, simulated, checked, run and drawn.
 * In:  tasks in issue order, each with the tasks it waits for.
 * Out: a flat array; `after` of a task is a range of one edge array. Prints as JSON and reads back to the same value.
 * A task starts when its `after` are done and everything before it on its resource has ended. A name such as
 * "expert.forward[layer 2, micro 0, rows 0-64]" is the same in every place a task is shown.
 */
#ifndef FSM_PLAN_GRAPH_H
#define FSM_PLAN_GRAPH_H

#include "model/lanes.h"

/* X(NAME, name, what it does) */
#define FSM_TASK_KINDS(X)                                                                   \
    X(EMBEDDING, "embedding", "token and position embeddings")                              \
    X(NORM, "norm", "residual of a dense layer before, norm before attention")              \
    X(MP_ALLGATHER, "mp_allgather", "tokens of the MP group before attention")              \
    X(ATTENTION, "attention", "attention of this rank's heads")                             \
    X(MP_REDUCESCATTER, "mp_reducescatter", "attention's output to its tokens' ranks")      \
    X(FFN_NORM, "ffn_norm", "residual of attention, norm before a dense feed-forward")      \
    X(FFN_ALLGATHER, "ffn_allgather", "tokens of the MP group before a dense feed-forward") \
    X(FFN, "ffn", "dense feed-forward")                                                     \
    X(FFN_REDUCESCATTER, "ffn_reducescatter", "its output to its tokens' ranks")            \
    X(GATE, "gate", "residual of attention, norm, gate, rows of each expert")               \
    X(COUNTS, "counts", "how many rows each rank sends to each expert")                     \
    X(ORDER, "order", "tokens into rows by expert; backward, shared experts")               \
    X(A2A_DISPATCH, "a2a_dispatch", "rows to the ranks of their experts")                   \
    X(ALLGATHER, "allgather", "rows of the ESP group")                                      \
    X(EXPERT, "expert", "the experts' feed-forward")                                        \
    X(WEIGHT_GRAD, "weight_grad", "gradients of the experts' weights")                      \
    X(REDUCESCATTER, "reducescatter", "sum over the ESP group")                             \
    X(A2A_COMBINE, "a2a_combine", "rows back to their tokens' ranks")                       \
    X(IORDER, "iorder", "weighted sum of a token's rows; forward, shared experts")          \
    X(HEAD, "head", "residual of a dense last layer, final norm, logits, loss")             \
    X(SUMS, "sums", "loss and expert load over all ranks")                                  \
    X(ALLREDUCE, "allreduce", "sum of a slice of gradients")                                \
    X(GRAD_SQUARES, "grad_squares", "sum of squares of this rank's gradients")              \
    X(GRAD_NORM, "grad_norm", "global gradient norm")                                       \
    X(OPTIMIZER, "optimizer", "update of a slice of parameters")

typedef enum fsm_task_kind {
#define FSM_TASK_ENUM(name, text, description) FSM_TASK_##name,
    FSM_TASK_KINDS(FSM_TASK_ENUM)
#undef FSM_TASK_ENUM
        FSM_TASK_KIND_COUNT
} fsm_task_kind;

typedef struct fsm_task {
    fsm_task_kind kind;
    fsm_phase phase;
    fsm_resource resource;
    int layer, micro;                /* -1: none */
    int lane;                        /* the pass that works (model/lanes.h); -1: the step has one, or it is of none */
    int64_t rows_first, rows_last;   /* of the layer's nominal rows; equal: not a chunk */
    int64_t slice_first, slice_last; /* of the gradient array; equal: none */
    fsm_group group;                 /* of a collective */
    double size;                     /* elements of 4 bytes moved, or multiply-adds */
    int launches;                    /* GEMMs or collectives it is made of; 0: nothing that costs by itself */
    int after_first, after_count;    /* in edges */
} fsm_task;

typedef struct fsm_graph {
    fsm_task *tasks;
    int count, capacity;
    int *edges;
    int edge_count, edge_capacity;
    int lanes, parts;   /* passes at once, and how many of them a micro-batch is parted over; 0: one */
    int spare;          /* rows' gradients of so many more layers are kept, for weight gradients that are late */
    bool out_of_memory; /* sticky while building; fsm_graph_check reports it */
} fsm_graph;

void fsm_graph_destroy(fsm_graph *graph);

/* Appends a task that waits for after[n] (each an index already in the graph, or -1 for none); returns its index. */
int fsm_graph_add(fsm_graph *graph, fsm_task task, const int *after, int n);

/* One more edge for the task added last. */
void fsm_graph_wait(fsm_graph *graph, int task, int after);

/* A copy of its own, with out_of_memory set when there is no memory for it. */
fsm_graph fsm_graph_copy(const fsm_graph *graph);

/* The same tasks in another order: order [count] says which comes first, second, …. ERROR_FORMAT where one would come
 * before what it waits for; ERROR_MEMORY. On failure *reordered holds nothing. */
fsmoe_status fsm_graph_reorder(const fsm_graph *graph, const int *order, fsm_graph *reordered);

/* Every edge points backwards, every range is inside its array. ERROR_FORMAT names the task; ERROR_MEMORY. */
fsmoe_status fsm_graph_check(const fsm_graph *graph);

/* Of all that a task is, and of the order: graphs that differ have, but for luck of 2^-64, different ones. */
uint64_t fsm_graph_hash(const fsm_graph *graph);

/* How many lanes there are, and over how many of them a micro-batch is parted; the lane of a task, 0 where none is
 * named. */
static inline int fsm_graph_lanes(const fsm_graph *graph)
{
    return graph->lanes > 1 ? graph->lanes : 1;
}

static inline int fsm_graph_parts(const fsm_graph *graph)
{
    return graph->parts > 1 ? graph->parts : 1;
}

static inline int fsm_task_lane(const fsm_task *task)
{
    return task->lane > 0 ? task->lane : 0;
}

const char *fsm_task_kind_name(fsm_task_kind kind);
const char *fsm_phase_name(fsm_phase phase);
void fsm_task_name(const fsm_task *task, char name[128]);

/* The graph as JSON text (malloc'd) and back. ERROR_FORMAT names the task and key. */
fsmoe_status fsm_graph_to_json(const fsm_graph *graph, char **text);
fsmoe_status fsm_graph_from_json(const char *text, fsm_graph *graph);

#endif
