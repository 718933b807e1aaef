/* Cluster files: what was read, written out again, reads back to the same but for the rounding of units. */
#include "json_mutator.h"
#include "plan/cost.h"
#include "profile/cluster.h"

#include <fsmoe/cluster.h>
#include <math.h>

/* Seconds go through milliseconds: 1 ulp each way, or the last bit of what is too small to be rounded so. */
static bool near(double a, double b)
{
    return (isnan(a) && isnan(b)) || fabs(a - b) <= 5e-16 * fabs(a) + 1e-320;
}

static void claim_same_cost(const fsm_cost *a, const fsm_cost *b)
{
    for (int i = 0; i < 1 + (a->large_from > 0); i++)
        FUZZ_CLAIM(near(a->line[i].alpha_s, b->line[i].alpha_s) && near(a->line[i].beta_s, b->line[i].beta_s));
    FUZZ_CLAIM(a->large_from == b->large_from);
}

static void claim_same(const fsm_cluster *a, const fsm_cluster *b)
{
    FUZZ_CLAIM(strcmp(a->name, b->name) == 0 && strcmp(a->machine, b->machine) == 0 && strcmp(a->date, b->date) == 0);
    FUZZ_CLAIM(a->nodes == b->nodes && a->ranks_per_node == b->ranks_per_node && a->task_count == b->task_count);
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) {
        const fsm_measured *x = &a->op[op], *y = &b->op[op];
        claim_same_cost(&x->cost, &y->cost);
        FUZZ_CLAIM(x->point_count == y->point_count && (x->r2 == y->r2 || (isnan(x->r2) && isnan(y->r2))));
        for (int i = 0; i < x->point_count; i++)
            FUZZ_CLAIM(x->points[i].size == y->points[i].size && near(x->points[i].time_s, y->points[i].time_s));
    }
    for (int i = 0; i < a->task_count; i++) {
        const fsm_task_cost *x = &a->tasks[i], *y = &b->tasks[i];
        FUZZ_CLAIM(strcmp(x->task, y->task) == 0 && x->own == y->own && x->overlap == y->overlap);
        if (x->own) claim_same_cost(&x->cost, &y->cost);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fsm_cluster cluster, back;
    char *text, *description;
    const char *path = fuzz_file(0, data, size);
    if (fsm_cluster_read(path, &cluster) != FSMOE_OK) return 0;
    fsm_cost_check_tasks(&cluster);
    FUZZ_CLAIM(fsm_cluster_to_json(&cluster, &text) == FSMOE_OK);
    FUZZ_CLAIM(fsm_cluster_from_json(text, "again", &back) == FSMOE_OK);
    claim_same(&cluster, &back);
    FUZZ_CLAIM(fsmoe_cluster_describe(path, &description) == FSMOE_OK);
    free(description);
    free(text);
    fsm_cluster_destroy(&back);
    fsm_cluster_destroy(&cluster);
    return 0;
}
