#include "moe/gate/balanced.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { ROUNDS = 30 };
static const float LEAST = 1e-30f;          /* of a probability: every expert can be filled */
static const float ASKED = -1, SEATED = -2; /* of a plan's entry, when it has been used */

typedef struct fsm_balanced_seat {
    float plan;
    int32_t token;
} seat;

/* The arrays of one group. */
typedef struct assignment {
    int64_t tokens, num_experts, choices, most;
    float *plan;              /* [tokens, E] */
    seat *seats;              /* [E, most] */
    int64_t *places, *seated; /* [E] */
} assignment;

void fsm_balanced_take(fsm_memory *memory, int64_t max_tokens, int64_t group, int64_t num_experts, int64_t choices,
                       fsm_balanced *b)
{
    if (group == 0) group = max_tokens > 0 ? max_tokens : 1;
    int64_t groups = (max_tokens + group - 1) / group, most = (choices * group + num_experts - 1) / num_experts;
    *b = (fsm_balanced){.group = group, .num_experts = num_experts, .choices = choices, .most = most};
    b->plan = FSM_TAKE_HOST(memory, float, max_tokens *num_experts);
    b->scale = FSM_TAKE_HOST(memory, float, groups * 2 * num_experts);
    b->seats = FSM_TAKE_HOST(memory, seat, groups * num_experts * most);
    b->room = FSM_TAKE_HOST(memory, int64_t, groups * 2 * num_experts);
    b->taken = FSM_TAKE_HOST(memory, int32_t, max_tokens);
}

/* ---- the plan ---- */

/* 1 / sum of p v over a row. */
static float row_scale(int64_t num_experts, const float *p, const float *v)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t e = 0; e < num_experts; e++) sum += p[e] * v[e];
    return 1 / sum;
}

/* column = sums over tokens of p, each row scaled to sum to 1 under v. */
static void sum_columns(const assignment *g, const float *v, float *column)
{
    int64_t experts = g->num_experts;
    for (int64_t e = 0; e < experts; e++) column[e] = 0;
    for (int64_t i = 0; i < g->tokens; i++) {
        const float *p = g->plan + i * experts;
        float r = row_scale(experts, p, v);
#pragma omp simd
        for (int64_t e = 0; e < experts; e++) column[e] += r * p[e];
    }
}

/* The seats there are: one more where tokens want to go most. */
static void place_seats(const assignment *g, const float *wanted)
{
    int64_t experts = g->num_experts, all = g->choices * g->tokens;
    for (int64_t e = 0; e < experts; e++) g->places[e] = all / experts;
    for (int64_t left = all % experts; left > 0; left--) {
        int64_t best = -1;
        for (int64_t e = 0; e < experts; e++)
            if (g->places[e] == all / experts && (best < 0 || wanted[e] > wanted[best])) best = e;
        g->places[best]++;
    }
}

/* v, column: scratch [E]. */
static void make_plan(const assignment *g, const float *prob, float *v, float *column)
{
    int64_t experts = g->num_experts;
    for (int64_t at = 0; at < g->tokens * experts; at++) g->plan[at] = fmaxf(prob[at], LEAST);
    for (int64_t e = 0; e < experts; e++) v[e] = 1;
    for (int round = 0; round < ROUNDS; round++) {
        sum_columns(g, v, column);
        if (round == 0) place_seats(g, column);
        for (int64_t e = 0; e < experts; e++) v[e] = (float)g->tokens / ((float)experts * column[e]);
    }
    for (int64_t i = 0; i < g->tokens; i++) {
        float *p = g->plan + i * experts, r = row_scale(experts, p, v);
        for (int64_t e = 0; e < experts; e++) p[e] = fmaxf(p[e] * r * v[e], 0); /* also what is no number */
    }
}

/* ---- who sits where ---- */

static bool is_less(seat a, seat b)
{
    return a.plan != b.plan ? a.plan < b.plan : a.token > b.token;
}

static void swap(seat *a, seat *b)
{
    seat kept = *a;
    *a = *b;
    *b = kept;
}

static void push(seat *heap, int64_t n, seat new_one)
{
    heap[n] = new_one;
    for (int64_t at = n; at > 0 && is_less(heap[at], heap[(at - 1) / 2]); at = (at - 1) / 2)
        swap(&heap[at], &heap[(at - 1) / 2]);
}

static void replace_least(seat *heap, int64_t n, seat new_one)
{
    heap[0] = new_one;
    for (int64_t at = 0, child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && is_less(heap[child + 1], heap[child])) child++;
        if (!is_less(heap[child], heap[at])) return;
        swap(&heap[child], &heap[at]);
    }
}

