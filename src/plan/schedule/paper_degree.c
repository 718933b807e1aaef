/* The degree of one window by the paper's four closed forms, each minimised over real degrees where its inequalities
 * hold. The inequalities are those of the scheduler that the paper's authors published: whether an all-to-all is longer
 * than an allgather decides between the two halves of the table below; in each half three others decide the case. They
 * leave no degree without one. */
#include "plan/schedule/paper.h"

#include <math.h>
#include <nlopt.h>
#include <stdlib.h>

/* Σ (many_i r + once_i) t_i + allreduce G over the stages a, g, e, s. */
typedef struct form {
    double many[4], once[4], allreduce;
} form;

static const form cases[] = {
    [FSM_PAPER_INTER] = {{2, 0, 0, 0}, {0, 0, 0, 0}, 1},
    [FSM_PAPER_COMPUTE] = {{0, 0, 1, 0}, {2, 1, 0, 1}, 0},
    [FSM_PAPER_ALLTOALL] = {{2, 0, 0, 0}, {0, 1, 0, 1}, 0},
    [FSM_PAPER_INTRA] = {{0, 1, 0, 1}, {2, 0, 0, 0}, 0},
};

/* Each holds where its form is >= 0. */
typedef enum condition {
    NONE,
    INTER_LONGER,       /* a >= g */
    A2A_HIDES_EXPERT,   /* 2 (r - 1) a >= r e */
    INTRA_HIDES_EXPERT, /* (r - 1) (g + s) >= r e */
    EXCEEDS_A2A,        /* G >= g + s, what the A2A-bound form has left */
    EXCEEDS_COMPUTE,    /* G >= r e + g + s - 2 (r - 1) a, likewise */
    EXCEEDS_INTRA,      /* G >= r (g + s) - 2 (r - 1) a, likewise */
    CONDITIONS
} condition;

static const form conditions[CONDITIONS] = {
    [INTER_LONGER] = {{0, 0, 0, 0}, {1, -1, 0, 0}, 0},         [A2A_HIDES_EXPERT] = {{2, 0, -1, 0}, {-2, 0, 0, 0}, 0},
    [INTRA_HIDES_EXPERT] = {{0, 1, -1, 1}, {0, -1, 0, -1}, 0}, [EXCEEDS_A2A] = {{0, 0, 0, 0}, {0, -1, 0, -1}, 1},
    [EXCEEDS_COMPUTE] = {{2, 0, -1, 0}, {-2, -1, 0, -1}, 1},   [EXCEEDS_INTRA] = {{2, -1, 0, -1}, {-2, 0, 0, 0}, 1},
};

enum { MAX_CONDITIONS = 4, STARTS = 5 };

/* A case and where it binds; a negative condition must not hold. */
typedef struct row {
    fsm_paper_case bound_by;
    int where[MAX_CONDITIONS];
} row;

static const row rows[] = {
    {FSM_PAPER_ALLTOALL, {INTER_LONGER, -EXCEEDS_A2A, A2A_HIDES_EXPERT}},
    {FSM_PAPER_COMPUTE, {INTER_LONGER, -EXCEEDS_A2A, -A2A_HIDES_EXPERT}},
    {FSM_PAPER_INTER, {INTER_LONGER, EXCEEDS_A2A, EXCEEDS_COMPUTE}},
    {FSM_PAPER_COMPUTE, {INTER_LONGER, EXCEEDS_A2A, -EXCEEDS_COMPUTE}},
    {FSM_PAPER_INTRA, {-INTER_LONGER, -EXCEEDS_INTRA, INTRA_HIDES_EXPERT}},
    {FSM_PAPER_COMPUTE, {-INTER_LONGER, -EXCEEDS_INTRA, -INTRA_HIDES_EXPERT}},
    {FSM_PAPER_INTER, {-INTER_LONGER, EXCEEDS_INTRA, INTRA_HIDES_EXPERT}},
    {FSM_PAPER_INTER, {-INTER_LONGER, EXCEEDS_INTRA, -INTRA_HIDES_EXPERT, EXCEEDS_COMPUTE}},
    {FSM_PAPER_COMPUTE, {-INTER_LONGER, EXCEEDS_INTRA, -INTRA_HIDES_EXPERT, -EXCEEDS_COMPUTE}},
};
enum { ROWS = sizeof rows / sizeof *rows };

/* ---- chunks of a real degree ---- */

