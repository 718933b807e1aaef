/* An arena: one block of memory for everything that lives equally long (parameters, gradients, activations …).
 * In:  the same layout function run twice: once over a measuring arena, once over a real one of that size.
 * Out: 64-byte aligned pieces, zeroed when the arena is made, freed together.
 * A measuring arena ({0}) hands out NULL and only counts, so sizes and layout are written once.
 * Pages are reserved, not committed: worst-case buffers (dropless rows) cost memory only when touched.
 */
#ifndef FSM_BASE_ARENA_H
#define FSM_BASE_ARENA_H

#include <fsmoe/export.h>

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct fsm_arena {
    char *base;      /* NULL while measuring */
    size_t capacity; /* bytes reserved */
    size_t used;     /* bytes handed out, alignment included */
} fsm_arena;

/* Reserves `bytes` of zeroed memory. ERROR_MEMORY if the system refuses. */
fsmoe_status fsm_arena_create(size_t bytes, fsm_arena *arena);
void fsm_arena_destroy(fsm_arena *arena);

/* The next `bytes`, 64-byte aligned; NULL from a measuring arena. A real arena must have been measured for it. */
FSMOE_API void *fsm_arena_take(fsm_arena *arena, size_t bytes);

#define FSM_ARENA_ARRAY(arena, type, count) ((type *)fsm_arena_take((arena), sizeof(type) * (size_t)(count)))

#endif
