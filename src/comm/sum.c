#include "comm/sum.h"

#include "base/bf16.h"

#include <stdlib.h>
#include <string.h>

/* Large enough that a message costs its bytes, small enough that what waits for the last one is little. */
enum { SEGMENT_ELEMS = 65536, SCRATCH_ELEMS = 4 * SEGMENT_ELEMS, LEAST_SEGMENT_ELEMS = 4096 };

static int64_t segment_elems(int64_t size)
{
    int64_t elems = SCRATCH_ELEMS / size;
    if (elems > SEGMENT_ELEMS) return SEGMENT_ELEMS;
    return elems < LEAST_SEGMENT_ELEMS ? LEAST_SEGMENT_ELEMS : elems;
}

fsmoe_status fsm_comm_scratch_create(fsm_comm *comm)
{
    size_t size = (size_t)comm->size;
    comm->segment_elems = comm->size > 1 ? segment_elems(comm->size) : 0;
    comm->blocks = malloc(size * sizeof *comm->blocks);
    if (comm->size > 1)
        comm->scratch = malloc(FSM_COMM_SLOTS * size * fsm_comm_bytes(FSM_COMM_FP32, comm->segment_elems));
    if (comm->blocks && (comm->scratch || comm->size == 1)) return FSMOE_OK;
    fsm_comm_scratch_destroy(comm);
    return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for sums over %d ranks", comm->size);
}

void fsm_comm_scratch_destroy(fsm_comm *comm)
{
    free(comm->scratch);
    free(comm->blocks);
    comm->scratch = NULL;
    comm->blocks = NULL;
}

/* ---- reduce-scatter ---- */

/* How much of rank r's block is in a segment, and where that begins. */
static int64_t piece(const fsm_comm_op *op, int r, int64_t segment, int64_t *first)
{
    int64_t skipped = segment * op->comm->segment_elems, left = op->counts[r] - skipped;
    *first = skipped;
    for (int i = 0; i < r; i++) *first += op->counts[i];
    return left < 0 ? 0 : left < op->comm->segment_elems ? left : op->comm->segment_elems;
}

static int64_t count_segments(const fsm_comm_op *op)
{
    int64_t longest = 0;
    for (int r = 0; r < op->comm->size; r++)
        if (op->counts[r] > longest) longest = op->counts[r];
    return (longest + op->comm->segment_elems - 1) / op->comm->segment_elems;
}

static size_t bytes_of(const fsm_comm_op *op, int64_t elems)
{
    return fsm_comm_bytes(op->type, elems);
}

static char *arrived(const fsm_comm_op *op, int64_t segment, int from)
{
    const fsm_comm *comm = op->comm;
    return comm->scratch + bytes_of(op, (segment % FSM_COMM_SLOTS * comm->size + from) * comm->segment_elems);
}

/* Receives first, and each rank begins with another neighbour, so that nobody is everybody's first. */
static fsmoe_status post_segment(const fsm_comm_op *op, int64_t segment)
{
    fsm_comm *comm = op->comm;
    int slot = (int)(segment % FSM_COMM_SLOTS);
    int64_t first, mine = piece(op, comm->rank, segment, &first);
    for (int i = 1; i < comm->size && mine > 0; i++) {
        int from = (comm->rank + i) % comm->size;
        FSM_TRY(comm->data->post_recv(comm, slot, from, op->type, arrived(op, segment, from), mine));
    }
    for (int i = 1; i < comm->size; i++) {
        int to = (comm->rank + comm->size - i) % comm->size;
        int64_t count = piece(op, to, segment, &first);
        if (count > 0) FSM_TRY(comm->data->post_send(comm, slot, to, op->type, op->send + bytes_of(op, first), count));
    }
    return FSMOE_OK;
}

/* ---- additions, always in float ---- */

