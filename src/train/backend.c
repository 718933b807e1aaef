#include "train/backend.h"

#include "cpu/bf16_matmul.h"
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

static fsmoe_status create_cpu(const fsm_backend_options *o, fsm_ops **ops)
{
    FSM_TRY(fsm_cpu_ops_create(o->threads, o->kind, ops));
    if (!o->products) return FSMOE_OK;
    fsmoe_status status = fsm_cpu_use_products(*ops, o->products); /* before weights are packed */
    if (status == FSMOE_OK) return status;
    fsm_ops_destroy(*ops);
    *ops = NULL;
    return status;
}

fsmoe_status fsm_backend_create(const fsm_backend_options *o, fsm_backend *backend)
{
    *backend = (fsm_backend){0};
    FSM_TRY(find_device(&backend->device));
    FSM_TRY(create_cpu(o, &backend->ops));
    backend->cpu = backend->ops;
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

fsmoe_status fsm_backend_create_to_measure(const fsm_backend_options *options, fsm_ops **ops)
{
    return create_cpu(options, ops);
}

fsmoe_status fsm_backend_measure_products(int threads, int count, const int64_t (*shapes)[2],
                                          const fsm_expert_products *experts, double budget_s, fsm_products *table)
{
    fsm_ops *ops;
    FSM_TRY(fsm_cpu_ops_create(threads, FSM_CPU_FP32, &ops));
    fsmoe_status status = fsm_products_measure(ops, count, shapes, budget_s, table);
    table->experts = *experts;
    if (status == FSMOE_OK) status = fsm_products_measure_experts(ops, table);
    fsm_ops_destroy(ops);
    return status;
}

fsmoe_status fsm_backend_compare_rows(int threads, int64_t out, int64_t in, double gflops[2])
{
    return fsm_cpu_compare_rows(threads, out, in, gflops);
}

bool fsm_backend_multiplies_bf16(void)
{
    return fsm_cpu_multiplies_bf16();
}

const fsm_products *fsm_backend_products(const fsm_backend *backend)
{
    return fsm_cpu_products(backend->cpu);
}

void fsm_backend_serve(const fsm_backend *backend, fsm_comm *comm)
{
    comm->device = backend->device;
}
