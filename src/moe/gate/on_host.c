/* Compiled with tensors open: below, what is not read from the pass by operations is the host's. */
#include "moe/gate/on_host.h"

#include "base/bf16.h"
#include "moe/gate/router.h"

typedef struct fsm_gate_host {
    fsm_gate gate;      /* on the reference's operations */
    fsm_gate_pass pass; /* of it: the kind's, all arrays the host's */
    int param_count;
    fsm_param_view params[FSM_MAX_PARAMS_A_MODULE];
    float *x, *noise; /* [N, M], [N, E] */
    int32_t *ids;     /* [N] */
    uint16_t *narrow; /* [N, M] rows as they come, where they are bf16 */
    float *dweight;   /* [N, choices] */
    double *loss;     /* [2 E + 1] share, load, z */
} fsm_gate_host;

static bool rows_are_float(const fsm_memory *memory)
{
    return memory->row_bytes == (int64_t)sizeof(float);
}

/* Before there are operations, memory is measured for those of the host. */
bool fsm_gate_needs_host(const fsm_memory *memory, const fsm_gate *gate)
{
    bool on_host = !gate->ops || gate->ops->on_host;
    return gate->kind->runs_on_host && !(on_host && rows_are_float(memory));
}

/* ---- memory ---- */

static void take_params(fsm_memory *memory, const fsm_gate *gate, fsm_gate_host *h)
{
    fsm_param_spec specs[FSM_MAX_PARAMS_A_MODULE];
    h->param_count = gate->kind->list_params ? gate->kind->list_params(gate->config, gate->hidden, specs) : 0;
    for (int i = 0; i < h->param_count; i++) {
        int64_t elems = specs[i].rows * specs[i].cols;
        h->params[i] = (fsm_param_view){.rows = specs[i].rows, .cols = specs[i].cols};
        h->params[i].value = FSM_TAKE_HOST(memory, float, elems);
        h->params[i].grad = FSM_TAKE_HOST(memory, float, elems);
    }
}

static void take_pass(fsm_memory *memory, const fsm_gate *gate, int64_t max_tokens, fsm_gate_pass *pass)
{
    int64_t scores = max_tokens * gate->num_experts, pairs = max_tokens * gate->choices;
    pass->logits = FSM_TAKE_HOST(memory, float, scores);
    pass->prob = FSM_TAKE_HOST(memory, float, scores);
    pass->dlogits = FSM_TAKE_HOST(memory, float, scores);
    pass->lse = FSM_TAKE_HOST(memory, float, max_tokens);
    pass->choice = FSM_TAKE_HOST(memory, int32_t, pairs);
    pass->score = FSM_TAKE_HOST(memory, float, pairs);
    pass->weight = FSM_TAKE_HOST(memory, float, pairs);
    pass->dx = FSM_TAKE_HOST(memory, float, max_tokens * gate->hidden);
}

void fsm_gate_host_take(fsm_memory *memory, int64_t max_tokens, fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    int64_t elems = max_tokens * gate->hidden;
    fsm_gate_host *own = FSM_TAKE_HOST(memory, fsm_gate_host, 1), taken = {.gate = *gate};
    take_params(memory, gate, &taken);
    take_pass(memory, gate, max_tokens, &taken.pass);
    taken.x = FSM_TAKE_HOST(memory, float, elems);
    taken.noise = FSM_TAKE_HOST(memory, float, max_tokens * gate->num_experts);
    taken.ids = FSM_TAKE_HOST(memory, int32_t, max_tokens);
    taken.narrow = rows_are_float(memory) ? NULL : FSM_TAKE_HOST(memory, uint16_t, elems);
    taken.dweight = FSM_TAKE_HOST(memory, float, max_tokens * gate->choices);
    taken.loss = FSM_TAKE_HOST(memory, double, 2 * gate->num_experts + 1);
    if (own) own->gate = *gate;
    taken.pass.gate = own ? &own->gate : gate; /* the kind asks it for sizes, also while memory is only measured */
    if (gate->kind->take) gate->kind->take(memory, max_tokens, &taken.pass);
    pass->host = own;
    if (own) *own = taken;
}

/* ---- there ---- */

/* `count` elements of `bytes`; NULL stays NULL. */
static void *fetch(const fsm_ops *ops, int64_t count, size_t bytes, const void *tensor, void *host)
{
    if (!tensor) return NULL;
    ops->read(ops, bytes * (size_t)count, tensor, host);
    return host;
}

static void widen(int64_t n, const uint16_t *bf16, float *x)
{
    for (int64_t i = 0; i < n; i++) x[i] = fsm_from_bf16(bf16[i]);
}

static void fetch_rows(const fsm_ops *ops, int64_t n, const fsm_row *rows, fsm_gate_host *h)
{
    fetch(ops, n, (size_t)ops->row_bytes, rows, h->narrow ? (void *)h->narrow : h->x);
    if (h->narrow) widen(n, h->narrow, h->x);
}

