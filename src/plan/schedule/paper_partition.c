/* Gradient partitioning as the paper does it (its section 5). Step 1 walks backward and fills every window with
 * finished gradients: beside the experts what the closed form leaves of the link at the degree that is best without
 * gradients, beside dense work all of its time. Step 2 lets each layer's experts take a share of what is still waiting
 * there even if that makes the layer longer; an evolutionary solver chooses the shares so that the layers' closed forms
 * and the all-reduces after backward are least together. Shares of what waits keep every gradient behind its readiness,
 * so the solver needs no constraints but [0, 1].
 * The paper knows gradients on the all-to-alls' link alone; those on another link are sent after backward. */
#include "plan/schedule/paper.h"

#include <math.h>
#include <nlopt.h>
#include <stdlib.h>

enum {
    KNOTS = 33, /* of a layer's time as a function of G */
    EVALUATIONS_A_LAYER = 500,
    MOST_EVALUATIONS = 10000,
    SEED = 2025,
};

typedef struct partition {
    const fsm_step_shape *shape;
    fsm_cost allreduce;
    double room_s, dense_s[2]; /* beside experts; dense work of a layer without and with experts */
    int64_t (*ready)[2][3];    /* [num_layers] finished by then, of each region */
    double most_s;             /* all gradients at once */
    double layer_s[KNOTS];     /* closed form of an MoE layer whose G is i / (KNOTS - 1) of most_s */
    double *shares;            /* [MoE layers, the last first] */
    fsm_paper_layer *layers;   /* of the walk before */
    int moe_layers;
} partition;

static bool takes_part(const fsm_step_shape *s, int region)
{
    return s->group_size[s->regions[region].group] > 1 && s->link[s->regions[region].group] == s->link[FSM_GROUP_EP];
}

static double send_s(const partition *p, int64_t elems)
{
    return elems > 0 ? fsm_cost_s(&p->allreduce, 1, (double)elems) : 0;
}

/* Most elements, at most `most`, that take at most room_s. */
static int64_t elems_that_fit(const partition *p, int64_t most, double room_s)
{
    int64_t low = 0, high = most;
    if (most <= 0 || send_s(p, most) <= room_s) return most;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (send_s(p, middle) <= room_s) low = middle;
        else high = middle;
    }
    return low / 16 * 16; /* slices start where vectors are aligned */
}

/* Sends what fits into budget_s; returns the time it takes. A piece that mostly pays its alpha waits until it travels
 * with more. */
static double fill(const partition *p, int layer, int place, double budget_s, int64_t sent[3], fsm_paper_layer *to)
{
    double used_s = 0, least_s = 4 * fsm_cost_s(&p->allreduce, 1, 0);
    for (int r = 0; r < p->shape->region_count; r++) {
        int64_t elems = elems_that_fit(p, p->ready[layer][place][r] - sent[r], budget_s - used_s);
        double time_s = send_s(p, elems);
        if (elems <= 0 || time_s < least_s) continue;
        to->pieces[place][to->piece_count[place]++] = (fsm_piece){r, sent[r], sent[r] + elems};
        sent[r] += elems;
        used_s += time_s;
    }
    return used_s;
}

static double waiting_s(const partition *p, int layer, const int64_t sent[3])
{
    double total_s = 0;
    for (int r = 0; r < p->shape->region_count; r++) total_s += send_s(p, p->ready[layer][0][r] - sent[r]);
    return total_s;
}

static double layer_s(const partition *p, double allreduce_s)
{
    double at = p->most_s > 0 ? fmin(allreduce_s / p->most_s, 1) * (KNOTS - 1) : 0;
    int knot = at < KNOTS - 2 ? (int)at : KNOTS - 2;
    return p->layer_s[knot] + (at - knot) * (p->layer_s[knot + 1] - p->layer_s[knot]);
}

/* One walk through backward; returns what is to be least: the MoE layers' closed forms and what is sent after
 * backward. */
static double walk(const partition *p, const double *shares, fsm_paper_layer *layers)
{
    const fsm_step_shape *s = p->shape;
    int64_t sent[3];
    double total_s = 0;
    for (int r = 0; r < s->region_count; r++) sent[r] = s->regions[r].first;
    for (int layer = s->num_layers - 1, moe = 0; layer >= 0; layer--) {
        fsm_paper_layer *l = &layers[layer];
        bool is_moe = fsm_layer_is_moe(s->moe_every, layer);
        *l = (fsm_paper_layer){0};
        if (is_moe) {
            double more_s = shares[moe++] * fmax(0, waiting_s(p, layer, sent) - p->room_s);
            l->allreduce_s = fill(p, layer, 0, p->room_s + more_s, sent, l);
            total_s += layer_s(p, l->allreduce_s);
        }
        fill(p, layer, 1, p->dense_s[is_moe], sent, l);
    }
    for (int r = 0; r < s->region_count; r++)
        if (takes_part(s, r)) total_s += send_s(p, s->regions[r].last - sent[r]);
    return total_s;
}