static void take_part(fsm_comm_type type, int64_t n, const char *part, float *sum)
{
    const uint16_t *halves = (const uint16_t *)(const void *)part;
    if (type == FSM_COMM_FP32) memcpy(sum, part, sizeof *sum * (size_t)n);
    for (int64_t i = 0; type == FSM_COMM_BF16 && i < n; i++) sum[i] = fsm_from_bf16(halves[i]);
}

static void add(int64_t n, const float *restrict x, float *restrict sum)
{
    for (int64_t i = 0; i < n; i++) sum[i] += x[i];
}

static void add_part(fsm_comm_type type, int64_t n, const char *part, float *restrict sum)
{
    const uint16_t *halves = (const uint16_t *)(const void *)part;
    if (type == FSM_COMM_FP32) add(n, (const float *)(const void *)part, sum);
    for (int64_t i = 0; type == FSM_COMM_BF16 && i < n; i++) sum[i] += fsm_from_bf16(halves[i]);
}

static void put_sum(fsm_comm_type type, int64_t n, const float *sum, char *to)
{
    uint16_t *halves = (uint16_t *)(void *)to;
    if (type == FSM_COMM_FP32) memcpy(to, sum, sizeof *sum * (size_t)n);
    for (int64_t i = 0; type == FSM_COMM_BF16 && i < n; i++) halves[i] = fsm_to_bf16(sum[i]);
}

/* In the order of ranks, a tile at a time, so that the sum stays in the cache. Where the result goes may be where this
 * rank's own part is. */
static void add_segment(const fsm_comm_op *op, int64_t segment)
{
    enum { TILE = 2048 };
    float sum[TILE];
    fsm_comm *comm = op->comm;
    int64_t first, n = piece(op, comm->rank, segment, &first);
    const char *own = op->send + bytes_of(op, first);
    char *to = op->recv + bytes_of(op, segment * comm->segment_elems);
    for (int64_t at = 0; at < n; at += TILE) {
        int64_t tile = n - at < TILE ? n - at : TILE;
        for (int r = 0; r < comm->size; r++) {
            const char *part = (r == comm->rank ? own : arrived(op, segment, r)) + bytes_of(op, at);
            if (r == 0) take_part(op->type, tile, part, sum);
            else add_part(op->type, tile, part, sum);
        }
        put_sum(op->type, tile, sum, to + bytes_of(op, at));
    }
}

static fsmoe_status advance_reduce_scatter(fsm_comm_op *op, bool *done)
{
    int64_t segments = count_segments(op);
    for (*done = false; op->added < segments; op->added++) {
        for (; op->posted < segments && op->posted < op->added + FSM_COMM_SLOTS; op->posted++)
            FSM_TRY(post_segment(op, op->posted));
        FSM_TRY(op->comm->data->test(op->comm, (int)(op->added % FSM_COMM_SLOTS), done));
        if (!*done) return FSMOE_OK;
        add_segment(op, op->added);
    }
    *done = true;
    return FSMOE_OK;
}

fsmoe_status fsm_sum_start_reduce_scatter(fsm_comm_op *op, fsm_comm *comm, fsm_comm_type type, const void *send,
                                          void *recv, const int64_t *counts)
{
    *op = (fsm_comm_op){.comm = comm, .type = type, .send = send, .recv = recv, .counts = counts};
    if (comm->size == 1 && counts[0] > 0 && recv != send) memmove(recv, send, fsm_comm_bytes(type, counts[0]));
    if (comm->size > 1) op->advance = advance_reduce_scatter;
    return FSMOE_OK;
}

/* ---- all-reduce: a reduce-scatter in place, then an all-gather, part after part ---- */

enum { PART_ELEMS = 1 << 28 }; /* offsets of an all-gather are ints */

