#include "ops/apart.h"

#include <stdlib.h>

typedef struct apart {
    fsm_ops ops; /* first: all that callers see */
    fsm_ops *inner;
} apart;

static fsm_ops *inner_of(const fsm_ops *self)
{
    return ((const apart *)self)->inner;
}

#define UNWRAP(...) __VA_ARGS__
#define SLOT(kind, table, slot, parameters, arguments, flops, bytes) \
    static void apart_##slot(const fsm_ops *self, UNWRAP parameters) \
    {                                                                \
        const fsm_ops *inner = inner_of(self);                       \
        fsm_device_enter(self->device);                              \
        inner->table slot(inner, UNWRAP arguments);                  \
        fsm_device_leave(self->device);                              \
    }
#include "ops/slots.h"
#undef SLOT

/* ---- those that prepare, and the one whose body is the host's ---- */

static void apart_destroy(fsm_ops *self)
{
    fsm_ops_destroy(inner_of(self));
    free(self);
}

static bool apart_weight_create(const fsm_ops *self, fsm_weight *weight)
{
    const fsm_ops *inner = inner_of(self);
    fsm_device_enter(self->device);
    bool created = inner->weight_create(inner, weight);
    fsm_device_leave(self->device);
    return created;
}

static void apart_weight_destroy(const fsm_ops *self, fsm_weight *weight)
{
    const fsm_ops *inner = inner_of(self);
    inner->weight_destroy(inner, weight);
}

static bool apart_attention_reserve(fsm_ops *self, const fsm_attention_shape *shape)
{
    fsm_ops *inner = inner_of(self);
    return inner->attention_reserve(inner, shape);
}

static size_t apart_attention_work_bytes(const fsm_ops *self, const fsm_attention_shape *shape)
{
    const fsm_ops *inner = inner_of(self);
    return inner->attention_work_bytes(inner, shape);
}

static void apart_row_by_row(fsm_ops *self, bool on)
{
    fsm_ops *inner = inner_of(self);
    inner->row_by_row(inner, on);
}

/* What the host loops over is the host's. */
static void apart_loop(const fsm_ops *self, int64_t n, int64_t width, fsm_rows_body *body, void *context)
{
    const fsm_ops *inner = inner_of(self);
    inner->for_rows(inner, n, width, body, context);
}

static const fsm_ops apart_table = {
#define SLOT(kind, table, slot, ...) .table slot = apart_##slot,
#include "ops/slots.h"
#undef SLOT
    .destroy = apart_destroy,
    .weight_create = apart_weight_create,
    .weight_destroy = apart_weight_destroy,
    .attention_reserve = apart_attention_reserve,
    .attention_work_bytes = apart_attention_work_bytes,
    .row_by_row = apart_row_by_row,
};

fsmoe_status fsm_apart_ops_create(fsm_ops *inner, fsm_device *device, fsm_ops **ops)
{
    apart *a = calloc(1, sizeof *a);
    if (!a) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for operations on a device");
    a->ops = apart_table;
    a->ops.for_rows = apart_loop;
    a->ops.name = inner->name;
    a->ops.row_bytes = inner->row_bytes;
    a->ops.device = device;
    a->inner = inner;
    *ops = &a->ops;
    return FSMOE_OK;
}
