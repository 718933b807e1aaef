#include "plan/window.h"

#include <math.h>
#include <stdlib.h>

enum {
    SEARCHED_DEGREE = 64, /* above it bounds are left as they are: chunks are so small that they are tight */
};

/* A first search is exact as far as it goes; where its proof stays open by more than `enough`, a second one gives up
 * small wins. */
typedef struct effort {
    int max_states;
    double tolerance, enough;
} effort;
static const effort efforts[] = {{2000, 0, 0}, {10000, 6e-3, 8e-3}, {50000, 8e-3, 9e-3}};
enum { EFFORTS = sizeof efforts / sizeof *efforts };

static const double ROUNDING = 1e-12; /* relative: gains below it are none */

double fsm_load_s(const fsm_load *load, double share)
{
    return load->launches > 0 ? fsm_cost_s(&load->cost, load->launches, load->size * share) : 0;
}

/* Chunks of that share of the layer. */
static void cut(const fsm_window *window, fsm_freedom freedom, int degree, double share, fsm_pipeline *p)
{
    *p = (fsm_pipeline){.degree = degree, .split = freedom.split && window->stage[FSM_STAGE_WEIGHT_GRAD].launches > 0};
    for (int i = 0; i < FSM_STAGE_COUNT; i++) p->stage_s[i] = fsm_load_s(&window->stage[i], share);
    if (!p->split) {
        p->stage_s[FSM_STAGE_EXPERT] += p->stage_s[FSM_STAGE_WEIGHT_GRAD];
        p->stage_s[FSM_STAGE_WEIGHT_GRAD] = 0;
    }
    if (freedom.one_stream) { /* dispatch and allgather take turns on it, as do reducescatter and combine */
        p->stage_s[FSM_STAGE_ALLGATHER] += p->stage_s[FSM_STAGE_DISPATCH];
        p->stage_s[FSM_STAGE_REDUCESCATTER] += p->stage_s[FSM_STAGE_COMBINE];
        p->stage_s[FSM_STAGE_DISPATCH] = p->stage_s[FSM_STAGE_COMBINE] = 0;
    }
}

void fsm_window_pipeline(const fsm_window *window, fsm_freedom freedom, int degree, fsm_pipeline *p)
{
    cut(window, freedom, degree, 1.0 / degree, p);
}

static double link_of(const fsm_pipeline *p, fsm_freedom freedom)
{
    const double *t = p->stage_s;
    double chunk_s = freedom.one_stream ? t[FSM_STAGE_ALLGATHER] + t[FSM_STAGE_REDUCESCATTER]
                                        : t[FSM_STAGE_DISPATCH] + t[FSM_STAGE_COMBINE];
    return p->degree * chunk_s;
}

double fsm_window_link_s(const fsm_window *window, fsm_freedom freedom, int degree)
{
    fsm_pipeline p;
    fsm_window_pipeline(window, freedom, degree, &p);
    return link_of(&p, freedom);
}

/* As many pieces as go just below the first size of line i + 1, beside one of `least` or more. */
static double beside_one_s(const fsm_cost *cost, int i, double size, double least)
{
    double piece = fsm_cost_line_from(cost, i + 1), beside = floor((size - least) / piece);
    return beside * fsm_line_at(cost->line[i], piece) + fsm_cost_s(cost, 1, fmax(least, size - beside * piece));
}

/* The least time found of so many elements in however many pieces. Of one line that is one piece. Of two, it is one
 * piece, or all are below the second line's first size, or one is above it and as many as possible just below: in
 * between, times are linear, so it is the least there is. Of three, the same for each size where a line begins, and
 * pieces just below the last of them beside what is left in its best pieces. */
