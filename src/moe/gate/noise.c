#include "moe/gate/noise.h"

#include "base/sigmoid.h"
#include "moe/gate/router.h"

#include <math.h>

/* One token's expert against the others: where its mean lies, in standard deviations above what it must beat. */
typedef struct contest {
    int32_t rival;       /* whose h is the threshold */
    double above, sigma; /* (c - t) / s, s */
} contest;

/* Noise so small decides nothing, and has no gradient. */
static const double LEAST_SIGMA = 1e-12;

/* The k-th and the (k+1)-th best expert of a token; k < E. */
static void find_rivals(const fsm_gate_pass *pass, int64_t token, int32_t rivals[2])
{
    int64_t k = pass->gate->choices, num_experts = pass->gate->num_experts;
    const float *h = pass->logits + token * num_experts;
    const int32_t *choice = pass->choice + token * k;
    rivals[0] = choice[k - 1];
    rivals[1] = -1;
    for (int32_t e = 0; e < num_experts; e++) {
        bool chosen = false;
        for (int64_t j = 0; j < k; j++) chosen |= choice[j] == e;
        if (!chosen && (rivals[1] < 0 || h[e] > h[rivals[1]])) rivals[1] = e;
    }
}

static contest contest_of(const fsm_gate_pass *pass, int64_t token, int32_t expert, const int32_t rivals[2])
{
    const fsm_gate_noise *noise = pass->own;
    int64_t k = pass->gate->choices, first = token * pass->gate->num_experts, at = first + expert;
    contest c = {.rival = rivals[0], .sigma = fsm_softplus(noise->spread[at])};
    for (int64_t j = 0; j < k; j++)
        if (pass->choice[token * k + j] == expert) c.rival = rivals[1];
    double clean = pass->logits[at] - noise->drawn[at] * c.sigma, threshold = pass->logits[first + c.rival];
    c.above = c.sigma > LEAST_SIGMA ? (clean - threshold) / c.sigma : clean > threshold ? INFINITY : -INFINITY;
    return c;
}

static double normal_cdf(double x)
{
    return 0.5 * erfc(-x * M_SQRT1_2);
}

static double normal_density(double x)
{
    return exp(-0.5 * x * x) / sqrt(2 * M_PI);
}

bool fsm_smooth_load(const fsm_gate_pass *pass, double *load)
{
    const fsm_gate_noise *noise = pass->own;
    const fsm_gate *gate = pass->gate;
    if (!noise || !noise->on) return false;
    for (int64_t i = 0; i < pass->input.n; i++) {
        int32_t rivals[2];
        if (gate->choices < gate->num_experts) find_rivals(pass, i, rivals);
        for (int32_t e = 0; e < gate->num_experts; e++)
            load[e] += gate->choices < gate->num_experts ? normal_cdf(contest_of(pass, i, e, rivals).above) : 1;
    }
    return true;
}

/* h = c + drawn s: what c gets goes into dlogits, and what that would hand on to spread is taken back there. */
static void contest_backward(const fsm_gate_pass *pass, int64_t token, int32_t expert, const contest *c)
{
    const fsm_gate_noise *noise = pass->own;
    int64_t first = token * pass->gate->num_experts, at = first + expert;
    if (!isfinite(c->above)) return;
    double slope = pass->loss.load[expert] * normal_density(c->above) / c->sigma;
    double ds = -slope * c->above - slope * noise->drawn[at];
    pass->dlogits[at] += (float)slope;
    pass->dlogits[first + c->rival] -= (float)slope;
    noise->dspread[at] += (float)ds * fsm_sigmoid(noise->spread[at]);
}

static void token_backward(const fsm_gate_pass *pass, int64_t token)
{
    int32_t rivals[2];
    find_rivals(pass, token, rivals);
    for (int32_t e = 0; e < pass->gate->num_experts; e++) {
        contest c = contest_of(pass, token, e, rivals);
        contest_backward(pass, token, e, &c);
    }
}

void fsm_smooth_load_backward(fsm_gate_pass *pass)
{
    if (pass->gate->choices == pass->gate->num_experts) return; /* always chosen */
    fsm_router_each_token(pass, pass->gate->num_experts, token_backward);
}
