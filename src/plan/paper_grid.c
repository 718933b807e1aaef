/* The paper's 1458 layers (its section 6) under every schedule: <fsmoe/plan.h>. A layer is one generalised layer of a
 * long model: attention, MoE, and the all-reduce of the layer before, whose gradient is as large as its own. */
#include "base/print.h"
#include "plan/paper_layers.h"
#include "plan/plan.h"

#include <fsmoe/plan.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SCHEDULES = 16 };

typedef struct totals {
    double log_step, worst_gap;
    int different_degrees;
} totals;

typedef struct grid {
    const fsm_cluster *cluster;
    FILE *csv;
    totals totals[MOST_SCHEDULES];
    double log_tutel;
    int layers;
} grid;

static void print_row(grid *g, const fsm_layer_sizes *s, const char *schedule, const fsm_window_plan plan[2])
{
    fprintf(g->csv, "%lld,%lld,%lld,%lld,%lld,%g,%s,%s,%d,%d,%.9g,%.9g,%.9g,%.9g\n", (long long)s->batch,
            (long long)s->heads, (long long)s->seq_len, (long long)s->hidden, (long long)s->ffn_hidden,
            s->capacity_factor, fsm_paper_expert_name(s), schedule, plan[0].degree, plan[1].degree,
            1e3 * plan[0].makespan_s, 1e3 * plan[1].makespan_s, 1e3 * (plan[0].makespan_s + plan[1].makespan_s),
            1e3 * (plan[0].bound_s + plan[1].bound_s));
}

static fsmoe_status plan_layer(grid *g, fsm_layer_sizes sizes)
{
    fsm_window windows[2];
    for (int phase = 0; phase < 2; phase++) {
        windows[phase] = fsm_window_of_sizes(&sizes, g->cluster, (fsm_phase)phase);
        fsm_window_add_attention(&sizes, g->cluster, (fsm_phase)phase, &windows[phase]);
    }
    for (int i = 0; fsm_schedules[i]; i++) {
        fsm_window_plan plan[2];
        totals *t = &g->totals[i];
        if (!fsm_schedules[i]->plan_layer) continue;
        FSM_TRY(fsm_schedules[i]->plan_layer(windows, plan));
        print_row(g, &sizes, fsm_schedules[i]->name, plan);
        t->log_step += log(plan[0].makespan_s + plan[1].makespan_s);
        t->different_degrees += plan[0].degree != plan[1].degree;
        for (int phase = 0; phase < 2; phase++)
            t->worst_gap = fmax(t->worst_gap, fsm_gap(plan[phase].makespan_s, plan[phase].bound_s));
    }
    g->layers++;
    return FSMOE_OK;
}

static fsmoe_status plan_all(grid *g)
{
    fprintf(g->csv,
            "batch,heads,seq_len,hidden,ffn_hidden,capacity_factor,expert,schedule,forward_degree,backward_degree,"
            "forward_ms,backward_ms,step_ms,lower_bound_ms\n");
    for (int i = 0; i < FSM_PAPER_LAYERS; i++) FSM_TRY(plan_layer(g, fsm_paper_layer(i, g->cluster)));
    return FSMOE_OK;
}

/* What the paper measured over Tutel, on its clusters A and B; 0: it gives none. */
static double papers_figure(const char *schedule, bool b)
{
    static const struct {
        const char *schedule;
        double figure[2];
    } figures[] = {{"tutel-improved", {1.09, 1.08}}, {"fsmoe-no-iio", {1.12, 1.16}}, {"fsmoe", {1.18, 1.22}}};
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        if (strcmp(figures[i].schedule, schedule) == 0) return figures[i].figure[b];
    return 0;
}

static void print_summary(const grid *g, FILE *out)
{
    double log_tutel = 0;
    bool b = g->cluster->ranks_per_node == 4;
    for (int i = 0; fsm_schedules[i]; i++)
        if (fsm_schedules[i] == &fsm_schedule_tutel) log_tutel = g->totals[i].log_step;
    fprintf(out, "%d layers on cluster '%s' (%d nodes of %d ranks), geometric means\n", g->layers, g->cluster->name,
            g->cluster->nodes, g->cluster->ranks_per_node);
    fprintf(out, "%-15s %12s %12s %18s %10s\n", "schedule", "over tutel", "paper's", "degrees differ", "worst gap");
    for (int i = 0; fsm_schedules[i]; i++) {
        const totals *t = &g->totals[i];
        if (!fsm_schedules[i]->plan_layer) continue;
        double paper = papers_figure(fsm_schedules[i]->name, b);
        char figure[16] = "-";
        if (paper > 0) snprintf(figure, sizeof figure, "%.2fx", paper);
        fprintf(out, "%-15s %11.3fx %12s %18d %9.3f%%\n", fsm_schedules[i]->name,
                exp((log_tutel - t->log_step) / g->layers), figure, t->different_degrees, 100 * t->worst_gap);
    }
    if (b) fprintf(out, "the paper finds different degrees forward and backward in 912 layers of its cluster B\n");
}

static fsmoe_status make(grid *g, const char *csv_path, char **summary)
{
    fsm_print csv, text;
    FSM_TRY(fsm_print_begin(&csv));
    g->csv = csv.out;
    FSM_TRY(fsm_print_write(&csv, plan_all(g), csv_path));
    FSM_TRY(fsm_print_begin(&text));
    print_summary(g, text.out);
    return fsm_print_end(&text, FSMOE_OK, "the summary", summary);
}

fsmoe_status fsmoe_plan_paper_grid(const char *cluster_path, const char *csv_path, char **summary)
{
    fsm_cluster cluster;
    FSM_TRY(fsm_cluster_read(cluster_path, &cluster));
    grid g = {.cluster = &cluster};
    fsmoe_status status = FSMOE_OK;
    if (cluster.nodes < 1 || cluster.ranks_per_node < 1)
        status = fsm_fail(FSMOE_ERROR_CONFIG, "'%s' does not give nodes and ranks_per_node", cluster_path);
    if (status == FSMOE_OK) status = make(&g, csv_path, summary);
    fsm_cluster_destroy(&cluster);
    return status;
}