static double pieces_s(const fsm_cost *cost, double size)
{
    double best_s = fsm_cost_s(cost, 1, size);
    int lines = fsm_cost_line_count(cost);
    for (int i = 0; i + 1 < lines && size >= fsm_cost_line_from(cost, i + 1); i++) {
        double from = fsm_cost_line_from(cost, i + 1), whole = floor(size / from);
        fsm_line line = cost->line[i];
        bool equal_too = i == 0 || size / (whole + 1) >= fsm_cost_line_from(cost, i);
        if (equal_too) best_s = fmin(best_s, (whole + 1) * line.alpha_s + size * line.beta_s);
        if (i > 0) best_s = fmin(best_s, whole * fsm_line_at(line, from) + pieces_s(cost, size - whole * from));
        for (int j = i; j + 1 < lines && size >= fsm_cost_line_from(cost, j + 1); j++)
            best_s = fmin(best_s, beside_one_s(cost, i, size, fsm_cost_line_from(cost, j + 1)));
    }
    return best_s;
}

static double sent_s(const fsm_load *load, double share)
{
    bool one = load->launches == 0 || fsm_cost_line_count(&load->cost) == 1;
    return one ? fsm_load_s(load, share) : pieces_s(&load->cost, load->size * share);
}

/* The cost of lines up to `last` as one line that is nowhere above them, and what is from there on likewise. */
static fsm_load with_two_lines(const fsm_load *load, int last)
{
    fsm_cost first = load->cost, rest = load->cost, two = {.large_from = fsm_cost_line_from(&load->cost, last + 1)};
    if (last == 0) first.large_from = 0;
    first.largest_from = 0;
    rest = (fsm_cost){{rest.line[last + 1], rest.line[FSM_COST_LINES - 1]}, 1, 0};
    two.line[0] = fsm_cost_least(&first);
    two.line[1] = fsm_cost_least(&rest);
    return (fsm_load){two, load->launches, load->size};
}

/* No pieces take less. */
static double least_sent_s(const fsm_load *load, double share)
{
    if (fsm_cost_line_count(&load->cost) < 3) return sent_s(load, share);
    fsm_load early = with_two_lines(load, 0), late = with_two_lines(load, 1);
    return fmax(sent_s(&early, share), sent_s(&late, share));
}

double fsm_window_piece_elems(const fsm_cost *allreduce)
{
    int lines = fsm_cost_line_count(allreduce);
    double elems = 0, best_s = allreduce->line[lines - 1].beta_s; /* of an element */
    for (int i = 0; i + 1 < lines; i++) {
        double from = fsm_cost_line_from(allreduce, i + 1), each_s = fsm_line_at(allreduce->line[i], from) / from;
        if (from <= 16 || each_s >= best_s) continue;
        elems = from - 16;
        best_s = each_s;
    }
    return elems;
}

/* The largest share of the all-reduce that takes at most `room_s`; 0 when not even the least does. */
static double share_that_fits(const fsm_load *allreduce, double room_s)
{
    double low = 0, high = 1;
    if (sent_s(allreduce, 0) >= room_s) return 0;
    if (sent_s(allreduce, 1) <= room_s) return 1;
    for (int i = 0; i < 60; i++) {
        double middle = 0.5 * (low + high);
        if (sent_s(allreduce, middle) <= room_s) low = middle;
        else high = middle;
    }
    return low;
}

double fsm_window_s(const fsm_window *window, double moe_s, double link_s)
{
    double dense_s = window->dense_s, whole_s = sent_s(&window->allreduce, 1);
    if (window->allreduce.launches == 0) return dense_s + moe_s;
    double best_s = fmin(dense_s + fmax(moe_s, link_s + whole_s), fmax(dense_s, whole_s) + moe_s);
    double share = share_that_fits(&window->allreduce, dense_s);
    if (share > 0 && share < 1)
        best_s = fmin(best_s, dense_s + fmax(moe_s, link_s + sent_s(&window->allreduce, 1 - share)));
    return best_s;
}

/* The same for bounds. Of one line, one piece more always costs one alpha more, and what fsm_window_s does is best.
 * Of more, more pieces may cost less, but all of them together no less than the whole in its best pieces. */
