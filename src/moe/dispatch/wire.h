/* The wire: where every row of a layer lies while it travels, for one way of cutting the rows into chunks.
 * In:  rows[e] this rank sends to each expert; the same numbers of every rank of the expert group; the cuts.
 * Out: index maps between three orders of the same rows, on the device, and the counts of each chunk's collectives.
 *
 * Orders of rows:
 *   choice   (token, choice) at the source
 *   wire     [chunk][destination ep][expert][row] where sent;  [chunk][esp][source ep][expert][row] where gathered
 *   expert   (local expert, row, source) where computed: the canonical order that no cut changes. Rows of one expert are
 *            sorted by (t + 1) / n, t the row among the n of its source, then by source. A chunk [first, last) of the
 *            nominal T rows takes rows floor(first n / T) .. floor(last n / T) of each source, so it is one contiguous
 *            block of every expert, whatever the counts and the cuts: one GEMM a chunk and expert, and a weight
 *            gradient over any range of rows is one GEMM too.
 * Forward and backward each have a wire; buffers saved for backward are addressed through the wire that wrote them.
 */
#ifndef FSM_MOE_WIRE_H
#define FSM_MOE_WIRE_H

#include "ops/memory.h"
#include "ops/ops.h"

#include <stdbool.h>
#include <stdint.h>

enum { FSM_MAX_CHUNKS = 256 };

/* Sizes that do not change from step to step. */
typedef struct fsm_wire_shape {
    int ep, esp, ep_index, esp_index;
    int64_t num_experts;     /* global; num_experts / ep are local */
    int64_t max_tokens;      /* of any rank */
    int64_t max_choices;     /* (token, choice) pairs of any rank, or slots */
    int64_t max_rows;        /* rows one rank sends at most, over all experts */
    int64_t max_expert_rows; /* rows this rank computes at most */
    int64_t nominal_rows;    /* T, what cuts are counted in */
    bool by_source; /* expert order is by source, then row: the order of tokens, for sums that no layout changes.
                              Chunks are then not contiguous, so there must be one */
} fsm_wire_shape;

typedef struct fsm_wire {
    fsm_wire_shape shape;
    int chunks;
    int64_t cuts[FSM_MAX_CHUNKS + 1]; /* 0 = cuts[0] < … < cuts[chunks] = T */
    bool identity;                    /* wire order = expert order: one source and one chunk */
    int64_t send_total, gather_total; /* rows in all */
    /* at the source */
    fsm_index *send_row;  /* [N, choices] wire row of a choice, -1 when dropped */
    fsm_index *token;     /* [send_total] token of a wire row, -1: padding */
    int64_t *send_first;  /* [chunks + 1] */
    int64_t *send_counts; /* [chunks, ep] rows for each destination */
    int64_t *recv_first;  /* [chunks + 1] rows before a chunk where received */
    int64_t *recv_counts; /* [chunks, ep] rows from each source of my esp_index */
    /* at the experts */
    int64_t *gather_first;  /* [chunks + 1] */
    int64_t *gather_counts; /* [chunks, esp] rows from each member of my ESP group */
    int64_t *expert_first;  /* [chunks + 1, E_local] first expert-order row of a chunk, absolute */
    fsm_index *wire_of_row; /* [gather_total] expert order -> wire order (gathered) */
    fsm_index *row_of_wire; /* [gather_total] its inverse */
} fsm_wire;

/* What the maps are made from, worked out on the host and written to the device (ops/place.h): scratch of a build. */
typedef struct fsm_wire_tables {
    int32_t *host;
    fsm_index *there;
} fsm_wire_tables;

void fsm_wire_tables_take(fsm_memory *memory, const fsm_wire_shape *shape, fsm_wire_tables *tables);
void fsm_wire_take(fsm_memory *memory, const fsm_wire_shape *shape, fsm_wire *wire);

/* One chunk of all T rows; then one cut more, where none is, in any order. */
void fsm_wire_join(fsm_wire *wire);
void fsm_wire_cut_at(int64_t row, fsm_wire *wire);

/* Builds maps and counts. choice, row [n, choices] and rows [E] of this rank (fsm_route); counts [ep * esp, E]: rows of every
 * member of the expert group, in its rank order (ep_index * esp + esp_index). */
void fsm_wire_build(const fsm_ops *ops, int64_t n, int64_t choices, const fsm_index *choice, const fsm_index *row,
                    const int64_t *rows, const int64_t *counts, const fsm_wire_tables *tables, fsm_wire *wire);

/* Rows of the chunk that one rank of my EP group sends to another: what send_counts and recv_counts say of this rank,
 * of any two. counts: as of fsm_wire_build. */
int64_t fsm_wire_rows_between(const fsm_wire *wire, const int64_t *counts, int chunk, int from, int to);

/* The chunk whose first nominal row is `first`. */
int fsm_wire_chunk(const fsm_wire *wire, int64_t first);

#endif
