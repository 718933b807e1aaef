/* A growing list of ids that can hand itself on in pieces.
 * In:  ids, a few at a time. Out: items[count], or calls of `drain` with at most a piece each.
 * {0} is an empty list that grows; with `drain` set it is emptied into drain(context) whenever a piece is full.
 */
#ifndef FSM_TOKENS_IDS_H
#define FSM_TOKENS_IDS_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct fsm_ids {
    int32_t *items;
    size_t count, capacity; /* held now */
    size_t total;           /* ever added, drained ones included */
    fsmoe_status (*drain)(void *context, const int32_t *ids, size_t n);
    void *context;
} fsm_ids;

/* Room for n more at *at; fsm_ids_commit() then says how many of them were written. ERROR_MEMORY, or what drain
 * returns. */
fsmoe_status fsm_ids_reserve(fsm_ids *ids, size_t n, int32_t **at);
void fsm_ids_commit(fsm_ids *ids, size_t n);

fsmoe_status fsm_ids_add(fsm_ids *ids, int32_t id);

/* Drains what is held. */
fsmoe_status fsm_ids_flush(fsm_ids *ids);
void fsm_ids_destroy(fsm_ids *ids);

#endif