static float *entry_of(const assignment *g, int64_t token, int64_t e)
{
    return g->plan + token * g->num_experts + e;
}

/* The expert whom the token has not asked and wants most; -1: it has asked all. */
static int64_t best_left(const assignment *g, int64_t token)
{
    float most = ASKED;
    int64_t best = -1;
    for (int64_t e = 0; e < g->num_experts; e++) {
        if (!(*entry_of(g, token, e) > most)) continue;
        most = *entry_of(g, token, e);
        best = e;
    }
    return best;
}

/* One more seat for a token: it asks until it gets one, and whoever loses a seat asks on. */
static void find_seat(const assignment *g, int64_t token)
{
    for (int64_t e; (e = best_left(g, token)) >= 0;) {
        seat *heap = g->seats + e * g->most, wanted = {*entry_of(g, token, e), (int32_t)token};
        bool has_room = g->seated[e]<g->places[e], is_better = g->seated[e]> 0 && is_less(heap[0], wanted);
        *entry_of(g, token, e) = has_room || is_better ? SEATED : ASKED;
        if (has_room) {
            push(heap, g->seated[e]++, wanted);
            return;
        }
        if (!is_better) continue;
        token = heap[0].token;
        *entry_of(g, token, e) = ASKED;
        replace_least(heap, g->places[e], wanted);
    }
}

/* For a token that has asked everybody in vain: whoever has room has it already. Another moves there, and there is one:
 * an expert that the token has not is full, with at least as many as sit, besides the token, at the one that has
 * room. */
static void trade(const assignment *g, int64_t token)
{
    int64_t free = 0, e = 0;
    seat *earliest = NULL;
    while (g->seated[free] == g->places[free]) free++;
    while (*entry_of(g, token, e) == SEATED) e++;
    for (int64_t s = 0; s < g->seated[e]; s++) {
        seat *other = &g->seats[e * g->most + s];
        if (*entry_of(g, other->token, free) == SEATED) continue;
        if (!earliest || other->token < earliest->token) earliest = other;
    }
    *entry_of(g, earliest->token, free) = *entry_of(g, token, e) = SEATED;
    *entry_of(g, earliest->token, e) = ASKED;
    g->seats[free * g->most + g->seated[free]++].token = earliest->token;
    earliest->token = (int32_t)token;
}

static void seat_all(const assignment *g, int32_t *taken)
{
    memset(g->seated, 0, sizeof *g->seated * (size_t)g->num_experts);
    memset(taken, 0, sizeof *taken * (size_t)g->tokens);
    for (int64_t i = 0; i < g->tokens * g->choices; i++) find_seat(g, i / g->choices);
    for (int64_t e = 0; e < g->num_experts; e++)
        for (int64_t s = 0; s < g->seated[e]; s++) taken[g->seats[e * g->most + s].token]++;
    for (int64_t i = 0; i < g->tokens; i++)
        for (; taken[i] < g->choices; taken[i]++) trade(g, i);
}

/* ---- choices ---- */

/* Puts expert e among the token's choices, by falling logit, after equals. */
static void give(const assignment *g, const float *logits, int64_t token, int32_t e, int32_t *taken, int32_t *choice)
{
    const float *logit = logits + token * g->num_experts;
    int32_t *mine = choice + token * g->choices;
    int64_t at = taken[token]++;
    for (; at > 0 && logit[mine[at - 1]] < logit[e]; at--) mine[at] = mine[at - 1];
    mine[at] = e;
}

void fsm_balanced_choose(const fsm_balanced *b, int64_t index, int64_t tokens, const float *prob, const float *logits,
                         int32_t *choice)
{
    int64_t experts = b->num_experts, first = index * b->group;
    float *v = b->scale + index * 2 * experts;
    int64_t *room = b->room + index * 2 * experts;
    int32_t *taken = b->taken + first;
    assignment g = {.tokens = tokens,
                    .num_experts = experts,
                    .choices = b->choices,
                    .most = b->most,
                    .plan = b->plan + first * experts,
                    .seats = b->seats + index * experts * b->most,
                    .places = room,
                    .seated = room + experts};
    make_plan(&g, prob, v, v + experts);
    seat_all(&g, taken);
    memset(taken, 0, sizeof *taken * (size_t)tokens);
    for (int32_t e = 0; e < experts; e++)
        for (int64_t s = 0; s < g.seated[e]; s++) give(&g, logits, g.seats[e * g.most + s].token, e, taken, choice);
}