static double window_bound(const fsm_window *window, double moe_s, double link_s)
{
    if (window->allreduce.launches == 0 || fsm_cost_line_count(&window->allreduce.cost) == 1)
        return fsm_window_s(window, moe_s, link_s);
    return fmax(window->dense_s + moe_s, link_s + least_sent_s(&window->allreduce, 1));
}

/* The window's bound when chunks are whole rows, floor(rows / r) or one more: what holds for equal chunks holds for
 * these when all times shrink to the least chunk's. Their mean is not an equal chunk's where a cost is several. */
static double bound_of_whole_rows(const fsm_window *window, fsm_freedom freedom, const fsm_pipeline *p, double bound_s)
{
    fsm_pipeline least = *p, larger = *p, mean = *p;
    double shrink = 1, rows = floor(window->rows / p->degree), share = (window->rows - p->degree * rows) / p->degree;
    if (window->rows > 0) cut(window, freedom, p->degree, rows / window->rows, &least);
    if (share > 0) cut(window, freedom, p->degree, (rows + 1) / window->rows, &larger);
    for (int i = 0; window->rows > 0 && i < FSM_STAGE_COUNT; i++) {
        mean.stage_s[i] = (1 - share) * least.stage_s[i] + share * larger.stage_s[i];
        if (share > 0) least.stage_s[i] = fmin(least.stage_s[i], larger.stage_s[i]);
        if (p->stage_s[i] > 0) shrink = fmin(shrink, least.stage_s[i] / p->stage_s[i]);
    }
    if (window->rows > 0) bound_s = fmax(shrink * bound_s, fsm_pipeline_uneven_bound(&mean, &least, NULL));
    return window_bound(window, bound_s, link_of(&mean, freedom));
}

/* ---- one degree ---- */

typedef struct planner {
    const fsm_window *window;
    fsm_freedom freedom;
    double *scratch; /* [8 max_degree] */
    fsm_window_plan best;
    double bound_s; /* least of the bounds seen */
    double open_s;  /* and of those that a better order could still reach */
} planner;

static const char *binding_of(const planner *pl, const fsm_pipeline *p, double link_s)
{
    const char *name;
    double moe_bound_s = fsm_pipeline_bound(p, &name);
    if (link_s + sent_s(&pl->window->allreduce, 1) > moe_bound_s && pl->window->allreduce.launches > 0) name = "inter";
    return pl->freedom.one_stream && (name[0] == 'i') ? "stream" : name;
}

/* Could the degree beat the best, if its MoE part took no more than its bound? */
static bool can_win(const planner *pl, const fsm_pipeline *p, double bound_s)
{
    return fsm_window_s(pl->window, bound_s, link_of(p, pl->freedom)) < pl->best.makespan_s;
}

static void take_if_better(planner *pl, const fsm_pipeline *p, double moe_s)
{
    double link_s = link_of(p, pl->freedom), makespan_s = fsm_window_s(pl->window, moe_s, link_s);
    if (makespan_s >= pl->best.makespan_s * (1 - ROUNDING)) return;
    pl->best = (fsm_window_plan){.degree = p->degree, .moe_s = moe_s, .makespan_s = makespan_s};
    pl->best.binding = binding_of(pl, p, link_s);
}

static void try_degree(planner *pl, int degree)
{
    fsm_pipeline p;
    fsm_window_pipeline(pl->window, pl->freedom, degree, &p);
    if (can_win(pl, &p, fsm_pipeline_bound(&p, NULL)) &&
        can_win(pl, &p, fsm_pipeline_preemptive_bound(&p, pl->scratch)))
        take_if_better(pl, &p, fsm_pipeline_quick(&p, pl->scratch, NULL));
}

/* No degree from r on is faster than this: each stage's load with the least alpha and beta there are, r launches of
 * it. */
