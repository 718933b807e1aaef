/* Byte-pair encoding: the merges of a vocabulary, and applying them to a word.
 * In:  merges (left id, right id, id of both), the most important first; then the ids of a word's bytes.
 * Out: the word's ids: of all adjacent pairs that have a merge, the one of least rank, leftmost first, is merged, again
 *      and again (Sennrich et al., "Neural machine translation of rare words with subword units", ACL 2016).
 * A word of n bytes costs O(n log n), so a megabyte of one letter is no trap.
 */
#ifndef FSM_TOKENS_MERGES_H
#define FSM_TOKENS_MERGES_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct fsm_merge {
    uint64_t pair; /* left id << 32 | right id; all ones in an empty slot */
    uint32_t rank;
    int32_t id;
} fsm_merge;

/* A token of the word being merged; they form a doubly linked list by position. */
typedef struct fsm_symbol {
    int32_t id;
    size_t previous, next; /* SIZE_MAX: none */
} fsm_symbol;

typedef struct fsm_candidate {
    size_t at; /* position of the left symbol */
    fsm_merge merge;
} fsm_candidate;

typedef struct fsm_merges {
    fsm_merge *slots; /* open addressing, mask + 1 of them, at most half of them used */
    size_t mask;
    uint32_t count;
    fsm_symbol *symbols; /* [word_capacity]: working memory of fsm_merges_apply */
    fsm_candidate *heap; /* [3 * word_capacity] */
    size_t word_capacity;
} fsm_merges;

/* Room for `count` merges. ERROR_MEMORY. */
fsmoe_status fsm_merges_create(size_t count, fsm_merges *merges);
void fsm_merges_destroy(fsm_merges *merges);

/* Adds the next merge; of one given twice the later rank holds. */
void fsm_merges_add(fsm_merges *merges, int32_t left, int32_t right, int32_t id);

/* Merges ids[*n] in place and lowers *n. Not thread-safe on one fsm_merges. ERROR_MEMORY. */
fsmoe_status fsm_merges_apply(fsm_merges *merges, int32_t *ids, size_t *n);

#endif
