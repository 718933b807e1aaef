#include "comm/op.h"

#include "base/clock.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

fsmoe_status fsm_comm_advance(fsm_comm_op *op, bool *done)
{
    *done = true;
    return op->advance ? op->advance(op, done) : FSMOE_OK;
}

/* At first it only lets others run, since what is small arrives soon; then it sleeps, so that who computes can. */
fsmoe_status fsm_comm_finish(fsm_comm_op *op)
{
    bool done;
    double start_s = fsm_clock_s();
    FSM_TRY(fsm_comm_advance(op, &done));
    while (!done) {
        double waited_s = fsm_clock_s() - start_s;
        if (waited_s < 100e-6) sched_yield();
        else fsm_clock_sleep(waited_s < 1e-3 ? 50e-6 : 200e-6);
        FSM_TRY(fsm_comm_advance(op, &done));
    }
    return FSMOE_OK;
}

/* ---- the transport's collectives ---- */

static fsmoe_status advance_collective(fsm_comm_op *op, bool *done)
{
    return op->comm->table->test(op->comm, 0, done);
}

static void begin(fsm_comm_op *op, fsm_comm *comm)
{
    *op = (fsm_comm_op){.comm = comm, .advance = advance_collective};
}

fsmoe_status fsm_comm_start_all_to_all(fsm_comm_op *op, fsm_comm *comm, const float *send, const int64_t *send_counts,
                                       float *recv, const int64_t *recv_counts)
{
    begin(op, comm);
    return comm->table->start_all_to_all(comm, send, send_counts, recv, recv_counts);
}

fsmoe_status fsm_comm_start_all_gather(fsm_comm_op *op, fsm_comm *comm, const float *send, float *recv,
                                       const int64_t *counts)
{
    begin(op, comm);
    return comm->table->start_all_gather(comm, send, recv, counts);
}

fsmoe_status fsm_comm_start_all_gather_int64(fsm_comm_op *op, fsm_comm *comm, const int64_t *send, int64_t count,
                                             int64_t *recv)
{
    begin(op, comm);
    return comm->table->start_all_gather_int64(comm, send, count, recv);
}

fsmoe_status fsm_comm_start_all_reduce_double(fsm_comm_op *op, fsm_comm *comm, double *buffer, int64_t count)
{
    begin(op, comm);
    return comm->table->start_all_reduce_double(comm, buffer, count);
}

fsmoe_status fsm_comm_all_gather_int64(fsm_comm *comm, const int64_t *send, int64_t count, int64_t *recv)
{
    fsm_comm_op op;
    FSM_TRY(fsm_comm_start_all_gather_int64(&op, comm, send, count, recv));
    return fsm_comm_finish(&op);
}

fsmoe_status fsm_comm_all_reduce_double(fsm_comm *comm, double *buffer, int64_t count)
{
    fsm_comm_op op;
    FSM_TRY(fsm_comm_start_all_reduce_double(&op, comm, buffer, count));
    return fsm_comm_finish(&op);
}

/* ---- reduce-scatter ---- */

/* Large enough that a message costs its bytes, small enough that what waits for the last one is little. */
enum { SEGMENT_ELEMS = 65536, SCRATCH_ELEMS = 4 * SEGMENT_ELEMS, LEAST_SEGMENT_ELEMS = 4096 };

fsmoe_status fsm_comm_scratch_create(fsm_comm *comm)
{
    if (comm->size == 1) return FSMOE_OK;
    comm->segment_elems = SCRATCH_ELEMS / comm->size;
    if (comm->segment_elems > SEGMENT_ELEMS) comm->segment_elems = SEGMENT_ELEMS;
    if (comm->segment_elems < LEAST_SEGMENT_ELEMS) comm->segment_elems = LEAST_SEGMENT_ELEMS;
    size_t elems = FSM_COMM_SLOTS * (size_t)comm->size * (size_t)comm->segment_elems;
    comm->scratch = malloc(elems * sizeof *comm->scratch);
    comm->even = malloc((size_t)comm->size * sizeof *comm->even);
    if (comm->scratch && comm->even) return FSMOE_OK;
    fsm_comm_scratch_destroy(comm);
    return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for sums over %d ranks", comm->size);
}

void fsm_comm_scratch_destroy(fsm_comm *comm)
{
    free(comm->scratch);
    free(comm->even);
    comm->scratch = NULL;
    comm->even = NULL;
}

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

static float *arrived(const fsm_comm *comm, int64_t segment, int from)
{
    return comm->scratch + (segment % FSM_COMM_SLOTS * comm->size + from) * comm->segment_elems;
}

/* Receives first, and each rank begins with another neighbour, so that nobody is everybody's first. */
static fsmoe_status post_segment(const fsm_comm_op *op, int64_t segment)
{
    fsm_comm *comm = op->comm;
    int slot = (int)(segment % FSM_COMM_SLOTS);
    int64_t first, mine = piece(op, comm->rank, segment, &first);
    for (int i = 1; i < comm->size && mine > 0; i++) {
        int from = (comm->rank + i) % comm->size;
        FSM_TRY(comm->table->post_recv(comm, slot, from, arrived(comm, segment, from), mine));
    }
    for (int i = 1; i < comm->size; i++) {
        int to = (comm->rank + comm->size - i) % comm->size;
        int64_t count = piece(op, to, segment, &first);
        if (count > 0) FSM_TRY(comm->table->post_send(comm, slot, to, op->send + first, count));
    }
    return FSMOE_OK;
}