static double bound_from(const planner *pl, int degree)
{
    double load_s[3] = {0};
    static const int resource_of[FSM_STAGE_COUNT] = {0, 1, 2, 2, 1, 0};
    for (int i = 0; i < FSM_STAGE_COUNT; i++) {
        const fsm_load *l = &pl->window->stage[i];
        fsm_line least = fsm_cost_least(&l->cost);
        if (l->launches == 0) continue;
        load_s[resource_of[i]] += degree * l->launches * least.alpha_s + l->size * least.beta_s;
    }
    return pl->window->dense_s +
           fmax(load_s[2], pl->freedom.one_stream ? load_s[0] + load_s[1] : fmax(load_s[0], load_s[1]));
}

/* ---- all degrees ---- */

/* A good plan early saves most of the work: degrees in growing steps, and the largest. */
static void scan_coarsely(planner *pl)
{
    int most = pl->window->max_degree;
    for (int r = 1; r < most && bound_from(pl, r) < pl->best.makespan_s; r += 1 + r / 4) try_degree(pl, r);
    if (bound_from(pl, most) < pl->best.makespan_s) try_degree(pl, most);
}

/* Proves the degree's best order, or improves on it; *bound_s is of the MoE part, of equal chunks. */
static fsmoe_status settle(planner *pl, const fsm_pipeline *p, effort how, double *bound_s)
{
    double upper_s = pl->best.makespan_s - pl->window->dense_s, moe_s, searched_s;
    bool found;
    *bound_s = fmax(*bound_s, fsm_pipeline_preemptive_bound(p, pl->scratch));
    if (!can_win(pl, p, *bound_s) || p->degree > SEARCHED_DEGREE) return FSMOE_OK;
    FSM_TRY(fsm_pipeline_search(p, upper_s, how.tolerance, how.max_states, &found, &moe_s, &searched_s, NULL));
    if (found) take_if_better(pl, p, moe_s);
    *bound_s = fmax(*bound_s, searched_s);
    return FSMOE_OK;
}

/* Every degree's bound; those below the best makespan are searched. Proofs come cheaper the better the best is, so all
 * degrees are first tried quickly. */
static fsmoe_status settle_all(planner *pl, effort how)
{
    pl->bound_s = pl->open_s = INFINITY;
    for (int r = 1; r <= pl->window->max_degree && bound_from(pl, r) < pl->best.makespan_s; r++) {
        fsm_pipeline p;
        fsm_window_pipeline(pl->window, pl->freedom, r, &p);
        double bound_s = fsm_pipeline_bound(&p, NULL);
        if (can_win(pl, &p, bound_s)) FSM_TRY(settle(pl, &p, how, &bound_s));
        pl->open_s = fmin(pl->open_s, fsm_window_s(pl->window, bound_s, link_of(&p, pl->freedom)));
        pl->bound_s = fmin(pl->bound_s, bound_of_whole_rows(pl->window, pl->freedom, &p, bound_s));
    }
    pl->bound_s = fmin(pl->bound_s, pl->best.makespan_s);
    return FSMOE_OK;
}

static fsmoe_status begin(planner *pl, const fsm_window *window, fsm_freedom freedom, int max_degree)
{
    *pl = (planner){.window = window, .freedom = freedom, .best = {.makespan_s = INFINITY}};
    double whole_s = window->dense_s + fsm_load_s(&window->allreduce, 1);
    for (int i = 0; i < FSM_STAGE_COUNT; i++) whole_s += fsm_load_s(&window->stage[i], 1);
    if (!(whole_s >= 0 && whole_s < INFINITY))
        return fsm_fail(FSMOE_ERROR_NUMERIC, "a layer's costs add up to %g s", whole_s);
    pl->scratch = malloc(8 * sizeof(double) * (size_t)max_degree);
    return pl->scratch ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to plan %d chunks", max_degree);
}

