/* The paper's 1458 layers (its section 6) under every schedule: <fsmoe/plan.h>. A layer is one generalised layer of a
 * long model: attention, MoE, and the all-reduce of the layer before, whose gradient is as large as its own. */
#include "plan/paper_layers.h"
#include "plan/plan.h"

#include <fsmoe/plan.h>

#include <math.h>
#include <stdio.h>
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

static fsmoe_status plan_all(void *object, const fsm_cluster *cluster, FILE *csv)
{
    grid *g = object;
    g->cluster = cluster;
    g->csv = csv;
    fprintf(csv, "batch,heads,seq_len,hidden,ffn_hidden,capacity_factor,expert,schedule,forward_degree,backward_degree,"
                 "forward_ms,backward_ms,step_ms,lower_bound_ms\n");
    for (int i = 0; i < FSM_PAPER_LAYERS; i++) FSM_TRY(plan_layer(g, fsm_paper_layer(i, cluster)));
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

static void print_summary(const void *object, const fsm_cluster *cluster, FILE *out)
{
    const grid *g = object;
    double log_tutel = 0;
    bool b = cluster->ranks_per_node == 4;
    for (int i = 0; fsm_schedules[i]; i++)
        if (fsm_schedules[i] == &fsm_schedule_tutel) log_tutel = g->totals[i].log_step;
    fprintf(out, "%d layers on cluster '%s' (%d nodes of %d ranks), geometric means\n", g->layers, cluster->name,
            cluster->nodes, cluster->ranks_per_node);
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

fsmoe_status fsmoe_plan_paper_grid(const char *cluster_path, const char *csv_path, char **summary)
{
    static const fsm_paper_table table = {plan_all, print_summary};
    grid g = {0};
    return fsm_paper_write(&table, &g, cluster_path, csv_path, summary);
}
