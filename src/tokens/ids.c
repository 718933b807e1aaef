#include "tokens/ids.h"

#include <stdlib.h>

enum { PIECE_IDS = 1 << 16 };

static fsmoe_status grow(fsm_ids *ids, size_t needed)
{
    size_t capacity = ids->capacity + ids->capacity / 2;
    if (capacity < needed) capacity = needed;
    if (capacity < PIECE_IDS) capacity = PIECE_IDS;
    int32_t *items = capacity <= SIZE_MAX / sizeof *items ? realloc(ids->items, capacity * sizeof *items) : NULL;
    if (!items) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for %zu token ids", capacity);
    ids->items = items;
    ids->capacity = capacity;
    return FSMOE_OK;
}

fsmoe_status fsm_ids_reserve(fsm_ids *ids, size_t n, int32_t **at)
{
    if (ids->capacity - ids->count < n && ids->drain) FSM_TRY(fsm_ids_flush(ids));
    if (ids->capacity - ids->count < n) FSM_TRY(grow(ids, ids->count + n));
    *at = ids->items + ids->count;
    return FSMOE_OK;
}

void fsm_ids_commit(fsm_ids *ids, size_t n)
{
    ids->count += n;
    ids->total += n;
}

fsmoe_status fsm_ids_add(fsm_ids *ids, int32_t id)
{
    int32_t *at;
    FSM_TRY(fsm_ids_reserve(ids, 1, &at));
    *at = id;
    fsm_ids_commit(ids, 1);
    return FSMOE_OK;
}

fsmoe_status fsm_ids_flush(fsm_ids *ids)
{
    if (!ids->drain || ids->count == 0) return FSMOE_OK;
    size_t n = ids->count;
    ids->count = 0;
    return ids->drain(ids->context, ids->items, n);
}

void fsm_ids_destroy(fsm_ids *ids)
{
    free(ids->items);
    *ids = (fsm_ids){0};
}