static void fetch_input(const fsm_gate_pass *pass, fsm_gate_host *h)
{
    const fsm_ops *ops = pass->gate->ops;
    const fsm_gate_input *in = &pass->input;
    fetch_rows(ops, in->n * pass->gate->hidden, in->x, h);
    h->pass.input = *in;
    h->pass.input.x = h->x;
    h->pass.input.ids = fetch(ops, in->n, sizeof *h->ids, in->ids, h->ids);
    h->pass.input.noise = fetch(ops, in->n * pass->gate->num_experts, sizeof *h->noise, in->noise, h->noise);
}

/* The gate as it is now, with values (which a step changes) and, in backward, gradients so far. */
static void fetch_gate(const fsm_gate *gate, bool grads, fsm_gate_host *h)
{
    h->gate = *gate;
    h->gate.ops = &fsm_ops_reference;
    for (int i = 0; i < h->param_count; i++) {
        fsm_param_view *p = &h->params[i];
        fetch(gate->ops, p->rows * p->cols, sizeof(float), gate->params[i].value, p->value);
        if (grads) fetch(gate->ops, p->rows * p->cols, sizeof(float), gate->params[i].grad, p->grad);
        h->gate.params[i] = *p;
        h->gate.weights[i] = (fsm_weight){.w = p->value, .out = p->rows, .in = p->cols};
    }
}

static void fetch_loss(const fsm_gate_pass *pass, fsm_gate_host *h)
{
    const fsm_ops *ops = pass->gate->ops;
    int64_t experts = pass->gate->num_experts;
    h->pass.loss.share = fetch(ops, experts, sizeof(double), pass->loss.share, h->loss);
    h->pass.loss.load = fetch(ops, experts, sizeof(double), pass->loss.load, h->loss + experts);
    h->pass.loss.z = fetch(ops, 1, sizeof(double), pass->loss.z, h->loss + 2 * experts);
}

/* ---- and back ---- */

static void put(const fsm_ops *ops, int64_t count, const void *host, void *tensor)
{
    if (tensor) ops->write(ops, sizeof(float) * (size_t)count, host, tensor);
}

void fsm_gate_host_forward(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    fsm_gate_host *h = pass->host;
    const fsm_gate_pass *made = &h->pass;
    int64_t n = pass->input.n, scores = n * gate->num_experts, pairs = n * gate->choices;
    fetch_gate(gate, false, h);
    fetch_input(pass, h);
    gate->kind->forward(&h->pass);
    put(gate->ops, scores, made->logits, pass->logits);
    put(gate->ops, scores, made->prob, pass->prob);
    put(gate->ops, n, made->lse, pass->lse);
    put(gate->ops, pairs, made->choice, pass->choice);
    put(gate->ops, pairs, made->score, pass->score);
    put(gate->ops, pairs, made->weight, pass->weight);
}

void fsm_gate_host_backward(fsm_gate_pass *pass)
{
    const fsm_gate *gate = pass->gate;
    const fsm_ops *ops = gate->ops;
    fsm_gate_host *h = pass->host;
    int64_t n = pass->input.n, elems = n * gate->hidden;
    fetch_gate(gate, true, h);
    fetch_loss(pass, h);
    h->pass.dweight = fetch(ops, n * gate->choices, sizeof(float), pass->dweight, h->dweight);
    fetch(ops, elems, sizeof(float), pass->dx, h->pass.dx);
    gate->kind->backward(&h->pass);
    put(ops, elems, h->pass.dx, pass->dx);
    for (int i = 0; i < h->param_count; i++)
        put(ops, h->params[i].rows * h->params[i].cols, h->params[i].grad, gate->params[i].grad);
}

/* ---- what kinds that run on the host have besides (router.h) ---- */

typedef struct token_loop {
    const fsm_gate_pass *pass;
    fsm_token_body *body;
} token_loop;

static void run_tokens(void *context, int64_t first, int64_t count)
{
    const token_loop *loop = context;
    for (int64_t i = first; i < first + count; i++) loop->body(loop->pass, i);
}

void fsm_router_each_token(const fsm_gate_pass *pass, int64_t width, fsm_token_body *body)
{
    token_loop loop = {.pass = pass, .body = body};
    const fsm_ops *ops = pass->gate->ops;
    ops->for_rows(ops, pass->input.n, width, run_tokens, &loop);
}

/* Where a (token, choice) pair's expert stands among the logits. */
static int64_t logit_of(const fsm_gate_pass *pass, int64_t pair)
{
    return pair / pass->gate->choices * pass->gate->num_experts + pass->choice[pair];
}

void fsm_router_weigh(fsm_gate_pass *pass, fsm_weight_body *f)
{
    float slope;
    for (int64_t i = 0; i < pass->input.n * pass->gate->choices; i++)
        pass->weight[i] = pass->choice[i] < 0 ? 0 : f(pass->logits[logit_of(pass, i)], &slope);
}

void fsm_router_weigh_backward(fsm_gate_pass *pass, fsm_weight_body *f)
{
    for (int64_t i = 0; i < pass->input.n * pass->gate->choices; i++) {
        float slope;
        if (pass->choice[i] < 0) continue;
        f(pass->logits[logit_of(pass, i)], &slope);
        pass->dlogits[logit_of(pass, i)] += pass->dweight[i] * slope;
    }
}
