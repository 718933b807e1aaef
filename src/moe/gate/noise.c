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
static void find_rivals(const fsm_gate *gate, int64_t token, int32_t rivals[2])
{
    int64_t k = gate->choices;
    const float *h = gate->logits + token * gate->num_experts;
    const int32_t *choice = gate->choice + token * k;
    rivals[0] = choice[k - 1];
    rivals[1] = -1;
    for (int32_t e = 0; e < gate->num_experts; e++) {
        bool chosen = false;
        for (int64_t j = 0; j < k; j++) chosen |= choice[j] == e;
        if (!chosen && (rivals[1] < 0 || h[e] > h[rivals[1]])) rivals[1] = e;
    }
}

static contest contest_of(const fsm_gate *gate, int64_t token, int32_t expert, const int32_t rivals[2])
{
    const fsm_gate_noise *noise = gate->own;
    int64_t first = token * gate->num_experts, at = first + expert;
    contest c = {.rival = rivals[0], .sigma = fsm_softplus(noise->spread[at])};
    for (int64_t j = 0; j < gate->choices; j++)
        if (gate->choice[token * gate->choices + j] == expert) c.rival = rivals[1];
    double clean = gate->logits[at] - noise->drawn[at] * c.sigma, threshold = gate->logits[first + c.rival];
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

bool fsm_smooth_load(const fsm_gate *gate, int64_t n, double *load)
{
    const fsm_gate_noise *noise = gate->own;
    if (!noise || !noise->on) return false;
    for (int64_t i = 0; i < n; i++) {
        int32_t rivals[2];
        if (gate->choices < gate->num_experts) find_rivals(gate, i, rivals);
        for (int32_t e = 0; e < gate->num_experts; e++)
            load[e] += gate->choices < gate->num_experts ? normal_cdf(contest_of(gate, i, e, rivals).above) : 1;
    }
    return true;
}

/* h = c + drawn s: what c gets goes into dlogits, and what that would hand on to spread is taken back there. */
static void contest_backward(fsm_gate *gate, int64_t token, int32_t expert, const contest *c, double dload)
{
    fsm_gate_noise *noise = gate->own;
    int64_t first = token * gate->num_experts, at = first + expert;
    if (!isfinite(c->above)) return;
    double slope = dload * normal_density(c->above) / c->sigma;
    double ds = -slope * c->above - slope * noise->drawn[at];
    gate->dlogits[at] += (float)slope;
    gate->dlogits[first + c->rival] -= (float)slope;
    noise->dspread[at] += (float)ds * fsm_sigmoid(noise->spread[at]);
}

static void token_backward(const fsm_gate_pass *pass, int64_t token)
{
    int32_t rivals[2];
    find_rivals(pass->gate, token, rivals);
    for (int32_t e = 0; e < pass->gate->num_experts; e++) {
        contest c = contest_of(pass->gate, token, e, rivals);
        contest_backward(pass->gate, token, e, &c, pass->loss->load[e]);
    }
}

void fsm_smooth_load_backward(fsm_gate *gate, int64_t n, const fsm_gate_loss_grad *loss)
{
    const fsm_gate_pass pass = {.gate = gate, .loss = loss};
    if (gate->choices == gate->num_experts) return; /* always chosen */
    fsm_router_each_token(&pass, n, gate->num_experts, token_backward);
}
