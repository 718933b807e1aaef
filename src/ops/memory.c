#include "ops/memory.h"

#include "device/device.h"

#include <string.h>

/* A device's memory holds anything at first. */
static fsmoe_status clear(fsm_device *on, void *memory, size_t bytes)
{
    fsm_stream *stream;
    FSM_TRY(on->table->create_stream(on, &stream));
    fsmoe_status status = on->table->fill(stream, memory, 0, bytes);
    if (status == FSMOE_OK) status = on->table->synchronise(stream);
    on->table->destroy_stream(stream);
    return status;
}

static fsmoe_status create_on(fsm_device *on, size_t bytes, fsm_arena *arena)
{
    void *base;
    FSM_TRY(on->table->allocate(on, bytes, &base));
    *arena = (fsm_arena){.base = base, .capacity = bytes};
    return clear(on, base, bytes);
}

fsmoe_status fsm_memory_create(const fsm_memory *measured, fsm_memory *memory)
{
    size_t bytes = measured->device.used;
    *memory = (fsm_memory){.row_bytes = measured->row_bytes, .on = measured->on};
    FSM_TRY(fsm_arena_create(measured->host.used, &memory->host));
    fsmoe_status status =
        memory->on ? create_on(memory->on, bytes, &memory->device) : fsm_arena_create(bytes, &memory->device);
    if (status != FSMOE_OK) fsm_memory_destroy(memory);
    return status;
}

void fsm_memory_destroy(fsm_memory *memory)
{
    if (!memory->on) fsm_arena_destroy(&memory->device);
    else memory->on->table->free(memory->on, memory->device.base, memory->device.capacity);
    memory->device = (fsm_arena){0};
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

void *fsm_take_bytes(fsm_memory *memory, size_t bytes)
{
    size_t before = memory->device.used;
    void *piece = fsm_arena_take(&memory->device, bytes);
    memory->taken[memory->kind] += memory->device.used - before;
    return piece;
}

fsm_row *fsm_take_rows(fsm_memory *memory, int64_t n)
{
    return fsm_take_bytes(memory, (size_t)(n * memory->row_bytes));
}

fsm_real *fsm_take_reals(fsm_memory *memory, int64_t n)
{
    return fsm_take_bytes(memory, (size_t)(n * FSM_REAL_BYTES));
}

fsm_index *fsm_take_indices(fsm_memory *memory, int64_t n)
{
    return fsm_take_bytes(memory, (size_t)(n * FSM_INDEX_BYTES));
}

fsm_sum *fsm_take_sums(fsm_memory *memory, int64_t n)
{
    return fsm_take_bytes(memory, (size_t)(n * FSM_SUM_BYTES));
}
