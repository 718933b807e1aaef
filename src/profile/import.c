/* Measured logs to a cluster file: the public function. */
#include "profile/import.h"

#include <fsmoe/cluster.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double flops_per_multiply_add = 2;

static fsmoe_status find_op(const char *name, int *op)
{
    for (*op = FSM_COST_ALLTOALL; *op < FSM_COST_OP_COUNT; ++*op)
        if (strcmp(name, fsm_cost_op_name((fsm_cost_op)*op)) == 0) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_CONFIG, "'%s' is none of alltoall, allgather, reducescatter, allreduce", name);
}

static fsmoe_status read_logs(const fsmoe_cluster_import_options *options, fsm_imported *imported)
{
    fsm_benchlog_hints hints = {.op = -1, .on_message = options->on_message, .user = options->user};
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) hints.ranks[op] = options->ranks;
    if (options->alltoall_ranks > 0) hints.ranks[FSM_COST_ALLTOALL] = options->alltoall_ranks;
    if (options->allgather_ranks > 0) hints.ranks[FSM_COST_ALLGATHER] = options->allgather_ranks;
    for (size_t i = 0; i < options->log_count; i++) {
        const fsmoe_cluster_log *log = &options->logs[i];
        hints.op = -1;
        if (log->op) FSM_TRY(find_op(log->op, &hints.op));
        FSM_TRY(fsm_benchlog_read(log->path, &hints, imported));
    }
    return FSMOE_OK;
}

static void warn_of_bad_fit(const fsmoe_cluster_import_options *options, fsm_cost_op op, const fsm_measured *m)
{
    static const char *const lines[] = {"one line fits", "two lines fit", "three lines fit"};
    double size, worst = fsm_measured_worst(m, &size);
    char sentence[256];
    if (!options->on_message || !fsm_fit_is_bad(m->r2, worst)) return;
    snprintf(sentence, sizeof sentence, "%s: %s badly: r2 is %.4f, and at %.12g elements the time is %.0f %% off",
             fsm_cost_op_name(op), lines[fsm_cost_line_count(&m->cost) - 1], m->r2, size, 100 * worst);
    options->on_message(options->user, sentence);
}

/* given[op]: the cluster has a cost of it. */
static fsmoe_status fit(const fsmoe_cluster_import_options *options, fsm_imported *imported, fsm_cluster *cluster,
                        bool *given)
{
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) {
        if (imported[op].count == 0) continue;
        fsm_point *points = imported[op].points;
        imported[op].points = NULL;
        FSM_TRY(fsm_cluster_fit(cluster, (fsm_cost_op)op, points, imported[op].count, FSM_COST_LINES));
        warn_of_bad_fit(options, (fsm_cost_op)op, &cluster->op[op]);
        given[op] = true;
    }
    return FSMOE_OK;
}

static fsmoe_status set_gemm(const fsmoe_cluster_import_options *options, fsm_measured *gemm, bool *given)
{
    if (options->gemm_flops == 0) return FSMOE_OK;
    if (!(options->gemm_flops > 0) || !isfinite(options->gemm_flops) || !(options->gemm_latency_s >= 0) ||
        !isfinite(options->gemm_latency_s))
        return fsm_fail(FSMOE_ERROR_CONFIG, "%g FLOP/s with a latency of %g s are no cost of a GEMM",
                        options->gemm_flops, options->gemm_latency_s);
    free(gemm->points);
    *gemm = (fsm_measured){.cost.line[0] = {options->gemm_latency_s, flops_per_multiply_add / options->gemm_flops},
                           .r2 = NAN};
    *given = true;
    return FSMOE_OK;
}

static fsmoe_status check_complete(const bool *given)
{
    if (!given[FSM_COST_GEMM])
        return fsm_fail(FSMOE_ERROR_CONFIG,
                        "nothing says what a gemm costs: give --gemm-flops, or --base with a cluster file");
    for (int op = 0; op < FSM_COST_OP_COUNT; op++)
        if (!given[op])
            return fsm_fail(FSMOE_ERROR_CONFIG,
                            "no log measures %s: add one, or --base with a cluster file that has it",
                            fsm_cost_op_name((fsm_cost_op)op));
    return FSMOE_OK;
}

fsmoe_status fsm_cluster_set_name(fsm_cluster *cluster, const char *name, const char *path)
{
    const char *slash = strrchr(path, '/'), *text = name ? name : slash ? slash + 1 : path;
    size_t length = strlen(text);
    if (!name && length > 5 && strcmp(text + length - 5, ".json") == 0) length -= 5;
    if (length >= sizeof cluster->name)
        return fsm_fail(FSMOE_ERROR_CONFIG, "the name '%s' has more than %zu bytes", text, sizeof cluster->name - 1);
    snprintf(cluster->name, sizeof cluster->name, "%.*s", (int)length, text);
    return FSMOE_OK;
}

static fsmoe_status build(const fsmoe_cluster_import_options *options, const char *out_path, fsm_imported *imported,
                          fsm_cluster *cluster)
{
    bool given[FSM_COST_OP_COUNT] = {false};
    if (options->nodes < 0 || options->ranks_per_node < 0)
        return fsm_fail(FSMOE_ERROR_CONFIG, "%d nodes with %d ranks", options->nodes, options->ranks_per_node);
    if (options->base) {
        FSM_TRY(fsm_cluster_read(options->base, cluster));
        for (int op = 0; op < FSM_COST_OP_COUNT; op++) given[op] = true;
    }
    FSM_TRY(read_logs(options, imported));
    FSM_TRY(fit(options, imported, cluster, given));
    FSM_TRY(set_gemm(options, &cluster->op[FSM_COST_GEMM], &given[FSM_COST_GEMM]));
    FSM_TRY(check_complete(given));
    if (options->name || !cluster->name[0]) FSM_TRY(fsm_cluster_set_name(cluster, options->name, out_path));
    if (options->nodes > 0) cluster->nodes = options->nodes;
    if (options->ranks_per_node > 0) cluster->ranks_per_node = options->ranks_per_node;
    return fsm_cluster_write(cluster, out_path);
}

fsmoe_status fsmoe_cluster_import(const fsmoe_cluster_import_options *options, const char *out_path)
{
    fsm_cluster cluster = {0};
    fsm_imported imported[FSM_COST_OP_COUNT] = {0};
    fsmoe_status status = build(options, out_path, imported, &cluster);
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) free(imported[op].points);
    fsm_cluster_destroy(&cluster);
    return status;
}
