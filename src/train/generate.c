/* Text from a prompt: the prompt goes through the model at once, then a token at a time against the cache. */
#include <fsmoe/model.h>

#include "base/rng.h"
#include "model/finite.h"
#include "train/inference.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct candidate {
    int32_t id;
    double probability;
} candidate;

static int likelier(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->probability != y->probability) return x->probability < y->probability ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* One token by temperature and nucleus (Holtzman et al. 2020): the fewest likeliest tokens whose probabilities reach
 * top_p, drawn in proportion. `uniform` is the draw. */
static int32_t pick(const float *logits, int64_t n, double temperature, double top_p, double uniform,
                    candidate *candidates)
{
    double top = -INFINITY, total = 0, nucleus = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, logits[i]);
    for (int64_t i = 0; i < n; i++) {
        double scaled = temperature > 0 ? (logits[i] - top) / temperature : (logits[i] == top ? 0 : -INFINITY);
        candidates[i] = (candidate){(int32_t)i, exp(scaled)};
        total += candidates[i].probability;
    }
    qsort(candidates, (size_t)n, sizeof *candidates, likelier);
    if (temperature <= 0) return candidates[0].id;
    int64_t kept = 0;
    while (kept < n && (kept == 0 || nucleus < top_p * total)) nucleus += candidates[kept++].probability;
    double at = uniform * nucleus;
    for (int64_t i = 0; i < kept; i++) {
        at -= candidates[i].probability;
        if (at < 0) return candidates[i].id;
    }
    return candidates[kept - 1].id;
}

/* Everything of one generation. */
typedef struct generation {
    fsm_inference inference;
    const fsmoe_generate_options *options;
    int32_t *ids;
    size_t prompt, count, most, wanted; /* wanted: most, were the model's positions no limit */
    candidate *candidates;
    float *logits; /* [V] of the last token */
    char *text;    /* decoded so far */
    size_t size;
} generation;

/* Whatever would be drawn from such logits is noise. */
static fsmoe_status check_logits(const generation *g, const float *logits)
{
    int64_t vocab = g->inference.config->model.vocab_size, at = fsm_first_not_finite(logits, vocab);
    if (at == vocab) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_NUMERIC, "after %zu tokens the logits are not finite: that of id %lld is %g", g->count,
                    (long long)at, (double)logits[at]);
}

static fsmoe_status forward(generation *g, size_t from, size_t n, const float **logits)
{
    fsm_model *model = g->inference.stepper.model;
    fsm_batch batch = {.samples = 1, .seq_len = (int64_t)n, .ids = g->ids + from};
    model->past = (int64_t)from;
    FSM_TRY(fsm_stepper_forward(&g->inference.stepper, &batch));
    const fsm_ops *ops = g->inference.stepper.ops;
    ops->read(ops, sizeof *g->logits * (size_t)g->inference.config->model.vocab_size,
              fsm_pass_last_logits(&model->passes[0]), g->logits);
    *logits = g->logits;
    return check_logits(g, *logits);
}

/* Decodes all ids again, since a character may span tokens, and hands on what is new; *stop if the caller says so. */
static fsmoe_status show(generation *g, bool *stop)
{
    char *text;
    size_t size, old = g->size;
    FSM_TRY(fsmoe_tokenizer_decode(g->inference.tokenizer, g->ids, g->count, &text, &size));
    free(g->text);
    g->text = text;
    g->size = size;
    *stop = g->options->on_text && size > old && g->options->on_text(g->options->user, text + old, size - old) != 0;
    return FSMOE_OK;
}

/* The caller asked for more than the model has positions for. */
static void tell_cut(const generation *g)
{
    char text[128];
    if (g->count < g->most || g->most == g->wanted || !g->options->on_message) return;
    snprintf(text, sizeof text, "%zu of %zu tokens: the model knows no more positions", g->count - g->prompt,
             g->wanted - g->prompt);
    g->options->on_message(g->options->user, text);
}

