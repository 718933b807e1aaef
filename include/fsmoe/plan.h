/* Plans: how a training step is cut and overlapped on a cluster, how long it will take, and how near that is to the
 * best.
 * In:  a configuration (or one layer), a cluster file, a schedule.
 * Out: the step's task graph with predicted times and a certificate; tables, plan files, pictures. Nothing is run and
 *      no value is allocated: a plan for a thousand GPUs is made on a laptop.
 * Times are seconds. Calls on different plans may run on different threads.
 */
#ifndef FSMOE_PLAN_H
#define FSMOE_PLAN_H

#include <fsmoe/config.h>

typedef struct fsmoe_plan fsmoe_plan;

typedef struct fsmoe_plan_options {
    const char *cluster; /* cluster file (<fsmoe/cluster.h>) */
    int nodes;           /* 0: parallel.nodes, else the cluster file's */
    int ranks_per_node;  /* 0: likewise */
    bool paper;          /* schedule fsmoe chooses degrees as the paper does, not by exact search */
} fsmoe_plan_options;

/* Names of the schedules from the plainest on; NULL after the last. */
FSMOE_API const char *fsmoe_schedule_name(int index);

/* The step of the configuration, which is completed in place, under one schedule. Destroy the plan (NULL is fine).
 * ERROR_CONFIG, ERROR_LAYOUT: the configuration, an unknown schedule; ERROR_IO, ERROR_FORMAT: the cluster file;
 * ERROR_NUMERIC: costs that are not finite; ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_plan_create(fsmoe_config *config, const fsmoe_plan_options *options, const char *schedule,
                                         fsmoe_plan **plan);
FSMOE_API void fsmoe_plan_destroy(fsmoe_plan *plan);

/* A plan file holds all that is needed to check, simulate and draw it. ERROR_IO, ERROR_FORMAT, ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_plan_write(const fsmoe_plan *plan, const char *path);
FSMOE_API fsmoe_status fsmoe_plan_read(const char *path, fsmoe_plan **plan);

/* Verifies everything that the plan claims, independently of who made it: dependencies, no overlap on a resource,
 * every gradient element sent once and not before it is there, costs, makespan and bounds. ERROR_FORMAT names the
 * task and what is wrong. */
FSMOE_API fsmoe_status fsmoe_plan_check(const fsmoe_plan *plan);

typedef struct fsmoe_plan_summary {
    const char *schedule; /* owned by the plan */
    double step_s;        /* predicted */
    double lower_bound_s; /* no plan with this schedule's freedom is faster, whatever degrees, order and pieces */
    double gap;           /* step_s / lower_bound_s - 1 */
    const char *binding;  /* what the bound rests on: "path", "compute", "intra" or "inter"; static */
    double order_bound_s; /* no order of these very tasks is faster */
    int layers, moe_layers, tasks;
    int allreduces;   /* gradient pieces */
    double busy[3];   /* share of the step that compute, the intra-node and the inter-node link work */
    double load_s[3]; /* what each has to do in the plain step: every layer in one piece, nothing beside anything */
    double step_over_load; /* step_s over the largest of them; 0: there is nothing to do */
    int lanes, parts;      /* passes at once (1: one after the other), and how many of them share a micro-batch */
    int64_t memory_bytes;  /* a rank takes with these lanes; 0: a plan file that does not say */
    int ranks, nodes;      /* it was planned for; 0: read from a file */
    int cluster_ranks, cluster_nodes; /* that the costs were measured on; 0: not known */
    const char *other_layout; /* "the costs are of …, the plan is for …"; NULL: as far as known, both are the
                                       * same; owned by the plan */
} fsmoe_plan_summary;

FSMOE_API void fsmoe_plan_summarize(const fsmoe_plan *plan, fsmoe_plan_summary *summary);

/* Chunks of a layer forward and backward; 0 for a layer without experts. */
FSMOE_API void fsmoe_plan_degrees(const fsmoe_plan *plan, int layer, int *forward, int *backward);

/* Summary and degrees as a JSON object. *text is malloc'd. ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_plan_to_json(const fsmoe_plan *plan, char **text);

/* Why this plan. Of one lane: for both directions the chosen degree and its neighbours, what each takes and what binds
 * it. Of every plan: what each resource has to do and what it waits for. Where there may be lanes: what one lane or one
 * chunk more or less would cost. *text is malloc'd. ERROR_MEMORY, ERROR_NUMERIC. */
FSMOE_API fsmoe_status fsmoe_plan_explain(const fsmoe_plan *plan, char **text);

/* Ranks that are alike; factors say how much longer than planned their tasks take. A class is made of whole nodes. */
typedef struct fsmoe_rank_class {
    const char *name;
    int64_t ranks;
    double compute, intra, inter; /* > 0; 1: as planned */
} fsmoe_rank_class;

/* The plan's graph on a virtual clock, with such ranks: in order, or on each resource first what is ready and was
 * issued first. The plan's times become those simulated. makespan_s [n_classes] or NULL: when each class is done. No
 * class: all ranks as planned. ERROR_CONFIG: a factor or number of ranks that is not positive, classes together with
 * by_priority. */
FSMOE_API fsmoe_status fsmoe_plan_simulate(fsmoe_plan *plan, const fsmoe_rank_class *classes, int n_classes,
                                           bool by_priority, double *makespan_s);

/* A Gantt picture (SVG, one file), and a Chrome trace (JSON, for Perfetto), of the plan's times. ERROR_IO,
 * ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_plan_draw(const fsmoe_plan *plan, const char *path);
FSMOE_API fsmoe_status fsmoe_plan_trace(const fsmoe_plan *plan, const char *path);

/* ---- one layer ---- */

typedef struct fsmoe_layer_direction {
    int degree;
    double makespan_s;
    double lower_bound_s; /* no degree and no order is faster */
    double gap;           /* makespan_s / lower_bound_s - 1 */
    const char *binding;  /* "inter", "intra", "compute", "path", or "stream" where links share one; static */
} fsmoe_layer_direction;

typedef struct fsmoe_layer_plan {
    fsmoe_layer_direction forward, backward;
} fsmoe_layer_plan;

/* The MoE layer alone (docs/planner.md) that a YAML file of flat keys describes: batch, seq_len, hidden, ffn_hidden,
 * heads (which no cost depends on), top_k, capacity_factor (0: sized as if 2.0), expert (gpt, mixtral), esp_size,
 * num_experts, allreduce_elems (gradient that backward may send). explanation: NULL, or *explanation becomes a malloc'd
 * text as of fsmoe_plan_explain. Errors as above. */
FSMOE_API fsmoe_status fsmoe_plan_layer(const char *layer_path, const char *cluster_path, const char *schedule,
                                        fsmoe_layer_plan *plan, char **explanation);

/* ---- the paper's grid ---- */

/* Its 1458 layers under every schedule, as CSV; *summary (malloc'd): geometric means over tutel, degrees, gaps,
 * beside the paper's figures. The cluster file must give ranks_per_node: 4 takes the sequence lengths of the paper's
 * cluster B, else A's. ERROR_IO, ERROR_FORMAT, ERROR_CONFIG, ERROR_MEMORY. */
FSMOE_API fsmoe_status fsmoe_plan_paper_grid(const char *cluster_path, const char *csv_path, char **summary);

/* Each of those layers stacked twice and planned as a whole training step. The same files and errors. */
FSMOE_API fsmoe_status fsmoe_plan_stacked_grid(const char *cluster_path, const char *csv_path, char **summary);

#endif
