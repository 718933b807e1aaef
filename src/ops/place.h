/* Operations on places: which row of an expert each of a token's choices takes, and where rows lie while they travel.
 * In:  choices of a gate; numbers of rows by source and expert, in small tables of indices that the caller has written.
 * Out: row numbers and their inverses, -1 where there is none; one-hot matrices.
 * Letters: n tokens, k choices a token, E experts, S sources, C chunks. Everything is decided by the arguments alone:
 * ties go to the lower number.
 */
#ifndef FSM_OPS_PLACE_H
#define FSM_OPS_PLACE_H

#include "ops/tensor.h"

#include <stdbool.h>

typedef struct fsm_ops fsm_ops;

/* Who competes for the places of an expert: the tokens of a group, `capacity` places a group. */
typedef struct fsm_places {
    int64_t n, choices, num_experts;
    int64_t group, capacity;
    int64_t stride; /* rows of an expert from one group to the next; 0: as many as are kept */
} fsm_places;

/* Where the rows of one source lie on the wire (moe/dispatch/wire.h): row t of expert e is in chunk c if first[c,e] <=
 * t < first[c+1,e], and lies at base[c,e] + t. */
typedef struct fsm_source_map {
    int64_t num_experts, chunks;
    const fsm_index *first, *base; /* [C + 1, E], [C, E] */
} fsm_source_map;

/* Where the rows that S sources send to E local experts lie: of row t of source s for expert e, rows[s,e] in all, chunk
 * and wire row are found as above. Expert order begins at begin[e]. */
typedef struct fsm_expert_map {
    int64_t sources, num_experts, chunks;
    bool by_source;                               /* expert order is by source, then row */
    int64_t most_rows;                            /* of one source and expert */
    const fsm_index *rows, *first, *base, *begin; /* [S, E], [C + 1, S, E], [C, S, E], [E] */
} fsm_expert_map;

/* A group's tokens and their choices as a matrix [tokens, columns] with one entry a choice, in column choice * slots +
 * row % slots; nothing where row < 0. */
typedef struct fsm_one_hot {
    int64_t tokens, choices, slots, columns;
    const fsm_index *choice, *row; /* [tokens, k] */
} fsm_one_hot;

typedef struct fsm_place_ops {
    /* row [n,k] = 0 for a choice that keeps a place of its group, -1 for one that does not or is none: first choices
     * before second, tokens in order. *dropped = choices without a place. filling [E] is scratch. */
    void (*keep)(const fsm_ops *self, const fsm_places *places, const fsm_index *choice, fsm_index *row,
                 fsm_index *filling, fsm_index *dropped);
    /* Numbers what keeps a place, in the order of tokens: row = group * stride + place in the group, or the place among
     * all kept. kept [E] = how many. */
    void (*number)(const fsm_ops *self, const fsm_places *places, const fsm_index *choice, fsm_index *row,
                   fsm_index *filling, fsm_index *kept);

    /* send_row [n,k] = wire row of a choice, token [send_total] its inverse: the token of a wire row. */
    void (*map_source)(const fsm_ops *self, const fsm_source_map *map, int64_t n, int64_t k, const fsm_index *choice,
                       const fsm_index *row, int64_t send_total, fsm_index *send_row, fsm_index *token);
    /* wire_of_row: expert order to wire order, row_of_wire its inverse. Rows of an expert are sorted by (t + 1) / n of
     * their source, then by source: row t of source s stands at t + sum over other sources o of c_o, X = (t + 1) n_o /
     * n_s, c_o = floor(X) for o < s, else ceil(X) - 1. */
    void (*map_experts)(const fsm_ops *self, const fsm_expert_map *map, fsm_index *wire_of_row, fsm_index *row_of_wire);

    /* choice, row [count]: slot p has expert p / slots % E, and row p / columns * slots + p % slots, columns = E
     * slots. */
    void (*number_slots)(const fsm_ops *self, int64_t count, int64_t num_experts, int64_t slots, fsm_index *choice,
                         fsm_index *row);
    /* The entries of a one-hot matrix, and they alone, become weight [tokens,k], or `value` where weight is NULL. */
    void (*set_one_hot)(const fsm_ops *self, const fsm_one_hot *one_hot, const fsm_real *weight, float value,
                        fsm_real *matrix);
    /* weight = those entries; 0 where there is none. */
    void (*get_one_hot)(const fsm_ops *self, const fsm_one_hot *one_hot, const fsm_real *matrix, fsm_real *weight);

    /* sum [n] += count [n] */
    void (*add_counts)(const fsm_ops *self, int64_t n, const fsm_index *count, fsm_sum *sum);
} fsm_place_ops;

#endif