static double objective(unsigned n, const double *shares, double *gradient, void *data)
{
    const partition *p = data;
    (void)n;
    (void)gradient; /* a solver without derivatives */
    return walk(p, shares, p->layers);
}

/* Step 2, from the better of step 1 alone and every gradient in the first window after it. */
static fsmoe_status share_out(partition *p)
{
    unsigned n = (unsigned)p->moe_layers;
    int evaluations = EVALUATIONS_A_LAYER * p->moe_layers;
    double *tried = malloc(sizeof *tried * n), found_s = INFINITY;
    nlopt_opt solver = nlopt_create(NLOPT_GN_ESCH, n);
    bool ready = tried && solver && nlopt_set_lower_bounds1(solver, 0) > 0 && nlopt_set_upper_bounds1(solver, 1) > 0 &&
                 nlopt_set_min_objective(solver, objective, p) > 0 &&
                 nlopt_set_maxeval(solver, evaluations < MOST_EVALUATIONS ? evaluations : MOST_EVALUATIONS) > 0;
    if (ready) {
        double hidden_s = walk(p, p->shares, p->layers); /* all shares are 0 */
        for (unsigned i = 0; i < n; i++) tried[i] = 1;
        double at_once_s = walk(p, tried, p->layers), least_s = fmin(hidden_s, at_once_s);
        for (unsigned i = 0; i < n; i++) tried[i] = p->shares[i] = at_once_s < hidden_s ? 1 : 0;
        nlopt_srand(SEED);
        ready = nlopt_optimize(solver, tried, &found_s) != NLOPT_OUT_OF_MEMORY;
        for (unsigned i = 0; i < n && found_s < least_s; i++) p->shares[i] = tried[i];
    }
    nlopt_destroy(solver);
    free(tried);
    return ready ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to share gradients out over %u layers", n);
}

/* ---- what the walk needs ---- */

static fsmoe_status tabulate(partition *p, fsm_window moe)
{
    fsm_paper_estimate alone;
    FSM_TRY(fsm_paper_solve(&moe, &alone));
    p->room_s = fsm_paper_room_s(&moe, alone.degree);
    for (int i = 0; i < KNOTS; i++) {
        fsm_paper_estimate with;
        double allreduce_s = p->most_s * i / (KNOTS - 1);
        moe.allreduce = (fsm_load){.cost = {.line = {{allreduce_s, 0}}}, .launches = 1};
        FSM_TRY(fsm_paper_solve(&moe, &with));
        p->layer_s[i] = with.makespan_s;
    }
    return FSMOE_OK;
}

static fsmoe_status describe(partition *p, const fsm_cluster *cluster)
{
    const fsm_step_shape *s = p->shape;
    for (int r = 0; r < s->region_count; r++)
        if (takes_part(s, r)) p->most_s += send_s(p, s->regions[r].last - s->regions[r].first);
    for (int r = 0, next = 0; r < s->region_count; r++) {
        while (next < s->gradient_count && s->gradients[next].region < r) next++;
        int64_t last = s->regions[r].first;
        for (int layer = s->num_layers - 1; layer >= 0; layer--)
            for (int place = 0; place < 2; place++) {
                if (takes_part(s, r)) last = fsm_step_finished(s, r, layer, place == 1, &next, last);
                p->ready[layer][place][r] = last;
            }
    }
    for (int layer = 0; layer < s->num_layers; layer++) {
        bool is_moe = fsm_layer_is_moe(s->moe_every, layer);
        p->moe_layers += is_moe;
        if (p->dense_s[is_moe] == 0) FSM_TRY(fsm_step_dense_s(s, cluster, false, layer, &p->dense_s[is_moe]));
    }
    return tabulate(p, fsm_step_moe_window(s, cluster, FSM_BACKWARD));
}

fsmoe_status fsm_paper_partition(const fsm_step_shape *shape, const fsm_cluster *cluster, fsm_paper_layer *layers)
{
    partition p = {.shape = shape, .layers = layers};
    p.allreduce = fsm_cost_find(cluster, FSM_TASK_ALLREDUCE, FSM_UPDATE, true).cost;
    p.ready = calloc((size_t)shape->num_layers, sizeof *p.ready);
    p.shares = calloc((size_t)shape->num_layers, sizeof *p.shares);
    fsmoe_status status = FSMOE_OK;
    if (!p.ready || !p.shares)
        status = fsm_fail(FSMOE_ERROR_MEMORY, "no memory to partition the gradients of %d layers", shape->num_layers);
    if (status == FSMOE_OK) status = describe(&p, cluster);
    if (status == FSMOE_OK && p.moe_layers > 0) status = share_out(&p);
    if (status == FSMOE_OK) walk(&p, p.shares, layers);
    free(p.ready);
    free(p.shares);
    return status;
}