typedef struct chunk {
    double degree, allreduce_s;
    double stage_s[4], slope_s[4]; /* a, g, e, s and their derivatives by the degree */
} chunk;

static double slope_of(const fsm_load *load, double degree)
{
    const double step = 1e-4;
    if (load->launches == 0) return 0;
    if (load->cost.large_from == 0) return -load->size * load->cost.line[0].beta_s / (degree * degree);
    double less = fsm_load_s(load, 1 / (degree * (1 - step))), more = fsm_load_s(load, 1 / (degree * (1 + step)));
    return (more - less) / (2 * step * degree);
}

/* G: what the dense work does not hide. */
static double exposed_s(const fsm_window *window)
{
    double low = 0, high = 1; /* of the share beside dense work */
    if (window->allreduce.launches == 0 || fsm_load_s(&window->allreduce, 1) <= window->dense_s) return 0;
    for (int i = 0; i < 60 && fsm_load_s(&window->allreduce, 0) < window->dense_s; i++) {
        double middle = 0.5 * (low + high);
        if (fsm_load_s(&window->allreduce, middle) <= window->dense_s) low = middle;
        else high = middle;
    }
    return fsm_load_s(&window->allreduce, 1 - low);
}

static chunk chunk_of(const fsm_window *window, double allreduce_s, double degree)
{
    static const fsm_stage stage_of[] = {FSM_STAGE_DISPATCH, FSM_STAGE_ALLGATHER, FSM_STAGE_EXPERT,
                                         FSM_STAGE_REDUCESCATTER};
    chunk c = {.degree = degree, .allreduce_s = allreduce_s};
    for (int i = 0; i < 4; i++) {
        c.stage_s[i] = fsm_load_s(&window->stage[stage_of[i]], 1 / degree);
        c.slope_s[i] = slope_of(&window->stage[stage_of[i]], degree);
    }
    c.stage_s[2] += fsm_load_s(&window->stage[FSM_STAGE_WEIGHT_GRAD], 1 / degree);
    c.slope_s[2] += slope_of(&window->stage[FSM_STAGE_WEIGHT_GRAD], degree);
    return c;
}

static double value_of(const form *f, const chunk *c)
{
    double value = f->allreduce * c->allreduce_s;
    for (int i = 0; i < 4; i++) value += (f->many[i] * c->degree + f->once[i]) * c->stage_s[i];
    return value;
}

static double derivative_of(const form *f, const chunk *c)
{
    double slope = 0;
    for (int i = 0; i < 4; i++)
        slope += f->many[i] * c->stage_s[i] + (f->many[i] * c->degree + f->once[i]) * c->slope_s[i];
    return slope;
}

static fsm_paper_case case_at(const chunk *c)
{
    for (int i = 0; i < ROWS; i++) {
        bool holds = true;
        for (int k = 0; k < MAX_CONDITIONS && rows[i].where[k] != NONE; k++)
            holds &= (value_of(&conditions[abs(rows[i].where[k])], c) >= 0) == (rows[i].where[k] > 0);
        if (holds) return rows[i].bound_by;
    }
    return FSM_PAPER_COMPUTE; /* not reached: the rows cover every combination */
}

double fsm_paper_estimate_s(const fsm_window *window, double degree, fsm_paper_case *bound_by)
{
    chunk c = chunk_of(window, exposed_s(window), degree);
    fsm_paper_case binding = case_at(&c);
    if (bound_by) *bound_by = binding;
    return window->dense_s + value_of(&cases[binding], &c);
}

double fsm_paper_room_s(const fsm_window *window, double degree)
{
    chunk c = chunk_of(window, 0, degree);
    return fmax(0, value_of(&cases[case_at(&c)], &c) - 2 * degree * c.stage_s[0]);
}

/* ---- the least of all cases ---- */

/* Minimises over x = ln r, in which times that are sums of c r and c / r are convex. */
typedef struct problem {
    const fsm_window *window;
    double allreduce_s, scale_s; /* times are counted in scale_s */
} problem;

/* sign * a form, in units of the scale. */
typedef struct term {
    const problem *problem;
    const form *form;
    double sign;
} term;

static double evaluate(unsigned n, const double *x, double *gradient, void *data)
{
    const term *t = data;
    chunk c = chunk_of(t->problem->window, t->problem->allreduce_s, exp(x[0]));
    double unit = t->sign / t->problem->scale_s;
    if (gradient && n == 1) gradient[0] = unit * c.degree * derivative_of(t->form, &c);
    return unit * value_of(t->form, &c);
}

