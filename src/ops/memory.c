#include "ops/memory.h"

#include <string.h>

fsmoe_status fsm_memory_create(const fsm_memory *measured, fsm_memory *memory)
{
    *memory = fsm_memory_measure(measured->row_bytes);
    FSM_TRY(fsm_arena_create(measured->host.used, &memory->host));
    fsmoe_status status = fsm_arena_create(measured->device.used, &memory->device);
    if (status != FSMOE_OK) fsm_memory_destroy(memory);
    return status;
}

void fsm_memory_destroy(fsm_memory *memory)
{
    fsm_arena_destroy(&memory->device);
    fsm_arena_destroy(&memory->host);
}

void fsm_memory_rewind(fsm_memory *memory)
{
    memory->host.used = memory->device.used = 0;
    memset(memory->taken, 0, sizeof memory->taken);
}

size_t fsm_memory_used(const fsm_memory *memory)
{
    return memory->host.used + memory->device.used;
}

bool fsm_memory_holds(const fsm_memory *memory, const fsm_memory *measured)
{
    return memory->host.base && measured->host.used <= memory->host.capacity &&
           measured->device.used <= memory->device.capacity;
}

void fsm_memory_grow(fsm_memory *memory, const fsm_memory *other)
{
    if (memory->host.used < other->host.used) memory->host.used = other->host.used;
    if (memory->device.used < other->device.used) memory->device.used = other->device.used;
}

static void *take(fsm_memory *memory, size_t bytes)
{
    size_t before = memory->device.used;
    void *piece = fsm_arena_take(&memory->device, bytes);
    memory->taken[memory->kind] += memory->device.used - before;
    return piece;
}

fsm_row *fsm_take_rows(fsm_memory *memory, int64_t n)
{
    return take(memory, (size_t)(n * memory->row_bytes));
}

fsm_real *fsm_take_reals(fsm_memory *memory, int64_t n)
{
    return take(memory, (size_t)(n * FSM_REAL_BYTES));
}

fsm_index *fsm_take_indices(fsm_memory *memory, int64_t n)
{
    return take(memory, (size_t)(n * FSM_INDEX_BYTES));
}

fsm_sum *fsm_take_sums(fsm_memory *memory, int64_t n)
{
    return take(memory, (size_t)(n * FSM_SUM_BYTES));
}
