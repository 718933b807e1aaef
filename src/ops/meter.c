#include "ops/meter.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

typedef struct meter {
    fsm_ops ops; /* first: all that callers see */
    fsm_ops *inner;
    bool on;
    fsm_op_count counts[FSM_OP_KIND_COUNT];
} meter;

/* Callers hold the table as const, as they hold any: what an instance keeps behind it is its own affair. */
static meter *meter_of(const fsm_ops *self)
{
    return (meter *)self;
}

static void note(meter *own, fsm_op_kind kind, double start_s, double flops, double bytes)
{
    fsm_op_count *c = &own->counts[kind];
    if (!own->on) return;
    c->s += fsm_clock_s() - start_s;
    c->calls++;
    c->flops += flops;
    c->bytes += bytes;
}

/* Queries times keys that they see, of all samples and heads: query i sees k_len - q_len + i + 1. */
static int64_t seen(const fsm_attention_shape *s)
{
    return s->batch * s->heads * (s->q_len * (s->k_len - s->q_len) + s->q_len * (s->q_len + 1) / 2);
}

/* ---- the slots that do work: timed and counted ---- */

enum { REAL = FSM_REAL_BYTES, INDEX = FSM_INDEX_BYTES, SUM = FSM_SUM_BYTES };

#define UNWRAP(...) __VA_ARGS__
#define SLOT(kind, table, slot, parameters, arguments, flops_of_it, bytes_of_it)         \
    static void metered_##slot(const fsm_ops *self, UNWRAP parameters)                   \
    {                                                                                    \
        meter *own = meter_of(self);                                                     \
        const fsm_ops *inner = own->inner;                                               \
        const int64_t row_bytes = inner->row_bytes;                                      \
        double start_s = fsm_clock_s();                                                  \
        (void)row_bytes; /* not every slot has rows */                                   \
        inner->table slot(inner, UNWRAP arguments);                                      \
        note(own, FSM_OP_##kind, start_s, (double)(flops_of_it), (double)(bytes_of_it)); \
    }
#include "ops/slots.h"
#undef SLOT

/* ---- those that prepare, outside steps: forwarded ---- */

static void metered_destroy(fsm_ops *self)
{
    fsm_ops_destroy(meter_of(self)->inner);
    free(self);
}

static bool metered_weight_create(const fsm_ops *self, fsm_weight *weight)
{
    const fsm_ops *inner = meter_of(self)->inner;
    return inner->weight_create(inner, weight);
}

static void metered_weight_destroy(const fsm_ops *self, fsm_weight *weight)
{
    const fsm_ops *inner = meter_of(self)->inner;
    inner->weight_destroy(inner, weight);
}

static bool metered_attention_reserve(fsm_ops *self, const fsm_attention_shape *shape)
{
    fsm_ops *inner = meter_of(self)->inner;
    return inner->attention_reserve(inner, shape);
}

static void metered_row_by_row(fsm_ops *self, bool on)
{
    fsm_ops *inner = meter_of(self)->inner;
    inner->row_by_row(inner, on);
}

static size_t metered_attention_work_bytes(const fsm_ops *self, const fsm_attention_shape *shape)
{
    const fsm_ops *inner = meter_of(self)->inner;
    return inner->attention_work_bytes(inner, shape);
}

/* ---- the table ---- */

static const fsm_ops metered_table = {
    .destroy = metered_destroy,
    .weight_create = metered_weight_create,
    .weight_destroy = metered_weight_destroy,
    .attention_reserve = metered_attention_reserve,
    .attention_work_bytes = metered_attention_work_bytes,
    .row_by_row = metered_row_by_row,
#define SLOT(kind, table, slot, ...) .table slot = metered_##slot,
#include "ops/slots.h"
#undef SLOT
};

enum {
    FORWARDED = 6,
    METERED = 0
#define SLOT(...) +1
#include "ops/slots.h"
#undef SLOT
};
_Static_assert(sizeof(fsm_ops) - offsetof(fsm_ops, route) == (FORWARDED + METERED) * sizeof(void (*)(void)),
               "a slot of fsm_ops has no line in slots.h");

fsmoe_status fsm_meter_create(fsm_ops *inner, fsm_ops **metered)
{
    meter *m = calloc(1, sizeof *m);
    if (!m) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to count operations");
    m->ops = metered_table;
    m->ops.name = inner->name;
    m->ops.row_bytes = inner->row_bytes;
    m->ops.on_host = inner->on_host;
    m->ops.device = inner->device;
    m->inner = inner;
    *metered = &m->ops;
    return FSMOE_OK;
}

void fsm_meter_turn(fsm_ops *metered, bool on)
{
    meter_of(metered)->on = on;
}

void fsm_meter_reset(fsm_ops *metered)
{
    meter *m = meter_of(metered);
    memset(m->counts, 0, sizeof m->counts);
}

const fsm_op_count *fsm_meter_counts(const fsm_ops *metered)
{
    return meter_of(metered)->counts;
}

const char *fsm_op_kind_name(fsm_op_kind kind)
{
    static const char *const names[] = {
#define KIND_NAME(kind, name) name,
        FSM_OP_KIND_LIST(KIND_NAME)
#undef KIND_NAME
    };
    return names[kind];
}
