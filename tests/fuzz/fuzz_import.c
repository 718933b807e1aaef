/* Logs of nccl-tests and of the OSU micro-benchmarks: points that can be fitted make a cluster that can be written. */
#include "fuzz.h"
#include "profile/import.h"

#include <math.h>

/* What was imported becomes one op of a cluster; the points are the cluster's, or gone. */
static void fit(fsm_cluster *cluster, fsm_cost_op op, fsm_imported *imported)
{
    for (int i = 0; i < imported->count; i++)
        FUZZ_CLAIM(imported->points[i].size >= 0 && imported->points[i].time_s > 0);
    fsmoe_status status = fsm_cluster_fit(cluster, op, imported->points, imported->count, FSM_COST_LINES);
    imported->points = NULL;
    FUZZ_CLAIM(status == FSMOE_OK || status == FSMOE_ERROR_NUMERIC || status == FSMOE_ERROR_FORMAT ||
               status == FSMOE_ERROR_CONFIG);
    const fsm_cost *cost = &cluster->op[op].cost;
    if (status == FSMOE_OK) FUZZ_CLAIM(cost->line[0].alpha_s >= 0 && cost->line[0].beta_s >= 0);
}

static void claim_readable(const fsm_cluster *cluster)
{
    fsm_cluster back;
    char *text;
    FUZZ_CLAIM(fsm_cluster_to_json(cluster, &text) == FSMOE_OK);
    FUZZ_CLAIM(fsm_cluster_from_json(text, "again", &back) == FSMOE_OK);
    free(text);
    fsm_cluster_destroy(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fsm_cluster cluster = {0};
    fsm_imported imported[FSM_COST_OP_COUNT] = {0};
    fsm_benchlog_hints hints = {.op = fuzz_take(&data, &size) % FSM_COST_OP_COUNT};
    if (hints.op == FSM_COST_GEMM) hints.op = -1;
    int ranks = fuzz_take(&data, &size);
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) hints.ranks[op] = ranks;
    fsmoe_status status = fsm_benchlog_read(fuzz_file(0, data, size), &hints, imported);
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) {
        if (status == FSMOE_OK && imported[op].count > 0) fit(&cluster, (fsm_cost_op)op, &imported[op]);
        free(imported[op].points);
    }
    if (status == FSMOE_OK) claim_readable(&cluster);
    fsm_cluster_destroy(&cluster);
    return 0;
}
