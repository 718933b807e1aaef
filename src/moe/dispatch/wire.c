#include "moe/dispatch/wire.h"

#include <assert.h>
#include <string.h>

static int64_t local_experts(const fsm_wire_shape *shape)
{
    return shape->num_experts / shape->ep;
}

void fsm_wire_take(fsm_memory *memory, const fsm_wire_shape *shape, fsm_wire *wire)
{
    const int64_t chunks = FSM_MAX_CHUNKS;
    wire->shape = *shape;
    wire->send_row = fsm_take_indices(memory, shape->max_choices);
    wire->token = fsm_take_indices(memory, shape->max_rows);
    wire->send_first = FSM_TAKE_HOST(memory, int64_t, chunks + 1);
    wire->send_counts = FSM_TAKE_HOST(memory, int64_t, chunks * shape->ep);
    wire->recv_first = FSM_TAKE_HOST(memory, int64_t, chunks + 1);
    wire->recv_counts = FSM_TAKE_HOST(memory, int64_t, chunks * shape->ep);
    wire->gather_first = FSM_TAKE_HOST(memory, int64_t, chunks + 1);
    wire->gather_counts = FSM_TAKE_HOST(memory, int64_t, chunks * shape->esp);
    wire->expert_first = FSM_TAKE_HOST(memory, int64_t, (chunks + 1) * local_experts(shape));
    wire->wire_of_row = fsm_take_indices(memory, shape->max_expert_rows);
    wire->row_of_wire = fsm_take_indices(memory, shape->max_expert_rows);
    wire->base = FSM_TAKE_HOST(memory, int64_t, shape->num_experts);
    wire->merge = FSM_TAKE_HOST(memory, fsm_wire_cursor, shape->ep * shape->esp);
}

void fsm_wire_join(fsm_wire *wire)
{
    wire->chunks = 1;
    wire->cuts[0] = 0;
    wire->cuts[1] = wire->shape.nominal_rows;
}

void fsm_wire_cut_at(int64_t row, fsm_wire *wire)
{
    int c = ++wire->chunks;
    assert(c <= FSM_MAX_CHUNKS && !wire->shape.by_source && row > 0 && row < wire->shape.nominal_rows);
    for (; wire->cuts[c - 1] > row; c--) wire->cuts[c] = wire->cuts[c - 1];
    wire->cuts[c] = row;
}

/* First row of chunk c among the `rows` that one source sends to one expert. */
static int64_t boundary(const fsm_wire *wire, int chunk, int64_t rows)
{
    return wire->cuts[chunk] * rows / wire->shape.nominal_rows;
}

static int64_t chunk_rows(const fsm_wire *wire, int chunk, int64_t rows)
{
    return boundary(wire, chunk + 1, rows) - boundary(wire, chunk, rows);
}

static int64_t sum(const int64_t *counts, int64_t n)
{
    int64_t total = 0;
    for (int64_t i = 0; i < n; i++) total += counts[i];
    return total;
}

/* Rows of experts [first, first + n) that a source with these `rows` puts into the chunk. */
static int64_t block_rows(const fsm_wire *wire, int chunk, const int64_t *rows, int64_t first, int64_t n)
{
    int64_t total = 0;
    for (int64_t e = first; e < first + n; e++) total += chunk_rows(wire, chunk, rows[e]);
    return total;
}

/* How many rows each collective of each chunk moves. */
static void count_chunks(const int64_t *counts, fsm_wire *wire)
{
    const fsm_wire_shape *s = &wire->shape;
    int64_t local = local_experts(s), mine = s->ep_index * local;
    const int64_t *my_rows = counts + (s->ep_index * s->esp + s->esp_index) * s->num_experts;
    wire->send_first[0] = wire->recv_first[0] = wire->gather_first[0] = 0;
    for (int c = 0; c < wire->chunks; c++) {
        int64_t *sent = wire->send_counts + c * s->ep, *received = wire->recv_counts + c * s->ep;
        int64_t *gathered = wire->gather_counts + c * s->esp;
        for (int p = 0; p < s->ep; p++) sent[p] = block_rows(wire, c, my_rows, p * local, local);
        for (int j = 0; j < s->esp; j++) {
            gathered[j] = 0;
            for (int q = 0; q < s->ep; q++) {
                int64_t rows = block_rows(wire, c, counts + (q * s->esp + j) * s->num_experts, mine, local);
                if (j == s->esp_index) received[q] = rows;
                gathered[j] += rows;
            }
        }
        wire->send_first[c + 1] = wire->send_first[c] + sum(sent, s->ep);
        wire->recv_first[c + 1] = wire->recv_first[c] + sum(received, s->ep);
        wire->gather_first[c + 1] = wire->gather_first[c] + sum(gathered, s->esp);
    }
    wire->send_total = wire->send_first[wire->chunks];
    wire->gather_total = wire->gather_first[wire->chunks];
    wire->identity = s->ep * s->esp == 1 && wire->chunks == 1;
}

