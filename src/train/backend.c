#include "train/backend.h"

#include "cpu/products.h"
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

static fsmoe_status wrap(const fsm_backend *backend, fsm_ops **ops)
{
    return backend->device ? fsm_apart_ops_create(*ops, backend->device, ops) : FSMOE_OK;
}

fsmoe_status fsm_backend_create(const fsm_backend_options *o, fsm_backend *backend)
{
    *backend = (fsm_backend){0};
    FSM_TRY(find_device(&backend->device));
    FSM_TRY(fsm_cpu_ops_create(o->threads, o->kind, &backend->ops));
    backend->cpu = backend->ops;
    if (o->products) FSM_TRY(fsm_cpu_use_products(backend->ops, o->products)); /* before weights are packed */
    FSM_TRY(wrap(backend, &backend->ops));
    if (o->metered) FSM_TRY(fsm_meter_create(backend->ops, &backend->ops));
    FSM_TRY(fsm_cpu_ops_create(1, o->kind, &backend->link_ops));
    return wrap(backend, &backend->link_ops);
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