static void add(int64_t n, const float *restrict x, float *restrict sum)
{
    for (int64_t i = 0; i < n; i++) sum[i] += x[i];
}

/* In the order of ranks, a tile at a time, so that the sum stays in the cache. Where the result goes may be where this
 * rank's own part is. */
static void add_segment(const fsm_comm_op *op, int64_t segment)
{
    enum { TILE = 2048 };
    float sum[TILE];
    fsm_comm *comm = op->comm;
    int64_t first, n = piece(op, comm->rank, segment, &first);
    for (int64_t at = 0; at < n; at += TILE) {
        int64_t tile = n - at < TILE ? n - at : TILE;
        for (int r = 0; r < comm->size; r++) {
            const float *part = (r == comm->rank ? op->send + first : arrived(comm, segment, r)) + at;
            if (r == 0) memcpy(sum, part, sizeof *sum * (size_t)tile);
            else add(tile, part, sum);
        }
        memcpy(op->recv + segment * comm->segment_elems + at, sum, sizeof *sum * (size_t)tile);
    }
}

static fsmoe_status advance_reduce_scatter(fsm_comm_op *op, bool *done)
{
    int64_t segments = count_segments(op);
    for (*done = false; op->added < segments; op->added++) {
        for (; op->posted < segments && op->posted < op->added + FSM_COMM_SLOTS; op->posted++)
            FSM_TRY(post_segment(op, op->posted));
        FSM_TRY(op->comm->table->test(op->comm, (int)(op->added % FSM_COMM_SLOTS), done));
        if (!*done) return FSMOE_OK;
        add_segment(op, op->added);
    }
    *done = true;
    return FSMOE_OK;
}

fsmoe_status fsm_comm_start_reduce_scatter(fsm_comm_op *op, fsm_comm *comm, const float *send, float *recv,
                                           const int64_t *counts)
{
    *op = (fsm_comm_op){.comm = comm, .send = send, .recv = recv, .counts = counts};
    if (comm->size == 1 && counts[0] > 0 && recv != send) memmove(recv, send, sizeof *recv * (size_t)counts[0]);
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
        op->comm->even[r] = n * (r + 1) / size - n * r / size;
        if (r < op->comm->rank) first += op->comm->even[r];
    }
    op->counts = op->comm->even;
    op->send = op->recv;
    op->recv += first;
    op->left -= n;
    op->posted = op->added = 0;
    op->gathering = false;
}

static float *part_of(const fsm_comm_op *op, int64_t *n)
{
    *n = 0;
    for (int r = 0; r < op->comm->size; r++) *n += op->counts[r];
    int64_t first = 0;
    for (int r = 0; r < op->comm->rank; r++) first += op->counts[r];
    return op->recv - first;
}

static fsmoe_status advance_all_reduce(fsm_comm_op *op, bool *done)
{
    for (;;) {
        int64_t n;
        float *part = part_of(op, &n);
        if (!op->gathering) {
            FSM_TRY(advance_reduce_scatter(op, done));
            if (!*done) return FSMOE_OK;
            op->gathering = true;
            FSM_TRY(op->comm->table->start_all_gather(op->comm, op->recv, part, op->counts));
        }
        FSM_TRY(op->comm->table->test(op->comm, 0, done));
        if (!*done || op->left == 0) return FSMOE_OK;
        op->recv = part + n;
        begin_part(op, PART_ELEMS);
    }
}

fsmoe_status fsm_comm_start_all_reduce(fsm_comm_op *op, fsm_comm *comm, float *buffer, int64_t count)
{
    *op = (fsm_comm_op){.comm = comm, .recv = buffer, .left = count};
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
    return op->comm->table->start_all_gather(op->comm, op->recv, op->tree, op->tree_counts);
}

static fsmoe_status advance_tree(fsm_comm_op *op, bool *done)
{
    for (;;) {
        FSM_TRY(op->comm->table->test(op->comm, 0, done));
        if (!*done) return FSMOE_OK;
        int64_t n = op->tree_counts[0];
        add_tree(op->tree, op->comm->size, n);
        memcpy(op->recv, op->tree, sizeof *op->recv * (size_t)n);
        op->recv += n;
        op->left -= n;
        if (op->left == 0) return FSMOE_OK;
        FSM_TRY(start_tree_block(op));
    }
}

fsmoe_status fsm_comm_start_all_reduce_tree(fsm_comm_op *op, fsm_comm *comm, float *buffer, int64_t count, float *tree,
                                            int64_t *tree_counts)
{
    *op = (fsm_comm_op){.comm = comm, .recv = buffer, .left = count, .tree = tree, .tree_counts = tree_counts};
    if (comm->size == 1 || count == 0) return FSMOE_OK;
    op->advance = advance_tree;
    return start_tree_block(op);
}
