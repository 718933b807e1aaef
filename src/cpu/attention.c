#include "cpu/attention.h"
#include "cpu/bf16.h"
#include "cpu/simd.h"
#include "cpu/slots.h"
#include "cpu/threads.h"

#include <stdlib.h>

enum { LINE_ELEMS = 16 };

int64_t fsm_cpu_query_blocks(const fsm_attention_shape *shape)
{
    return (shape->q_len + FSM_CPU_QUERIES - 1) / FSM_CPU_QUERIES;
}

fsm_cpu_query_block fsm_cpu_query_block_at(const fsm_attention_shape *shape, int64_t keys, int64_t index)
{
    int64_t first = index * FSM_CPU_QUERIES, count = shape->q_len - first;
    if (count > FSM_CPU_QUERIES) count = FSM_CPU_QUERIES;
    return (fsm_cpu_query_block){first, count, keys - shape->q_len + first + count};
}

static int64_t whole_lines(int64_t elems)
{
    return (elems + LINE_ELEMS - 1) / LINE_ELEMS * LINE_ELEMS;
}

/* A thread's memory as it is laid out: with base NULL only counted. */
typedef struct layout {
    float *base;
    int64_t used_elems;
} layout;

static float *take(layout *at, int64_t elems)
{
    float *taken = at->base ? at->base + at->used_elems : NULL;
    at->used_elems += whole_lines(elems);
    return taken;
}

/* A line more than whole lines keeps rows of scores off a power of two. */
static fsm_cpu_head_work lay_out(const fsm_attention_shape *s, layout *at)
{
    fsm_cpu_head_work w = {.ld_score = whole_lines(s->k_len) + LINE_ELEMS};
    float **const scores[] = {&w.score, &w.dp}, **const keys[] = {&w.k, &w.v, &w.dk, &w.dv};
    float **const queries[] = {&w.q, &w.dq, &w.do_, &w.o};
    for (int i = 0; i < 2; i++) *scores[i] = take(at, FSM_CPU_QUERIES * w.ld_score);
    for (int i = 0; i < 4; i++) *keys[i] = take(at, s->k_len * s->head_dim);
    for (int i = 0; i < 4; i++) *queries[i] = take(at, FSM_CPU_QUERIES * s->head_dim);
    return w;
}

static int64_t thread_elems(const fsm_attention_shape *s)
{
    layout counted = {NULL, 0};
    lay_out(s, &counted);
    return counted.used_elems;
}

size_t fsm_cpu_attention_work_bytes(const fsm_ops *self, const fsm_attention_shape *shape)
{
    return sizeof(float) * (size_t)thread_elems(shape) * (size_t)fsm_cpu_of(self)->threads;
}

bool fsm_cpu_attention_reserve(fsm_ops *self, const fsm_attention_shape *shape)
{
    fsm_cpu *cpu = (fsm_cpu *)self;
    size_t bytes = fsm_cpu_attention_work_bytes(self, shape);
    if (bytes <= cpu->attention_work_bytes) return true;
    float *work = aligned_alloc(LINE_ELEMS * sizeof *work, bytes);
    if (!work) return false;
    free(cpu->attention_work);
    cpu->attention_work = work;
    cpu->attention_work_bytes = bytes;
    return true;
}

int fsm_cpu_attention_threads(const fsm_ops *self, const fsm_attention_shape *shape)
{
    return fsm_cpu_threads(self, shape->batch * shape->heads * shape->q_len * shape->k_len * shape->head_dim);
}

fsm_cpu_head_work fsm_cpu_head_work_of(const fsm_ops *self, const fsm_attention_shape *shape)
{
    layout mine = {fsm_cpu_of(self)->attention_work + thread_elems(shape) * omp_get_thread_num(), 0};
    return lay_out(shape, &mine);
}

FSM_CPU_BODY void copy_rows_body(int64_t n, int64_t width, const float *factor, const float *from, int64_t ld_from,
                                 float *to, int64_t ld_to)
{
    for (int64_t i = 0; i < n; i++, from += ld_from, to += ld_to) {
        const float f = factor ? factor[i] : 1;
#pragma omp simd
        for (int64_t j = 0; j < width; j++) to[j] = f * from[j];
    }
}
FSM_CPU_KERNEL(copy_rows,
               (int64_t n, int64_t width, const float *factor, const float *from, int64_t ld_from, float *to,
                int64_t ld_to),
               (n, width, factor, from, ld_from, to, ld_to))

void fsm_cpu_load_rows(const fsm_ops *self, int64_t n, int64_t width, const fsm_row *from, int64_t ld_from, float *to)
{
    if (fsm_cpu_rows_are_float(self)) copy_rows(n, width, NULL, from, ld_from, to, width);
    else fsm_cpu_widen(n, width, from, ld_from, to, width);
}

void fsm_cpu_store_rows(const fsm_ops *self, int64_t n, int64_t width, const float *factor, const float *from,
                        fsm_row *to, int64_t ld_to)
{
    if (fsm_cpu_rows_are_float(self)) copy_rows(n, width, factor, from, width, to, ld_to);
    else fsm_cpu_narrow(n, width, factor, from, width, to, ld_to);
}

const float *fsm_cpu_floats_of(const fsm_ops *self, int64_t n, int64_t width, const fsm_row *from, int64_t *ld,
                               float *copy)
{
    if (fsm_cpu_rows_are_float(self)) return from;
    fsm_cpu_load_rows(self, n, width, from, *ld, copy);
    *ld = width;
    return copy;
}
