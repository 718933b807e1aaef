#include "train/trial.h"

#include "base/rng.h"
#include "config/config.h"
#include "plan/model_step.h"
#include "train/products.h"

#include <stdlib.h>

static fsmoe_status cut_model(fsmoe_model_config *m, int layers)
{
    if (layers < 0 || layers > m->num_layers || layers % m->moe_every != 0)
        return fsm_fail(FSMOE_ERROR_CONFIG,
                        "%d layers: the model is cut to a multiple of model.moe_every, which is %lld, of its "
                        "model.num_layers, which is %lld",
                        layers, (long long)m->moe_every, (long long)m->num_layers);
    m->vocab_size = (m->vocab_size * layers + m->num_layers - 1) / m->num_layers;
    m->num_layers = layers;
    return FSMOE_OK;
}

fsmoe_status fsm_trial_config(fsmoe_config *c, int layers, int micro_batches)
{
    FSM_TRY(fsmoe_config_set(c, "parallel.schedule=fsmoe-lanes")); /* whose keys the others' plans do without */
    c->parallel.forward_degree = c->parallel.backward_degree = 0;
    FSM_TRY(fsm_config_check(c));
    FSM_TRY(fsm_config_take_vocabulary(c));
    if (layers != 0) FSM_TRY(cut_model(&c->model, layers));
    FSM_TRY(fsm_config_derive(c));
    c->train.global_batch = micro_batches * c->train.micro_batch;
    return FSMOE_OK;
}

fsmoe_status fsm_trial_stepper(const fsmoe_config *config, fsm_comm *world,
                               void (*on_message)(void *user, const char *sentence), void *user, int64_t *samples,
                               fsm_stepper *stepper)
{
    fsm_products *products;
    char told[FSM_RUN_PRODUCTS_BYTES];
    *samples = fsm_samples_a_group(config, world);
    FSM_TRY(fsm_run_products_begin(config, world, NULL, &products, told));
    if (told[0] && on_message && world->rank == 0) on_message(user, told);
    const fsm_model_options options = {.max_samples = *samples, .training = true};
    const fsm_backend_options how = {.products = products};
    fsmoe_status status = fsm_stepper_create_by(config, world, &options, &how, stepper);
    free(products);
    return status;
}

fsmoe_status fsm_trial_tokens(const fsm_stepper *s, int64_t samples, int32_t **ids)
{
    size_t n = (size_t)(samples * s->config->data.seq_len);
    *ids = malloc(2 * n * sizeof **ids);
    if (!*ids) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a batch of %zu tokens", n);
    for (size_t i = 0; i < 2 * n; i++) {
        uint64_t bits = fsm_rng_bits((uint64_t)s->config->train.seed, FSM_RNG_SAMPLE + (uint32_t)s->topo.dp_index, i);
        (*ids)[i] = (int32_t)(bits % (uint64_t)s->config->model.vocab_size);
    }
    return FSMOE_OK;
}

fsmoe_status fsm_step_failed(const fsm_comm *world, fsmoe_status status)
{
    if (status == FSMOE_OK || status == FSMOE_ERROR_NUMERIC || world->size == 1) return status;
    return fsm_fail_within(FSMOE_ERROR_COMM, "rank %d", world->launched_as);
}

int64_t fsm_samples_a_group(const fsmoe_config *config, const fsm_comm *world)
{
    int64_t mp = config->parallel.mp_size;
    int dp = world->size % mp == 0 ? (int)(world->size / mp) : 1; /* else placing the ranks will say why not */
    return fsm_batches_share(config->train.micro_batch, dp);
}
