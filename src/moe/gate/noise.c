#include "moe/gate/noise.h"

#include "base/sigmoid.h"

#include <math.h>
#include <string.h>

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
    const fsm_gate_noise *noise = pass->own;
    const float *h = noise->host.logits + token * num_experts;
    const int32_t *choice = noise->host.choice + token * k;
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
    const float *h = noise->host.logits;
    contest c = {.rival = rivals[0], .sigma = fsm_softplus(noise->host.spread[at])};
    for (int64_t j = 0; j < k; j++)
        if (noise->host.choice[token * k + j] == expert) c.rival = rivals[1];
    double clean = h[at] - noise->host.drawn[at] * c.sigma, threshold = h[first + c.rival];
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

bool fsm_smooth_load_needed(const fsmoe_moe_config *config)
{
    return config->noisy && strcmp(config->aux_loss, "importance_load") == 0;
}

void fsm_smooth_load_take(fsm_memory *memory, const fsm_gate *gate, int64_t max_tokens, fsm_gate_noise *noise)
{
    int64_t scores = max_tokens * gate->num_experts;
    noise->host.logits = FSM_TAKE_HOST(memory, float, scores);
    noise->host.drawn = FSM_TAKE_HOST(memory, float, scores);
    noise->host.spread = FSM_TAKE_HOST(memory, float, scores);
    noise->host.dlogits = FSM_TAKE_HOST(memory, float, scores);
    noise->host.dspread = FSM_TAKE_HOST(memory, float, scores);
    noise->host.choice = FSM_TAKE_HOST(memory, int32_t, max_tokens * gate->choices);
    noise->host.load = FSM_TAKE_HOST(memory, double, gate->num_experts);
}

static size_t score_bytes(const fsm_gate_pass *pass)
{
    return sizeof(float) * (size_t)(pass->input.n * pass->gate->num_experts);
}

static void read_forward(const fsm_gate_pass *pass)
{
    const fsm_ops *ops = pass->gate->ops;
    const fsm_gate_noise *noise = pass->own;
    size_t bytes = score_bytes(pass), pairs = (size_t)(pass->input.n * pass->gate->choices);
    ops->read(ops, bytes, pass->logits, noise->host.logits);
    ops->read(ops, bytes, noise->drawn, noise->host.drawn);
    ops->read(ops, bytes, noise->spread, noise->host.spread);
    ops->read(ops, sizeof(int32_t) * pairs, pass->choice, noise->host.choice);
}

static void add_load_on_host(const fsm_gate_pass *pass, double *load)
{
    const fsm_gate *gate = pass->gate;
    for (int64_t i = 0; i < pass->input.n; i++) {
        int32_t rivals[2];
        if (gate->choices < gate->num_experts) find_rivals(pass, i, rivals);
        for (int32_t e = 0; e < gate->num_experts; e++)
            load[e] += gate->choices < gate->num_experts ? normal_cdf(contest_of(pass, i, e, rivals).above) : 1;
    }
}

bool fsm_smooth_load(const fsm_gate_pass *pass, fsm_sum *load)
{
    const fsm_gate_noise *noise = pass->own;
    const fsm_gate *gate = pass->gate;
    size_t bytes = sizeof(double) * (size_t)gate->num_experts;
    if (!noise || !noise->on) return false;
    read_forward(pass);
    gate->ops->read(gate->ops, bytes, load, noise->host.load);
    add_load_on_host(pass, noise->host.load);
    gate->ops->write(gate->ops, bytes, noise->host.load, load);
    return true;
}

/* h = c + drawn s: what c gets goes into dlogits, and what that would hand on to spread is taken back there. */
static void contest_backward(const fsm_gate_pass *pass, int64_t token, int32_t expert, const contest *c)
{
    const fsm_gate_noise *noise = pass->own;
    int64_t first = token * pass->gate->num_experts, at = first + expert;
    if (!isfinite(c->above)) return;
    double slope = noise->host.load[expert] * normal_density(c->above) / c->sigma;
    double ds = -slope * c->above - slope * noise->host.drawn[at];
    noise->host.dlogits[at] += (float)slope;
    noise->host.dlogits[first + c->rival] -= (float)slope;
    noise->host.dspread[at] += (float)ds * fsm_sigmoid(noise->host.spread[at]);
}

static void tokens_backward(void *context, int64_t first, int64_t count)
{
    const fsm_gate_pass *pass = context;
    for (int64_t i = first; i < first + count; i++) {
        int32_t rivals[2];
        find_rivals(pass, i, rivals);
        for (int32_t e = 0; e < pass->gate->num_experts; e++) {
            contest c = contest_of(pass, i, e, rivals);
            contest_backward(pass, i, e, &c);
        }
    }
}

void fsm_smooth_load_backward(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    const fsm_ops *ops = gate->ops;
    const fsm_gate_noise *noise = pass->own;
    size_t bytes = score_bytes(pass);
    if (gate->choices == gate->num_experts) return; /* always chosen */
    ops->read(ops, sizeof(double) * (size_t)gate->num_experts, pass->loss.load, noise->host.load);
    ops->read(ops, bytes, pass->dlogits, noise->host.dlogits);
    ops->read(ops, bytes, noise->dspread, noise->host.dspread);
    ops->for_rows(ops, pass->input.n, gate->num_experts, tokens_backward, pass);
    ops->write(ops, bytes, noise->host.dlogits, pass->dlogits);
    ops->write(ops, bytes, noise->host.dspread, noise->dspread);
}
