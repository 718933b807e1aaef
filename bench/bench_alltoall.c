/* All-to-alls of equal blocks between all ranks, in turns: direct, 1dh, 2dh; and direct with rows as bfloat16, packed
 * and unpacked by wire_bf16, as a dispatch is. Milliseconds of the slowest rank, medians of ROUNDS. Over nodes, or a
 * virtual cluster whose ranks know how many of them make a node:
 *   scripts/vcluster run build/bench/bench_alltoall
 */
#include "base/clock.h"
#include "comm/world.h"
#include "config/config.h"
#include "moe/dispatch/alltoall.h"
#include "moe/hook/hook.h"
#include "profile/measure.h"
#include "train/place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 15, HIDDEN = 256, MOST_ROWS = 1024, KINDS = 3, WAYS = KINDS + 1, MOST_RANKS = 64 };

static const char *const kinds[KINDS] = {"direct", "1dh", "2dh"};
static const int64_t rows_of_pair[] = {1, 4, 16, 64, 256, MOST_ROWS};

typedef struct bench {
    fsm_comm *comm;
    fsm_topo topo;
    fsm_memory memory;
    fsm_alltoall alltoall[KINDS];
    float *send, *recv;
    int64_t counts[MOST_RANKS];
} bench;

static int64_t between(const void *user, int from, int to)
{
    (void)from, (void)to;
    return *(const int64_t *)user;
}

static void take(bench *b, fsm_memory *memory)
{
    int64_t pair = MOST_ROWS * HIDDEN, rank = pair * b->comm->size;
    b->send = fsm_take_reals(memory, rank);
    b->recv = fsm_take_reals(memory, rank);
    for (int k = 0; k < KINDS; k++) fsm_alltoall_take(memory, FSM_COMM_FP32, rank, pair, &b->alltoall[k]);
}

static fsmoe_status prepare(bench *b)
{
    fsmoe_config *config;
    fsm_memory measure = fsm_memory_measure(FSM_REAL_BYTES);
    FSM_TRY(fsmoe_config_create(&config));
    config->parallel.ep_size = b->comm->size;
    fsmoe_status status = b->comm->size > MOST_RANKS ? fsm_fail(FSMOE_ERROR_CONFIG, "at most %d ranks", MOST_RANKS)
                                                     : fsm_place(config, b->comm, &b->topo);
    fsmoe_config_destroy(config);
    for (int k = 0; status == FSMOE_OK && k < KINDS; k++)
        status = fsm_alltoall_select(kinds[k], &b->topo, b->comm, &b->alltoall[k]);
    if (status != FSMOE_OK) return status;
    take(b, &measure);
    FSM_TRY(fsm_memory_create(&measure, &b->memory));
    take(b, &b->memory);
    for (int64_t i = 0; i < MOST_ROWS * HIDDEN * b->comm->size; i++) b->send[i] = (float)i;
    return FSMOE_OK;
}

static fsmoe_status exchange(bench *b, int kind, int64_t pair_elems)
{
    fsm_comm_op op;
    for (int r = 0; r < b->comm->size; r++) b->counts[r] = pair_elems;
    const fsm_alltoall_counts counts = {.send = b->counts,
                                        .recv = b->counts,
                                        .between = between,
                                        .user = &b->counts[0]};
    FSM_TRY(fsm_alltoall_start(&b->alltoall[kind], &op, FSM_COMM_FP32, b->send, b->recv, &counts));
    return fsm_comm_finish(&op);
}

static fsmoe_status exchange_packed(bench *b, int64_t pair_rows)
{
    fsm_hook_call call = {.point = FSM_HOOK_BEFORE_DISPATCH,
                          .rows = pair_rows * b->comm->size,
                          .hidden = HIDDEN,
                          .width = HIDDEN};
    call.data = b->send;
    fsm_hook_wire_bf16.call(NULL, &call);
    FSM_TRY(exchange(b, 0, pair_rows * call.width));
    call.point = FSM_HOOK_AFTER_DISPATCH;
    call.data = b->recv;
    fsm_hook_wire_bf16.call(NULL, &call);
    return FSMOE_OK;
}

/* The slowest rank's time. */
static fsmoe_status time_way(bench *b, int way, int64_t pair_rows, double *seconds)
{
    double times[MOST_RANKS] = {0};
    FSM_TRY(b->comm->control->barrier(b->comm));
    double start = fsm_clock_s();
    FSM_TRY(way < KINDS ? exchange(b, way, pair_rows * HIDDEN) : exchange_packed(b, pair_rows));
    times[b->comm->rank] = fsm_clock_s() - start;
    FSM_TRY(fsm_comm_all_reduce_double(b->comm, times, b->comm->size));
    *seconds = 0;
    for (int r = 0; r < b->comm->size; r++) *seconds = times[r] > *seconds ? times[r] : *seconds;
    return FSMOE_OK;
}

static fsmoe_status run_rows(bench *b, int64_t pair_rows)
{
    double seconds[WAYS][ROUNDS];
    for (int i = -1; i < ROUNDS; i++) /* the first warms up */
        for (int w = 0; w < WAYS; w++) FSM_TRY(time_way(b, w, pair_rows, &seconds[w][i < 0 ? 0 : i]));
    if (b->comm->rank != 0) return FSMOE_OK;
    printf("%10lld", (long long)(pair_rows * HIDDEN * (int64_t)sizeof(float)));
    double direct = fsm_median(seconds[0], ROUNDS);
    for (int w = 0; w < WAYS; w++) {
        double median = w == 0 ? direct : fsm_median(seconds[w], ROUNDS);
        printf("  %9.3f (%4.2f)", 1e3 * median, median / direct);
    }
    printf("\n");
    return FSMOE_OK;
}

int main(void)
{
    static bench b;
    fsmoe_world *world;
    fsmoe_status status = fsmoe_world_create(&world);
    if (status == FSMOE_OK) {
        b.comm = world->comm;
        status = prepare(&b);
    }
    if (status == FSMOE_OK && b.comm->rank == 0)
        printf("%d nodes x %d ranks, ms (times direct's)\n%10s  %16s  %16s  %16s  %16s\n", b.topo.nodes,
               b.comm->size / b.topo.nodes, "bytes/pair", "direct", "1dh", "2dh", "direct, bf16");
    for (size_t i = 0; status == FSMOE_OK && i < sizeof rows_of_pair / sizeof *rows_of_pair; i++)
        status = run_rows(&b, rows_of_pair[i]);
    if (status != FSMOE_OK) fprintf(stderr, "bench_alltoall: %s\n", fsmoe_last_error());
    fsm_memory_destroy(&b.memory);
    if (world) fsmoe_world_destroy(world);
    return status == FSMOE_OK ? 0 : 1;
}