fsmoe_status fsm_window_best(const fsm_window *window, fsm_freedom freedom, fsm_window_plan *plan)
{
    planner pl;
    FSM_TRY(begin(&pl, window, freedom, window->max_degree));
    scan_coarsely(&pl);
    for (int r = 1; r <= window->max_degree && bound_from(&pl, r) < pl.best.makespan_s; r++) try_degree(&pl, r);
    fsmoe_status status = FSMOE_OK;
    for (int i = 0; i < EFFORTS && status == FSMOE_OK && pl.open_s < pl.best.makespan_s * (1 - efforts[i].enough); i++)
        status = settle_all(&pl, efforts[i]);
    pl.best.bound_s = pl.bound_s;
    *plan = pl.best;
    free(pl.scratch);
    return status;
}

fsmoe_status fsm_window_at(const fsm_window *window, fsm_freedom freedom, int degree, fsm_window_plan *plan)
{
    planner pl;
    fsm_pipeline p;
    FSM_TRY(begin(&pl, window, freedom, degree));
    fsm_window_pipeline(window, freedom, degree, &p);
    take_if_better(&pl, &p, fsm_pipeline_quick(&p, pl.scratch, NULL));
    double bound_s = fsm_pipeline_bound(&p, NULL);
    fsmoe_status status = can_win(&pl, &p, bound_s) ? settle(&pl, &p, efforts[0], &bound_s) : FSMOE_OK;
    bound_s = bound_of_whole_rows(window, freedom, &p, bound_s);
    pl.best.bound_s = fmin(bound_s, pl.best.makespan_s);
    *plan = pl.best;
    free(pl.scratch);
    return status;
}

/* ---- the order ---- */

/* One stream: a dispatch goes right before its allgather, a combine right after its reducescatter. */
static void pair_up(fsm_slot *slots, int count, int degree)
{
    int kept = count - 2 * degree; /* what the search decided, between the dispatches and the combines */
    for (int i = kept - 1; i >= 0; i--) slots[count - kept + i] = slots[degree + i];
    for (int from = count - kept, to = 0; from < count; from++) {
        fsm_slot slot = slots[from];
        if (slot.stage == FSM_STAGE_ALLGATHER) slots[to++] = (fsm_slot){FSM_STAGE_DISPATCH, slot.chunk};
        slots[to++] = slot;
        if (slot.stage == FSM_STAGE_REDUCESCATTER) slots[to++] = (fsm_slot){FSM_STAGE_COMBINE, slot.chunk};
    }
}

static fsmoe_status find_order(const fsm_pipeline *p, double moe_s, fsm_slot *slots)
{
    fsm_policy policy;
    double *scratch = malloc(2 * sizeof(double) * (size_t)p->degree), upper_s = moe_s * (1 + 1e-9);
    if (!scratch) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to order %d chunks", p->degree);
    double quick_s = fsm_pipeline_quick(p, scratch, &policy), makespan_s, bound_s;
    fsm_pipeline_list(p, policy, scratch, slots);
    free(scratch);
    bool found = quick_s <= upper_s;
    for (int i = 0; i < EFFORTS && !found; i++)
        FSM_TRY(fsm_pipeline_search(p, upper_s, 0, efforts[i].max_states, &found, &makespan_s, &bound_s, slots));
    return found ? FSMOE_OK : fsm_fail(FSMOE_ERROR_INTERNAL, "no order of %d chunks takes %g s", p->degree, moe_s);
}

fsmoe_status fsm_window_order(const fsm_window *window, fsm_freedom freedom, const fsm_window_plan *plan,
                              fsm_slot *slots, int *count)
{
    fsm_pipeline p;
    fsm_window_pipeline(window, freedom, plan->degree, &p);
    *count = fsm_pipeline_slots(&p);
    FSM_TRY(find_order(&p, plan->moe_s, slots));
    if (freedom.one_stream) pair_up(slots, *count, plan->degree);
    return FSMOE_OK;
}
