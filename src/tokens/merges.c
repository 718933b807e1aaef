#define XXH_INLINE_ALL
#include "tokens/merges.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static const uint64_t EMPTY = UINT64_MAX;
static const size_t NONE = SIZE_MAX;

fsmoe_status fsm_merges_create(size_t count, fsm_merges *merges)
{
    size_t n_slots = 16;
    while (n_slots < 2 * count) n_slots *= 2;
    *merges = (fsm_merges){.slots = malloc(n_slots * sizeof *merges->slots), .mask = n_slots - 1};
    if (!merges->slots) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for %zu merges", count);
    memset(merges->slots, 0xFF, n_slots * sizeof *merges->slots);
    return FSMOE_OK;
}

void fsm_merges_destroy(fsm_merges *merges)
{
    free(merges->slots);
    free(merges->symbols);
    free(merges->heap);
    *merges = (fsm_merges){0};
}

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

/* The slot of a pair, or the empty one where it belongs. */
static fsm_merge *find(const fsm_merges *merges, uint64_t pair)
{
    size_t at = XXH3_64bits(&pair, sizeof pair) & merges->mask;
    while (merges->slots[at].pair != pair && merges->slots[at].pair != EMPTY) at = (at + 1) & merges->mask;
    return &merges->slots[at];
}

void fsm_merges_add(fsm_merges *merges, int32_t left, int32_t right, int32_t id)
{
    uint64_t pair = pair_of(left, right);
    *find(merges, pair) = (fsm_merge){pair, merges->count++, id};
}

static bool before(const fsm_candidate *a, const fsm_candidate *b)
{
    return a->merge.rank != b->merge.rank ? a->merge.rank < b->merge.rank : a->at < b->at;
}

static void push(fsm_candidate *heap, size_t *n, fsm_candidate candidate)
{
    size_t at = (*n)++;
    for (; at > 0 && before(&candidate, &heap[(at - 1) / 2]); at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = candidate;
}

static fsm_candidate pop(fsm_candidate *heap, size_t *n)
{
    fsm_candidate first = heap[0], last = heap[--*n];
    size_t at = 0;
    for (size_t child = 1; child < *n; child = 2 * at + 1) {
        if (child + 1 < *n && before(&heap[child + 1], &heap[child])) child++;
        if (!before(&heap[child], &last)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return first;
}

/* Makes the pair that starts at `at` a candidate if it has a merge. */
static void consider(fsm_merges *merges, size_t *n_heap, size_t at)
{
    if (at == NONE || merges->symbols[at].next == NONE) return;
    const fsm_symbol *left = &merges->symbols[at];
    const fsm_merge *merge = find(merges, pair_of(left->id, merges->symbols[left->next].id));
    if (merge->pair != EMPTY) push(merges->heap, n_heap, (fsm_candidate){at, *merge});
}

/* A candidate is stale once either of its symbols has been merged with another one. */
static bool is_fresh(const fsm_symbol *symbols, const fsm_candidate *candidate)
{
    const fsm_symbol *left = &symbols[candidate->at];
    return left->id >= 0 && left->next != NONE && pair_of(left->id, symbols[left->next].id) == candidate->merge.pair;
}

static void merge_right(fsm_symbol *symbols, size_t at, int32_t id)
{
    size_t gone = symbols[at].next;
    symbols[at].id = id;
    symbols[at].next = symbols[gone].next;
    symbols[gone].id = -1;
    if (symbols[at].next != NONE) symbols[symbols[at].next].previous = at;
}

static fsmoe_status make_room(fsm_merges *merges, size_t n)
{
    if (n <= merges->word_capacity) return FSMOE_OK;
    free(merges->symbols);
    free(merges->heap);
    size_t capacity = n < 64 ? 64 : n;
    /* Every pair at first, and two new ones a merge. */
    merges->symbols = malloc(capacity * sizeof *merges->symbols);
    merges->heap = malloc(3 * capacity * sizeof *merges->heap);
    merges->word_capacity = merges->symbols && merges->heap ? capacity : 0;
    return merges->word_capacity ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a word of %zu bytes", n);
}

fsmoe_status fsm_merges_apply(fsm_merges *merges, int32_t *ids, size_t *n)
{
    if (*n < 2) return FSMOE_OK;
    FSM_TRY(make_room(merges, *n));
    fsm_symbol *symbols = merges->symbols;
    size_t n_heap = 0;
    for (size_t i = 0; i < *n; i++) symbols[i] = (fsm_symbol){ids[i], i > 0 ? i - 1 : NONE, i + 1 < *n ? i + 1 : NONE};
    for (size_t i = 0; i < *n; i++) consider(merges, &n_heap, i);
    while (n_heap > 0) {
        fsm_candidate best = pop(merges->heap, &n_heap);
        if (!is_fresh(symbols, &best)) continue;
        merge_right(symbols, best.at, best.merge.id);
        consider(merges, &n_heap, symbols[best.at].previous);
        consider(merges, &n_heap, best.at);
    }
    size_t count = 0;
    for (size_t at = 0; at != NONE; at = symbols[at].next) ids[count++] = symbols[at].id;
    *n = count;
    return FSMOE_OK;
}
