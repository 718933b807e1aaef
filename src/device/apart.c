/* Memory that lies apart: mapped without any right but between enter and leave, so that whoever forgets that it is not
 * the host's faults at that line. Where the system refuses a change of rights the touch that was allowed faults,
 * too. */
#include "device/at_once.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { HUGE_PAGE_BYTES = 1 << 21 };

typedef struct range {
    char *base; /* at a whole huge page, in mapped … mapped + mapped_bytes */
    size_t bytes;
    char *mapped;
    size_t mapped_bytes;
    struct range *next;
} range;

typedef struct apart_device {
    fsm_device base;      /* first */
    size_t total_bytes;   /* 0: the host's */
    pthread_mutex_t lock; /* guards what follows */
    range *ranges;
    size_t used_bytes;
    int inside; /* enters without their leave, of all threads */
} apart_device;

static apart_device *apart_of(fsm_device *device)
{
    return (apart_device *)device;
}

/* ---- enter and leave ---- */

static void protect_all(const apart_device *d, int rights)
{
    for (const range *r = d->ranges; r; r = r->next) mprotect(r->mapped, r->mapped_bytes, rights);
}

static void apart_enter(fsm_device *device)
{
    apart_device *d = apart_of(device);
    pthread_mutex_lock(&d->lock);
    if (d->inside++ == 0) protect_all(d, PROT_READ | PROT_WRITE);
    pthread_mutex_unlock(&d->lock);
}

static void apart_leave(fsm_device *device)
{
    apart_device *d = apart_of(device);
    pthread_mutex_lock(&d->lock);
    if (--d->inside == 0) protect_all(d, PROT_NONE);
    pthread_mutex_unlock(&d->lock);
}

/* ---- memory ---- */

/* With the lock held. */
static fsmoe_status add_range(apart_device *d, size_t bytes, void **memory)
{
    if (d->total_bytes > 0 && bytes > d->total_bytes - d->used_bytes)
        return fsm_fail(FSMOE_ERROR_MEMORY, "%zu bytes of device memory are not there: %zu of %zu are in use", bytes,
                        d->used_bytes, d->total_bytes);
    range *r = malloc(sizeof *r);
    if (!r) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to keep a piece of device memory");
    *r = (range){.bytes = bytes, .mapped_bytes = bytes + 2 * HUGE_PAGE_BYTES, .next = d->ranges};
    r->mapped = mmap(NULL, r->mapped_bytes, d->inside > 0 ? PROT_READ | PROT_WRITE : PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (r->mapped == MAP_FAILED) {
        free(r);
        return fsm_fail(FSMOE_ERROR_MEMORY, "cannot reserve %zu bytes of device memory", bytes);
    }
    r->base = r->mapped + (HUGE_PAGE_BYTES - (uintptr_t)r->mapped % HUGE_PAGE_BYTES);
    madvise(r->mapped, r->mapped_bytes, MADV_HUGEPAGE); /* rights change page by page */
    d->ranges = r;
    d->used_bytes += bytes;
    *memory = r->base;
    return FSMOE_OK;
}

static fsmoe_status apart_allocate(fsm_device *device, size_t bytes, void **memory)
{
    apart_device *d = apart_of(device);
    *memory = NULL;
    pthread_mutex_lock(&d->lock);
    fsmoe_status status = add_range(d, bytes, memory);
    pthread_mutex_unlock(&d->lock);
    return status;
}

static void apart_free(fsm_device *device, void *memory, size_t bytes)
{
    apart_device *d = apart_of(device);
    if (!memory) return;
    pthread_mutex_lock(&d->lock);
    range **link = &d->ranges;
    while (*link && (*link)->base != memory) link = &(*link)->next;
    range *r = *link;
    if (r) {
        *link = r->next;
        d->used_bytes -= bytes;
        munmap(r->mapped, r->mapped_bytes);
    }
    pthread_mutex_unlock(&d->lock);
    free(r);
}

static fsmoe_status apart_memory(fsm_device *device, size_t *free_bytes, size_t *total_bytes)
{
    apart_device *d = apart_of(device);
    if (d->total_bytes == 0) return fsm_host_memory(device, free_bytes, total_bytes);
    pthread_mutex_lock(&d->lock);
    *total_bytes = d->total_bytes;
    *free_bytes = d->total_bytes - d->used_bytes;
    pthread_mutex_unlock(&d->lock);
    return FSMOE_OK;
}

/* ---- copies and fills that stay where they belong ---- */

static bool is_device_memory(apart_device *d, const void *memory, size_t bytes)
{
    const char *at = memory;
    bool found = false;
    pthread_mutex_lock(&d->lock);
    for (const range *r = d->ranges; r && !found; r = r->next)
        found = at >= r->base && at <= r->base + r->bytes && bytes <= (size_t)(r->base + r->bytes - at);
    pthread_mutex_unlock(&d->lock);
    return found;
}

static fsmoe_status apart_copy(fsm_stream *stream, fsm_copy direction, void *to, const void *from, size_t bytes)
{
    apart_device *d = apart_of(stream->device);
    if (bytes == 0) return FSMOE_OK;
    if (is_device_memory(d, to, bytes) != (direction != FSM_COPY_FROM_DEVICE))
        return fsm_fail(FSMOE_ERROR_INTERNAL, "a copy of %zu bytes goes to the wrong side", bytes);
    if (is_device_memory(d, from, bytes) != (direction != FSM_COPY_TO_DEVICE))
        return fsm_fail(FSMOE_ERROR_INTERNAL, "a copy of %zu bytes comes from the wrong side", bytes);
    return fsm_at_once_copy(stream, direction, to, from, bytes);
}

static fsmoe_status apart_fill(fsm_stream *stream, void *to, unsigned char byte, size_t bytes)
{
    if (bytes > 0 && !is_device_memory(apart_of(stream->device), to, bytes))
        return fsm_fail(FSMOE_ERROR_INTERNAL, "%zu bytes to fill are not the device's", bytes);
    return fsm_at_once_fill(stream, to, byte, bytes);
}

/* ---- the device ---- */

static void apart_destroy(fsm_device *device)
{
    apart_device *d = apart_of(device);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

static const fsm_device_table apart = {
    .name = "apart",
    .destroy = apart_destroy,
    .allocate = apart_allocate,
    .free = apart_free,
    .memory = apart_memory,
    .enter = apart_enter,
    .leave = apart_leave,
    .create_stream = fsm_at_once_create_stream,
    .destroy_stream = fsm_at_once_destroy_stream,
    .copy = apart_copy,
    .fill = apart_fill,
    .submit = fsm_at_once_submit,
    .synchronise = fsm_at_once_synchronise,
    .create_event = fsm_at_once_create_event,
    .destroy_event = fsm_at_once_destroy_event,
    .record = fsm_at_once_record,
    .wait = fsm_at_once_wait,
    .query = fsm_at_once_query,
    .elapsed = fsm_at_once_elapsed,
};

fsmoe_status fsm_device_create_apart(size_t total_bytes, fsm_device **device)
{
    apart_device *d = calloc(1, sizeof *d);
    if (!d) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a device");
    d->base.table = &apart;
    d->total_bytes = total_bytes;
    pthread_mutex_init(&d->lock, NULL);
    *device = &d->base;
    return FSMOE_OK;
}