static const double TOLERANCE = 1e-9; /* of a condition, in units of the scale */

static void take_if_less(const problem *p, const row *r, double degree, fsm_paper_estimate *least)
{
    chunk c = chunk_of(p->window, p->allreduce_s, degree);
    double value = value_of(&cases[r->bound_by], &c);
    for (int k = 0; k < MAX_CONDITIONS && r->where[k] != NONE; k++) {
        double sign = r->where[k] > 0 ? 1 : -1;
        if (sign * value_of(&conditions[abs(r->where[k])], &c) < -10 * TOLERANCE * p->scale_s) return;
    }
    if (value >= least->real_s) return;
    least->real_s = value;
    least->real_degree = degree;
    least->bound_by = r->bound_by;
}

/* SLSQP from degrees in equal ratios. What it returns is looked at afresh, whatever its status says. */
static bool minimise(const problem *p, const row *r, fsm_paper_estimate *least)
{
    term objective = {p, &cases[r->bound_by], 1}, where[MAX_CONDITIONS];
    double highest = log(p->window->max_degree);
    nlopt_opt solver = nlopt_create(NLOPT_LD_SLSQP, 1);
    bool ready = solver && nlopt_set_min_objective(solver, evaluate, &objective) > 0 &&
                 nlopt_set_lower_bounds1(solver, 0) > 0 && nlopt_set_upper_bounds1(solver, highest) > 0 &&
                 nlopt_set_xtol_rel(solver, 1e-9) > 0 && nlopt_set_ftol_rel(solver, 1e-13) > 0 &&
                 nlopt_set_maxeval(solver, 100) > 0;
    for (int k = 0; ready && k < MAX_CONDITIONS && r->where[k] != NONE; k++) {
        where[k] = (term){p, &conditions[abs(r->where[k])], r->where[k] > 0 ? -1 : 1};
        ready = nlopt_add_inequality_constraint(solver, evaluate, &where[k], TOLERANCE) > 0;
    }
    for (int i = 0; ready && i < STARTS; i++) {
        double x = highest * i / (STARTS - 1), value;
        take_if_less(p, r, exp(x), least);
        ready = nlopt_optimize(solver, &x, &value) != NLOPT_OUT_OF_MEMORY;
        if (ready && x >= 0 && x <= highest) take_if_less(p, r, exp(x), least);
    }
    nlopt_destroy(solver);
    return ready;
}

static void round_degree(const fsm_window *window, fsm_paper_estimate *e)
{
    int most = window->max_degree, below = (int)floor(e->real_degree);
    below = below < 1 ? 1 : below > most ? most : below;
    int above = below < most ? below + 1 : below;
    double below_s = fsm_paper_estimate_s(window, below, NULL), above_s = fsm_paper_estimate_s(window, above, NULL);
    e->degree = above_s < below_s ? above : below;
    e->makespan_s = fmin(below_s, above_s);
}

fsmoe_status fsm_paper_solve(const fsm_window *window, fsm_paper_estimate *estimate)
{
    problem p = {.window = window, .allreduce_s = exposed_s(window)};
    chunk whole = chunk_of(window, p.allreduce_s, 1);
    p.scale_s = window->dense_s + p.allreduce_s;
    for (int i = 0; i < 4; i++) p.scale_s += whole.stage_s[i];
    if (!(p.scale_s >= 0 && p.scale_s < INFINITY))
        return fsm_fail(FSMOE_ERROR_NUMERIC, "a layer's costs add up to %g s", p.scale_s);
    *estimate = (fsm_paper_estimate){.real_degree = 1, .bound_by = case_at(&whole)};
    estimate->real_s = value_of(&cases[estimate->bound_by], &whole);
    for (int i = 0; i < ROWS && p.scale_s > 0 && window->max_degree > 1; i++)
        if (!minimise(&p, &rows[i], estimate)) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to choose a degree");
    estimate->real_s += window->dense_s;
    round_degree(window, estimate);
    return FSMOE_OK;
}

fsmoe_status fsm_paper_degree(const fsm_window *window, fsm_window_plan *plan, fsm_paper_estimate *estimate)
{
    fsm_paper_estimate own;
    if (!estimate) estimate = &own;
    FSM_TRY(fsm_paper_solve(window, estimate));
    return fsm_window_at(window, (fsm_freedom){0}, estimate->degree, plan);
}
