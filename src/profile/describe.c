/* A cluster file as a table for people. */
#include "base/print.h"
#include "profile/cluster.h"

#include <fsmoe/cluster.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { CELL_BYTES = 32 };

/* What beta means at sizes where alpha no longer counts. */
static void print_rate(char cell[CELL_BYTES], fsm_cost_op op, double beta_s)
{
    bool gemm = op == FSM_COST_GEMM;
    double rate = (gemm ? 2 : 4) / beta_s * 1e-9; /* FLOPs of a multiply-add, bytes of an element */
    if (beta_s > 0) snprintf(cell, CELL_BYTES, rate < 1000 ? "%.4g %s" : "%.0f %s", rate, gemm ? "GFLOP/s" : "GB/s");
    else snprintf(cell, CELL_BYTES, "-");
}

static void print_worst(char cell[CELL_BYTES], const fsm_measured *m)
{
    double size, worst = fsm_measured_worst(m, &size);
    if (m->point_count > 0) snprintf(cell, CELL_BYTES, "%.1f %%", 100 * worst);
    else snprintf(cell, CELL_BYTES, "-");
}

static void print_line(FILE *out, const char *name, fsm_cost_op op, fsm_line line)
{
    char rate[CELL_BYTES];
    print_rate(rate, op, line.beta_s);
    fprintf(out, "%-18s %11.4g %11.4g %17s", name, line.alpha_s * 1e6, line.beta_s * 1e9, rate);
}

static void print_op(FILE *out, fsm_cost_op op, const fsm_measured *m)
{
    char worst[CELL_BYTES], from[CELL_BYTES], r2[CELL_BYTES] = "-", points[CELL_BYTES] = "-";
    print_worst(worst, m);
    if (!isnan(m->r2)) snprintf(r2, sizeof r2, "%.6f", m->r2);
    if (m->point_count > 0) snprintf(points, sizeof points, "%d", m->point_count);
    print_line(out, fsm_cost_op_name(op), op, m->cost.line[0]);
    fprintf(out, " %9s %7s %9s\n", r2, points, worst);
    for (int i = 1; i < fsm_cost_line_count(&m->cost); i++) {
        snprintf(from, sizeof from, " n >= %.12g", fsm_cost_line_from(&m->cost, i));
        print_line(out, from, op, m->cost.line[i]);
        fputc('\n', out);
    }
}

static void print_task(FILE *out, const fsm_task_cost *task, bool first)
{
    char alpha[CELL_BYTES] = "-", beta[CELL_BYTES] = "-", overlap[CELL_BYTES] = "-";
    fsm_line line = task->cost.line[0];
    if (first) fprintf(out, "%-26s %11s %11s %11s\n", "task", "alpha (us)", "beta (ns)", "overlap");
    if (task->own) snprintf(alpha, sizeof alpha, "%.4g", line.alpha_s * 1e6);
    if (task->own) snprintf(beta, sizeof beta, "%.4g", line.beta_s * 1e9);
    if (task->overlap > 0) snprintf(overlap, sizeof overlap, "%.2fx", task->overlap);
    fprintf(out, "%-26s %11s %11s %11s\n", task->task, alpha, beta, overlap);
}

static void print_cluster(FILE *out, const fsm_cluster *cluster)
{
    fprintf(out, "%s", cluster->name[0] ? cluster->name : "-");
    if (cluster->nodes > 0) fprintf(out, ", %d node%s", cluster->nodes, cluster->nodes == 1 ? "" : "s");
    if (cluster->ranks_per_node > 0)
        fprintf(out, ", %d rank%s per node", cluster->ranks_per_node, cluster->ranks_per_node == 1 ? "" : "s");
    if (cluster->ep_size > 0) fprintf(out, ", EP %d", cluster->ep_size);
    if (cluster->esp_size > 0) fprintf(out, ", ESP %d", cluster->esp_size);
    if (cluster->mp_size > 0) fprintf(out, ", MP %d", cluster->mp_size);
    if (cluster->machine[0]) fprintf(out, ", %s", cluster->machine);
    if (cluster->date[0]) fprintf(out, ", %s", cluster->date);
    fprintf(out, "\n%-18s %11s %11s %17s %9s %7s %9s\n", "op", "alpha (us)", "beta (ns)", "rate", "r2", "points",
            "worst");
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) print_op(out, (fsm_cost_op)op, &cluster->op[op]);
    for (int i = 0; i < cluster->task_count; i++) print_task(out, &cluster->tasks[i], i == 0);
}

fsmoe_status fsmoe_cluster_describe(const char *path, char **text)
{
    fsm_cluster cluster;
    fsm_print print;
    *text = NULL;
    FSM_TRY(fsm_cluster_read(path, &cluster));
    fsmoe_status status = fsm_print_begin(&print);
    if (status == FSMOE_OK) {
        print_cluster(print.out, &cluster);
        status = fsm_print_end(&print, status, path, text);
    }
    fsm_cluster_destroy(&cluster);
    return status;
}
