/* The memory of everything that lives equally long, on both sides: what describes and counts is the host's, tensors are
 * the device's.
 * In:  a layout function run twice, as of an arena (base/arena.h): over a measuring memory, then over a real one.
 * Out: pieces of either side. Of a measuring memory they are NULL.
 */
#ifndef FSM_OPS_MEMORY_H
#define FSM_OPS_MEMORY_H

#include <fsmoe/export.h>

#include "base/arena.h"
#include "ops/ops.h"

#include <stdbool.h>

/* What the device's side is taken for. */
typedef enum fsm_memory_kind {
    FSM_MEMORY_WORKSPACE, /* within a task, or a step */
    FSM_MEMORY_SAVED,     /* kept from forward until backward has read it */
    FSM_MEMORY_STAGING,   /* rows under way between ranks */
    FSM_MEMORY_KINDS
} fsm_memory_kind;

typedef struct fsm_memory {
    fsm_arena host, device;
    int64_t row_bytes;              /* of an element of a row */
    struct fsm_device *on;          /* of the device's side; NULL: this machine */
    fsm_memory_kind kind;           /* of what is taken next */
    size_t taken[FSM_MEMORY_KINDS]; /* bytes of the device's side since the beginning */
} fsm_memory;

static inline fsm_memory fsm_memory_measure(int64_t row_bytes)
{
    return (fsm_memory){.row_bytes = row_bytes};
}

/* For tensors that these operations work on. */
static inline fsm_memory fsm_memory_measure_for(const fsm_ops *ops)
{
    return (fsm_memory){.row_bytes = ops->row_bytes, .on = ops->device};
}

/* Real memory for what was taken from `measured`, zeros. ERROR_MEMORY. */
fsmoe_status fsm_memory_create(const fsm_memory *measured, fsm_memory *memory);
void fsm_memory_destroy(fsm_memory *memory);

/* Everything is taken again from the beginning. */
void fsm_memory_rewind(fsm_memory *memory);

/* Bytes of both sides that were taken; whether a real memory is large enough for what was taken from another. */
size_t fsm_memory_used(const fsm_memory *memory);
bool fsm_memory_holds(const fsm_memory *memory, const fsm_memory *measured);

/* As much as has been taken from `other`, at least. Of measuring ones. */
void fsm_memory_grow(fsm_memory *memory, const fsm_memory *other);

/* Of the device's side; counted by kind. */
void *fsm_take_bytes(fsm_memory *memory, size_t bytes);
fsm_row *fsm_take_rows(fsm_memory *memory, int64_t n);
FSMOE_API fsm_real *fsm_take_reals(fsm_memory *memory, int64_t n);
FSMOE_API fsm_index *fsm_take_indices(fsm_memory *memory, int64_t n);
fsm_sum *fsm_take_sums(fsm_memory *memory, int64_t n);

#define FSM_TAKE_HOST(memory, type, count) FSM_ARENA_ARRAY(&(memory)->host, type, count)

#endif