/* The next part of what op->left counts, at op->recv. */
static void begin_part(fsm_comm_op *op, int64_t most_elems)
{
    int64_t n = op->left < most_elems ? op->left : most_elems, size = op->comm->size, first = 0;
    for (int r = 0; r < size; r++) {
        op->comm->blocks[r] = n * (r + 1) / size - n * r / size;
        if (r < op->comm->rank) first += op->comm->blocks[r];
    }
    op->counts = op->comm->blocks;
    op->send = op->recv;
    op->recv += bytes_of(op, first);
    op->left -= n;
    op->posted = op->added = 0;
    op->gathering = false;
}

static char *part_of(const fsm_comm_op *op, int64_t *n)
{
    *n = 0;
    for (int r = 0; r < op->comm->size; r++) *n += op->counts[r];
    int64_t first = 0;
    for (int r = 0; r < op->comm->rank; r++) first += op->counts[r];
    return op->recv - bytes_of(op, first);
}

static fsmoe_status advance_all_reduce(fsm_comm_op *op, bool *done)
{
    for (;;) {
        int64_t n;
        char *part = part_of(op, &n);
        if (!op->gathering) {
            FSM_TRY(advance_reduce_scatter(op, done));
            if (!*done) return FSMOE_OK;
            op->gathering = true;
            FSM_TRY(op->comm->data->start_all_gather(op->comm, op->type, op->recv, part, op->counts));
        }
        FSM_TRY(op->comm->data->test(op->comm, 0, done));
        if (!*done || op->left == 0) return FSMOE_OK;
        op->recv = part + bytes_of(op, n);
        begin_part(op, PART_ELEMS);
    }
}

fsmoe_status fsm_sum_start_all_reduce(fsm_comm_op *op, fsm_comm *comm, fsm_comm_type type, void *buffer, int64_t count)
{
    *op = (fsm_comm_op){.comm = comm, .type = type, .recv = buffer, .left = count};
    if (comm->size == 1) return FSMOE_OK;
    op->advance = advance_all_reduce;
    begin_part(op, PART_ELEMS);
    return FSMOE_OK;
}

/* ---- all-reduce as a tree: every rank gathers all parts, block after block, and adds them alike ---- */

/* blocks[0] = the tree's sum over `ranks` blocks of n elements */
static void add_tree(float *blocks, int ranks, int64_t n)
{
    for (int stride = 1; stride < ranks; stride *= 2)
        for (int rank = 0; rank + stride < ranks; rank += 2 * stride)
            add(n, blocks + (rank + stride) * n, blocks + rank * n);
}

static fsmoe_status start_tree_block(fsm_comm_op *op)
{
    int64_t n = op->left < FSM_TREE_ELEMS ? op->left : FSM_TREE_ELEMS;
    for (int r = 0; r < op->comm->size; r++) op->tree_counts[r] = n;
    return op->comm->data->start_all_gather(op->comm, FSM_COMM_FP32, op->recv, op->tree, op->tree_counts);
}

static fsmoe_status advance_tree(fsm_comm_op *op, bool *done)
{
    for (;;) {
        FSM_TRY(op->comm->data->test(op->comm, 0, done));
        if (!*done) return FSMOE_OK;
        int64_t n = op->tree_counts[0];
        add_tree(op->tree, op->comm->size, n);
        memcpy(op->recv, op->tree, bytes_of(op, n));
        op->recv += bytes_of(op, n);
        op->left -= n;
        if (op->left == 0) return FSMOE_OK;
        FSM_TRY(start_tree_block(op));
    }
}

fsmoe_status fsm_comm_start_all_reduce_tree(fsm_comm_op *op, fsm_comm *comm, void *buffer, int64_t count, float *tree,
                                            int64_t *tree_counts)
{
    *op = (fsm_comm_op){
        .comm = comm, .type = FSM_COMM_FP32, .recv = buffer, .left = count, .tree = tree, .tree_counts = tree_counts};
    if (comm->size == 1 || count == 0) return FSMOE_OK;
    op->advance = advance_tree;
    fsm_comm_enter(comm);
    return fsm_comm_leave(comm, start_tree_block(op));
}