/* The wire row of each row of each expert at the source, chunk by chunk: send_row and its inverse. */
static void map_source(int64_t n, int64_t k, const int32_t *choice, const int32_t *row, const int64_t *rows,
                       fsm_wire *wire)
{
    int64_t num_experts = wire->shape.num_experts;
    memset(wire->token, -1, sizeof *wire->token * (size_t)wire->send_total);
    for (int64_t i = 0; i < n * k; i++) wire->send_row[i] = -1;
    for (int c = 0; c < wire->chunks; c++) {
        int64_t at = wire->send_first[c];
        for (int64_t e = 0; e < num_experts; e++) {
            /* row t of expert e lies at base[e] + t while t is in this chunk */
            wire->base[e] = at - boundary(wire, c, rows[e]);
            at += chunk_rows(wire, c, rows[e]);
        }
        for (int64_t i = 0; i < n * k; i++) {
            if (row[i] < 0) continue;
            int32_t e = choice[i];
            if (row[i] < boundary(wire, c, rows[e]) || row[i] >= boundary(wire, c + 1, rows[e])) continue;
            wire->send_row[i] = (int32_t)(wire->base[e] + row[i]);
            wire->token[wire->send_row[i]] = (int32_t)(i / k);
        }
    }
}

/* Where row 0 of (source, local expert) would lie where gathered, were the chunk to start with it: start of the chunk,
 * of the member, of the source, of the expert. Row t of the chunk lies t further. */
static int64_t gathered_base(const fsm_wire *wire, const int64_t *counts, int chunk, int q, int j, int64_t local_expert)
{
    const fsm_wire_shape *s = &wire->shape;
    int64_t local = local_experts(s), mine = s->ep_index * local;
    int64_t at = wire->gather_first[chunk] + sum(wire->gather_counts + chunk * s->esp, j);
    for (int other = 0; other < q; other++)
        at += block_rows(wire, chunk, counts + (other * s->esp + j) * s->num_experts, mine, local);
    const int64_t *rows = counts + (q * s->esp + j) * s->num_experts;
    at += block_rows(wire, chunk, rows + mine, 0, local_expert);
    return at - boundary(wire, chunk, rows[mine + local_expert]);
}

/* Loads the cursors of one expert's sources for one chunk. */
static void start_merge(const int64_t *counts, int64_t local_expert, int chunk, fsm_wire *wire)
{
    const fsm_wire_shape *s = &wire->shape;
    int64_t expert = s->ep_index * local_experts(s) + local_expert;
    for (int src = 0; src < s->ep * s->esp; src++) {
        int64_t n = counts[src * s->num_experts + expert];
        wire->merge[src] = (fsm_wire_cursor){
            .rows = n,
            .next = boundary(wire, chunk, n),
            .last = boundary(wire, chunk + 1, n),
            .base = gathered_base(wire, counts, chunk, src / s->esp, src % s->esp, local_expert),
        };
    }
}

/* The source whose next row comes first in expert order, by (t + 1) / n, ties to the lower source; NULL at the end. */
static fsm_wire_cursor *first_cursor(fsm_wire_cursor *cursors, int sources, bool by_source)
{
    fsm_wire_cursor *best = NULL;
    for (fsm_wire_cursor *c = cursors; c < cursors + sources; c++) {
        if (c->next == c->last) continue;
        if (by_source) return c;
        if (!best || (c->next + 1) * best->rows < (best->next + 1) * c->rows) best = c;
    }
    return best;
}

/* Merges one chunk of one expert into expert order from row `at` on; returns the row after it. */
static int64_t map_expert(const int64_t *counts, int64_t local_expert, int chunk, int64_t at, fsm_wire *wire)
{
    int sources = wire->shape.ep * wire->shape.esp;
    fsm_wire_cursor *cursor;
    start_merge(counts, local_expert, chunk, wire);
    while ((cursor = first_cursor(wire->merge, sources, wire->shape.by_source))) {
        int64_t from = cursor->base + cursor->next++;
        wire->wire_of_row[at] = (int32_t)from;
        wire->row_of_wire[from] = (int32_t)at;
        at++;
    }
    return at;
}

static void map_experts(const int64_t *counts, fsm_wire *wire)
{
    int64_t local = local_experts(&wire->shape), at = 0;
    for (int64_t e = 0; e < local; e++) {
        for (int c = 0; c < wire->chunks; c++) {
            wire->expert_first[c * local + e] = at;
            at = map_expert(counts, e, c, at, wire);
        }
        wire->expert_first[wire->chunks * local + e] = at;
    }
}

void fsm_wire_build(int64_t n, int64_t choices, const int32_t *choice, const int32_t *row, const int64_t *rows,
                    const int64_t *counts, fsm_wire *wire)
{
    count_chunks(counts, wire);
    map_source(n, choices, choice, row, rows, wire);
    map_experts(counts, wire);
}

int64_t fsm_wire_rows_between(const fsm_wire *wire, const int64_t *counts, int chunk, int from, int to)
{
    const fsm_wire_shape *s = &wire->shape;
    int64_t local = local_experts(s);
    return block_rows(wire, chunk, counts + (from * s->esp + s->esp_index) * s->num_experts, to * local, local);
}

int fsm_wire_chunk(const fsm_wire *wire, int64_t first)
{
    for (int c = 0; c < wire->chunks; c++)
        if (wire->cuts[c] == first) return c;
    assert(!"a task's rows must be a chunk of its wire");
    return 0;
}
