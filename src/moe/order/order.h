/* The order: which row of an expert's input each (token, choice) takes, and how many rows each expert is sent.
 * In:  choices [n, choices] of the gate, -1 where there is none; their weights.
 * Out: a route: rows by expert, on the device; how many, on the host where that must be known. Copying tokens into rows
 *      and back is the same for all kinds (gather_rows, combine_rows).
 * Capacity is counted in groups of `group` tokens (GShard's groups): T = ceil(k f G / E), at most G, rows a group.
 */
#ifndef FSM_MOE_ORDER_H
#define FSM_MOE_ORDER_H

#include "ops/memory.h"
#include "ops/ops.h"

#include <fsmoe/config.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct fsm_route {
    fsm_index *row;     /* [n, choices] row within the chosen expert, counted on this rank; -1: dropped */
    fsm_index *counts;  /* [E + 1] rows that hold a token; (token, choice) pairs without a row */
    fsm_index *filling; /* [E] scratch */
    int64_t *rows;      /* [E] rows sent: kept, or more where the kind pads */
    /* on the host once they have been read (fsm_route_read) */
    bool is_read;
    int64_t *kept;               /* [E] the first of counts */
    int64_t dropped;             /* and the last */
    int32_t *read;               /* [E + 1] scratch */
    struct fsm_ranking *ranking; /* of drop policy probs, which is the host's; NULL without */
} fsm_route;

typedef struct fsm_order_problem {
    int64_t n, num_experts;
    int64_t top_k;          /* that capacity is counted with */
    int64_t choices;        /* a token has: top_k, or E where experts choose */
    int64_t group;          /* tokens a capacity group; n when the configuration says 0 */
    double capacity_factor; /* 0: dropless */
    bool by_weight;         /* who keeps a place: the heaviest, else first choices before second, tokens in order */
} fsm_order_problem;

typedef struct fsm_order_kind {
    const char *name, *description, *source;
    /* most rows an expert can be sent by one rank with n tokens */
    int64_t (*max_rows)(const fsm_order_problem *problem);
    /* most rows that any `experts` of the experts can be sent together by one rank */
    int64_t (*max_rows_together)(const fsm_order_problem *problem, int64_t experts);
    /* all of the route; what fsm_order_fill counts it has read, fsm_order_place leaves it on the device */
    void (*assign)(const fsm_ops *ops, const fsm_order_problem *problem, const fsm_index *choice,
                   const fsm_real *weight, fsm_route *route);
    /* rows that a rank sends to every expert, where n and the capacity alone say it; NULL, or -1 for every n: choices
     * say it too */
    int64_t (*fixed_rows)(const fsm_order_problem *problem);
    bool dense; /* tokens become rows, and rows tokens, by products with one-hot matrices */
} fsm_order_kind;

const fsm_order_kind *fsm_order_find(const char *name);
extern const fsm_order_kind fsm_order_tutel, fsm_order_gshard, fsm_order_sorted;

/* T of one group: ceil(k f G / E) clamped to [1, G]; G when dropless. */
FSMOE_API int64_t fsm_order_capacity(const fsm_order_problem *problem);

/* by_weight: with what drop policy probs needs. */
void fsm_route_take(fsm_memory *memory, int64_t max_tokens, int64_t num_experts, int64_t choices, bool by_weight,
                    fsm_route *route);

/* Drops group by group what lacks a place, and numbers the rest in order of tokens. Row = base + place within the
 * group, where base is `stride` rows a group, or the rows filled so far (stride 0). Fills row and counts; weight is
 * read by_weight alone. */
void fsm_order_place(const fsm_ops *ops, const fsm_order_problem *problem, int64_t stride, const fsm_index *choice,
                     const fsm_real *weight, fsm_route *route);

/* kept and dropped, once. */
void fsm_route_read(const fsm_ops *ops, int64_t num_experts, fsm_route *route);

/* Both. */
FSMOE_API void fsm_order_fill(const fsm_ops *ops, const fsm_order_problem *problem, int64_t stride,
                              const fsm_index *choice, const fsm_real *weight, fsm_route *route);

#endif
