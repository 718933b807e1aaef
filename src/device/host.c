/* The host as a device. */
#include "device/at_once.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Pages are reserved, not committed, as an arena's are (base/arena.h). */
static fsmoe_status host_allocate(fsm_device *device, size_t bytes, void **memory)
{
    (void)device;
    *memory = mmap(NULL, bytes + !bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (*memory != MAP_FAILED) return FSMOE_OK;
    *memory = NULL;
    return fsm_fail(FSMOE_ERROR_MEMORY, "cannot reserve %zu bytes", bytes);
}

static void host_free(fsm_device *device, void *memory, size_t bytes)
{
    (void)device;
    if (memory) munmap(memory, bytes + !bytes);
}

fsmoe_status fsm_host_memory(fsm_device *device, size_t *free_bytes, size_t *total_bytes)
{
    (void)device;
    long page = sysconf(_SC_PAGESIZE), all = sysconf(_SC_PHYS_PAGES), unused = sysconf(_SC_AVPHYS_PAGES);
    if (page <= 0 || all <= 0 || unused < 0)
        return fsm_fail(FSMOE_ERROR_INTERNAL, "the system does not say how much memory there is");
    *free_bytes = (size_t)unused * (size_t)page;
    *total_bytes = (size_t)all * (size_t)page;
    return FSMOE_OK;
}

static void host_destroy(fsm_device *device)
{
    free(device);
}

static const fsm_device_table host = {
    .name = "host",
    .destroy = host_destroy,
    .allocate = host_allocate,
    .free = host_free,
    .memory = fsm_host_memory,
    .create_stream = fsm_at_once_create_stream,
    .destroy_stream = fsm_at_once_destroy_stream,
    .copy = fsm_at_once_copy,
    .fill = fsm_at_once_fill,
    .submit = fsm_at_once_submit,
    .synchronise = fsm_at_once_synchronise,
    .create_event = fsm_at_once_create_event,
    .destroy_event = fsm_at_once_destroy_event,
    .record = fsm_at_once_record,
    .wait = fsm_at_once_wait,
    .query = fsm_at_once_query,
    .elapsed = fsm_at_once_elapsed,
};

fsmoe_status fsm_device_create_host(fsm_device **device)
{
    *device = malloc(sizeof **device);
    if (!*device) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a device");
    **device = (fsm_device){&host};
    return FSMOE_OK;
}