static fsmoe_status continue_prompt(generation *g)
{
    const fsmoe_generate_options *o = g->options;
    int64_t vocab = fsmoe_tokenizer_vocab_size(g->inference.tokenizer); /* rows beyond it stand for nothing */
    int32_t end = fsmoe_tokenizer_end_of_text(g->inference.tokenizer);
    size_t seen = 0;
    bool stop;
    FSM_TRY(show(g, &stop));
    while (!stop && g->count < g->most) {
        const float *logits;
        FSM_TRY(forward(g, seen, g->count - seen, &logits));
        seen = g->count;
        double uniform = fsm_rng_uniform(o->seed, FSM_RNG_SAMPLE, (uint64_t)(g->count - g->prompt));
        int32_t id = pick(logits, vocab, o->temperature, o->top_p, uniform, g->candidates);
        if (id == end) break;
        g->ids[g->count++] = id;
        FSM_TRY(show(g, &stop));
    }
    tell_cut(g);
    return FSMOE_OK;
}

static fsmoe_status check_options(const fsmoe_generate_options *o)
{
    if (!o->prompt || !o->prompt[0]) return fsm_fail(FSMOE_ERROR_CONFIG, "the prompt is empty");
    if (!(o->temperature >= 0 && isfinite(o->temperature)))
        return fsm_fail(FSMOE_ERROR_CONFIG, "temperature %g is not a number from 0 up", o->temperature);
    if (!(o->top_p > 0 && o->top_p <= 1)) return fsm_fail(FSMOE_ERROR_CONFIG, "top-p %g is not in (0, 1]", o->top_p);
    if (o->max_tokens < 0) return fsm_fail(FSMOE_ERROR_CONFIG, "%lld tokens to add", (long long)o->max_tokens);
    return FSMOE_OK;
}

/* The prompt's ids, with room for what follows. */
static fsmoe_status encode_prompt(generation *g)
{
    int64_t positions = g->inference.config->model.max_seq_len;
    FSM_TRY(fsmoe_tokenizer_encode(g->inference.tokenizer, g->options->prompt, strlen(g->options->prompt), &g->ids,
                                   &g->prompt));
    if ((int64_t)g->prompt > positions)
        return fsm_fail(FSMOE_ERROR_CONFIG, "the prompt has %zu tokens, the model only %lld positions", g->prompt,
                        (long long)positions);
    g->count = g->prompt;
    g->most = g->prompt + (size_t)g->options->max_tokens;
    g->wanted = g->most;
    /* the last token needs no position: nothing is predicted from it */
    if (g->most > (size_t)positions + 1) g->most = (size_t)positions + 1;
    int32_t *larger = realloc(g->ids, (g->most + 1) * sizeof *larger);
    if (larger) g->ids = larger;
    g->candidates = calloc((size_t)g->inference.config->model.vocab_size, sizeof *g->candidates);
    g->logits = calloc((size_t)g->inference.config->model.vocab_size, sizeof *g->logits);
    return larger && g->candidates && g->logits ? FSMOE_OK
                                                : fsm_fail(FSMOE_ERROR_MEMORY, "no memory for %zu tokens", g->most);
}

fsmoe_status fsmoe_generate(const char *model_dir, const fsmoe_generate_options *options, char **text, size_t *size)
{
    generation g = {.options = options};
    FSM_TRY(check_options(options));
    FSM_TRY(fsm_inference_open(model_dir, options->tokenizer, options->on_message, options->user, &g.inference));
    fsmoe_status status = fsm_can_generate(&g.inference.config->moe);
    if (status == FSMOE_OK) status = encode_prompt(&g);
    g.inference.config->data.seq_len = g.inference.config->model.max_seq_len;
    g.inference.config->train.micro_batch = g.inference.config->train.global_batch = 1;
    const fsm_model_options model_options = {.max_samples = 1, .cache = true};
    if (status == FSMOE_OK) status = fsm_inference_load(&g.inference, model_dir, &model_options);
    if (status == FSMOE_OK) status = continue_prompt(&g);
    free(g.ids);
    free(g.candidates);
    free(g.logits);
    fsm_inference_close(&g.inference);
    if (status == FSMOE_OK) {
        *text = g.text;
        *size = g.size;
    } else {
        free(g.text);
    }
    return status;
}
