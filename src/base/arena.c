#include "base/arena.h"

#include <assert.h>
#include <sys/mman.h>

enum { ALIGNMENT_BYTES = 64 };

fsmoe_status fsm_arena_create(size_t bytes, fsm_arena *arena)
{
    *arena = (fsm_arena){.capacity = bytes > 0 ? bytes : ALIGNMENT_BYTES};
    void *base =
        mmap(NULL, arena->capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        *arena = (fsm_arena){0};
        return fsm_fail(FSMOE_ERROR_MEMORY, "cannot reserve %zu bytes", bytes);
    }
    arena->base = base;
    return FSMOE_OK;
}

void fsm_arena_destroy(fsm_arena *arena)
{
    if (arena->base) munmap(arena->base, arena->capacity);
    *arena = (fsm_arena){0};
}

void *fsm_arena_take(fsm_arena *arena, size_t bytes)
{
    size_t at = arena->used;
    arena->used += (bytes + ALIGNMENT_BYTES - 1) / ALIGNMENT_BYTES * ALIGNMENT_BYTES;
    if (!arena->base) return NULL;
    assert(arena->used <= arena->capacity && "the arena was measured by another layout");
    return arena->base + at;
}
