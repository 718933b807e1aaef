#include "train/backend.h"

#include "ops/apart.h"
#include "ops/meter.h"

#include <stdlib.h>
#include <string.h>

static fsmoe_status find_device(fsm_device **device)
{
    const char *name = getenv("FSMOE_DEVICE");
    *device = NULL;
    if (!name || strcmp(name, "host") == 0) return FSMOE_OK;
    if (strcmp(name, "apart") == 0) return fsm_device_create_apart(0, device);
    return fsm_fail(FSMOE_ERROR_CONFIG, "FSMOE_DEVICE: no device is named '%s'; there are host and apart", name);
}

static fsmoe_status create_ops(const fsm_backend *backend, int threads, fsm_cpu_kind kind, fsm_ops **ops)
{
    FSM_TRY(fsm_cpu_ops_create(threads, kind, ops));
    return backend->device ? fsm_apart_ops_create(*ops, backend->device, ops) : FSMOE_OK;
}

fsmoe_status fsm_backend_create(int threads, fsm_cpu_kind kind, bool metered, fsm_backend *backend)
{
    *backend = (fsm_backend){0};
    FSM_TRY(find_device(&backend->device));
    FSM_TRY(create_ops(backend, threads, kind, &backend->ops));
    if (metered) FSM_TRY(fsm_meter_create(backend->ops, &backend->ops));
    return create_ops(backend, 1, kind, &backend->link_ops);
}

void fsm_backend_destroy(fsm_backend *backend)
{
    fsm_ops_destroy(backend->link_ops);
    fsm_ops_destroy(backend->ops);
    fsm_device_destroy(backend->device);
    *backend = (fsm_backend){0};
}

void fsm_backend_serve(const fsm_backend *backend, fsm_comm *comm)
{
    comm->device = backend->device;
}
