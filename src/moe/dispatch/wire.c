#include "moe/dispatch/wire.h"

#include <assert.h>

static int64_t local_experts(const fsm_wire_shape *shape)
{
    return shape->num_experts / shape->ep;
}

/* The larger of what the two maps need. */
static int64_t table_elems(const fsm_wire_shape *shape)
{
    int64_t local = local_experts(shape), pairs = shape->ep * shape->esp * local;
    int64_t source = (2 * FSM_MAX_CHUNKS + 1) * shape->num_experts;
    int64_t experts = (2 * FSM_MAX_CHUNKS + 2) * pairs + local;
    return source > experts ? source : experts;
}

void fsm_wire_tables_take(fsm_memory *memory, const fsm_wire_shape *shape, fsm_wire_tables *tables)
{
    tables->host = FSM_TAKE_HOST(memory, int32_t, table_elems(shape));
    tables->there = fsm_take_indices(memory, table_elems(shape));
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

/* Begins the tables anew: the next n elements of both; written together by write_tables. */
static int32_t *next_table(const fsm_wire_tables *tables, int64_t n, int64_t *used, const fsm_index **there)
{
    int32_t *here = tables->host + *used;
    *there = fsm_index_at(tables->there, *used);
    *used += n;
    return here;
}

static void write_tables(const fsm_ops *ops, const fsm_wire_tables *tables, int64_t used)
{
    ops->write(ops, (size_t)(used * FSM_INDEX_BYTES), tables->host, tables->there);
}

/* The wire row of each row of each expert at the source, chunk by chunk: send_row and its inverse. */
static void map_source(const fsm_ops *ops, int64_t n, int64_t k, const fsm_index *choice, const fsm_index *row,
                       const int64_t *rows, const fsm_wire_tables *tables, fsm_wire *wire)
{
    int64_t experts = wire->shape.num_experts, used = 0;
    fsm_source_map map = {.num_experts = experts, .chunks = wire->chunks};
    int32_t *first = next_table(tables, (wire->chunks + 1) * experts, &used, &map.first);
    int32_t *base = next_table(tables, wire->chunks * experts, &used, &map.base);
    for (int c = 0; c <= wire->chunks; c++)
        for (int64_t e = 0; e < experts; e++) first[c * experts + e] = (int32_t)boundary(wire, c, rows[e]);
    for (int c = 0; c < wire->chunks; c++) {
        int64_t at = wire->send_first[c];
        for (int64_t e = 0; e < experts; e++) {
            base[c * experts + e] = (int32_t)(at - boundary(wire, c, rows[e]));
            at += chunk_rows(wire, c, rows[e]);
        }
    }
    write_tables(ops, tables, used);
    ops->place.map_source(ops, &map, n, k, choice, row, wire->send_total, wire->send_row, wire->token);
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

/* expert_first: the blocks of every chunk and expert, one after the other. */
static void place_blocks(const int64_t *counts, fsm_wire *wire)
{
    const fsm_wire_shape *s = &wire->shape;
    int64_t local = local_experts(s), at = 0;
    for (int64_t e = 0; e < local; e++) {
        for (int c = 0; c < wire->chunks; c++) {
            wire->expert_first[c * local + e] = at;
            for (int src = 0; src < s->ep * s->esp; src++)
                at += chunk_rows(wire, c, counts[src * s->num_experts + s->ep_index * local + e]);
        }
        wire->expert_first[wire->chunks * local + e] = at;
    }
}

/* The tables of one source and local expert, pair number `pair` of `pairs`. */
static void describe_pair(const fsm_wire *wire, const int64_t *counts, int64_t pair, int64_t pairs, int32_t *first,
                          int32_t *base)
{
    const fsm_wire_shape *s = &wire->shape;
    int64_t local = local_experts(s), src = pair / local, e = pair % local;
    int64_t n = counts[src * s->num_experts + s->ep_index * local + e];
    for (int c = 0; c <= wire->chunks; c++) first[c * pairs + pair] = (int32_t)boundary(wire, c, n);
    for (int c = 0; c < wire->chunks; c++)
        base[c * pairs + pair] = (int32_t)gathered_base(wire, counts, c, (int)(src / s->esp), (int)(src % s->esp), e);
}

static void map_experts(const fsm_ops *ops, const int64_t *counts, const fsm_wire_tables *tables, fsm_wire *wire)
{
    const fsm_wire_shape *s = &wire->shape;
    int64_t sources = s->ep * s->esp, local = local_experts(s), pairs = sources * local, used = 0;
    fsm_expert_map map = {.sources = sources, .num_experts = local, .chunks = wire->chunks, .by_source = s->by_source};
    int32_t *rows = next_table(tables, pairs, &used, &map.rows);
    int32_t *first = next_table(tables, (wire->chunks + 1) * pairs, &used, &map.first);
    int32_t *base = next_table(tables, wire->chunks * pairs, &used, &map.base);
    int32_t *begin = next_table(tables, local, &used, &map.begin);
    for (int64_t pair = 0; pair < pairs; pair++) {
        describe_pair(wire, counts, pair, pairs, first, base);
        rows[pair] = first[wire->chunks * pairs + pair];
        if (map.most_rows < rows[pair]) map.most_rows = rows[pair];
    }
    for (int64_t e = 0; e < local; e++) begin[e] = (int32_t)wire->expert_first[e];
    write_tables(ops, tables, used);
    ops->place.map_experts(ops, &map, wire->wire_of_row, wire->row_of_wire);
}

void fsm_wire_build(const fsm_ops *ops, int64_t n, int64_t choices, const fsm_index *choice, const fsm_index *row,
                    const int64_t *rows, const int64_t *counts, const fsm_wire_tables *tables, fsm_wire *wire)
{
    count_chunks(counts, wire);
    place_blocks(counts, wire);
    map_source(ops, n, choices, choice, row, rows, tables, wire);
    map_experts(ops, counts, tables, wire);
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
