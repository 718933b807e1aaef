/* The paper's layers once more, each stacked twice and planned as a whole training step: <fsmoe/plan.h>. */
#include "plan/model_step.h"
#include "plan/paper_layers.h"
#include "plan/plan.h"

#include <fsmoe/plan.h>

#include <math.h>
#include <stdio.h>

enum { MOST_SCHEDULES = 16, SETTING_BYTES = 64 };

typedef struct grid {
    const fsm_cluster *cluster;
    FILE *csv;
    double log_step[MOST_SCHEDULES], worst_gap[MOST_SCHEDULES];
    int worse_than_x, layers;
} grid;

/* A model of two such layers, whose vocabulary is so small that its ends hardly count. Dropless rows are what they are
 * here: f is 1. */
static fsmoe_status configure(const fsm_layer_sizes *s, const fsm_cluster *cluster, fsmoe_config *config)
{
    int64_t groups = cluster->nodes; /* MP is a node */
    const struct {
        const char *key;
        double value;
    } keys[] = {{"model.num_layers", 2},
                {"model.vocab_size", 256},
                {"model.hidden", (double)s->hidden},
                {"model.ffn_hidden", (double)s->ffn_hidden},
                {"model.num_heads", (double)s->heads},
                {"data.seq_len", (double)s->seq_len},
                {"train.global_batch", (double)(s->batch * groups)},
                {"moe.num_experts", (double)s->num_experts},
                {"moe.top_k", (double)s->top_k},
                {"moe.capacity_factor", s->capacity_factor},
                {"moe.capacity_group", s->capacity_factor > 0 ? 256 : 0},
                {"parallel.ep_size", (double)cluster->nodes},
                {"parallel.esp_size", (double)cluster->ranks_per_node},
                {"parallel.mp_size", (double)cluster->ranks_per_node}};
    char setting[SETTING_BYTES];
    FSM_TRY(fsmoe_config_set(config, s->gated ? "model.family=mixtral" : "model.family=gpt2"));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(setting, sizeof setting, "%s=%.10g", keys[i].key, keys[i].value);
        FSM_TRY(fsmoe_config_set(config, setting));
    }
    return FSMOE_OK;
}

static fsmoe_status shape_of(const fsm_layer_sizes *sizes, const fsm_cluster *cluster, fsm_step_shape *shape)
{
    fsmoe_config *config;
    FSM_TRY(fsmoe_config_create(&config));
    fsmoe_status status = configure(sizes, cluster, config);
    if (status == FSMOE_OK) status = fsm_step_of_config(config, cluster->nodes, cluster->ranks_per_node, shape);
    fsmoe_config_destroy(config);
    return status;
}

static fsmoe_status plan_step(grid *g, const fsm_layer_sizes *s, int schedule, double *step_s)
{
    fsm_step_shape shape;
    fsm_plan plan;
    const fsm_schedule *of = fsm_schedules[schedule];
    FSM_TRY(shape_of(s, g->cluster, &shape));
    FSM_TRY(fsm_plan_create(&shape, g->cluster, of, &plan));
    *step_s = plan.certificate.makespan_s;
    double bound_s = plan.certificate.bound.seconds;
    g->log_step[schedule] += log(*step_s);
    g->worst_gap[schedule] = fmax(g->worst_gap[schedule], fsm_gap(*step_s, bound_s));
    fprintf(g->csv, "%lld,%lld,%lld,%lld,%g,%s,%s,%d,%d,%d,%.9g,%.9g\n", (long long)s->batch, (long long)s->seq_len,
            (long long)s->hidden, (long long)s->ffn_hidden, s->capacity_factor, fsm_paper_expert_name(s), of->name,
            fsm_graph_lanes(&plan.graph), plan.degree[0][0], plan.degree[0][1], 1e3 * *step_s, 1e3 * bound_s);
    fsm_plan_destroy(&plan);
    return FSMOE_OK;
}

static fsmoe_status plan_layer(grid *g, const fsm_layer_sizes *s)
{
    double x_s = 0, lanes_s = 0;
    for (int i = 0; fsm_schedules[i]; i++) {
        double step_s;
        FSM_TRY(plan_step(g, s, i, &step_s));
        if (fsm_schedules[i] == &fsm_schedule_fsmoe_x) x_s = step_s;
        if (fsm_schedules[i] == &fsm_schedule_fsmoe_lanes) lanes_s = step_s;
    }
    g->layers++;
    g->worse_than_x += lanes_s > x_s * (1 + 1e-12);
    return FSMOE_OK;
}

/* The number of heads is part of no cost: layers that differ in it alone are planned once. */
static fsmoe_status plan_all(void *object, const fsm_cluster *cluster, FILE *csv)
{
    grid *g = object;
    g->cluster = cluster;
    g->csv = csv;
    fprintf(csv, "batch,seq_len,hidden,ffn_hidden,capacity_factor,expert,schedule,lanes,forward_degree,"
                 "backward_degree,step_ms,lower_bound_ms\n");
    for (int i = 0; i < FSM_PAPER_LAYERS; i++) {
        fsm_layer_sizes sizes = fsm_paper_layer(i, cluster);
        if (sizes.heads == fsm_paper_layer(0, cluster).heads) FSM_TRY(plan_layer(g, &sizes));
    }
    return FSMOE_OK;
}

static void print_summary(const void *object, const fsm_cluster *cluster, FILE *out)
{
    const grid *g = object;
    double log_tutel = 0;
    for (int i = 0; fsm_schedules[i]; i++)
        if (fsm_schedules[i] == &fsm_schedule_tutel) log_tutel = g->log_step[i];
    fprintf(out, "%d layers, %d of them different, stacked twice, on cluster '%s' (%d nodes of %d ranks)\n",
            FSM_PAPER_LAYERS, g->layers, cluster->name, cluster->nodes, cluster->ranks_per_node);
    fprintf(out, "%-17s %12s %10s\n", "schedule", "over tutel", "worst gap");
    for (int i = 0; fsm_schedules[i]; i++)
        fprintf(out, "%-17s %11.3fx %9.3f%%\n", fsm_schedules[i]->name, exp((log_tutel - g->log_step[i]) / g->layers),
                100 * g->worst_gap[i]);
    fprintf(out, "fsmoe-lanes is slower than fsmoe-x in %d\n", g->worse_than_x);
}

fsmoe_status fsmoe_plan_stacked_grid(const char *cluster_path, const char *csv_path, char **summary)
{
    static const fsm_paper_table table = {plan_all, print_summary};
    grid g = {0};
    return fsm_paper_write(&table, &g, cluster_path, csv_path, summary);
}
