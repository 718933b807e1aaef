#include "train/batches.h"

#include <stdlib.h>
#include <string.h>

int64_t fsm_batches_share(int64_t micro_batch, int dp)
{
    return (micro_batch + dp - 1) / dp;
}

fsmoe_status fsm_batches_create(const fsmoe_tokens *tokens, int64_t seq_len, uint64_t seed, bool shuffle,
                                int64_t micro_batch, const fsm_topo *topo, fsm_batches *batches)
{
    *batches = (fsm_batches){.tokens = tokens,
                             .seq_len = seq_len,
                             .dp = topo->dp,
                             .dp_index = topo->dp_index,
                             .share = fsm_batches_share(micro_batch, topo->dp)};
    if (fsm_sampler_count(fsmoe_tokens_count(tokens), seq_len) == 0)
        return fsm_fail(FSMOE_ERROR_CONFIG, "%lld tokens are shorter than one sample of %lld and a target",
                        (long long)fsmoe_tokens_count(tokens), (long long)seq_len);
    FSM_TRY(
        fsm_sampler_create(seed, shuffle, fsm_sampler_count(fsmoe_tokens_count(tokens), seq_len), &batches->sampler));
    size_t ids = (size_t)(FSM_MAX_LANES * batches->share * seq_len);
    batches->ids = malloc((2 * ids + (size_t)seq_len + 1) * sizeof(int32_t));
    if (!batches->ids) {
        fsm_batches_destroy(batches);
        return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a batch of %zu tokens", ids);
    }
    batches->targets = batches->ids + ids;
    batches->sample = batches->targets + ids;
    return FSMOE_OK;
}

void fsm_batches_destroy(fsm_batches *batches)
{
    fsm_sampler_destroy(&batches->sampler);
    free(batches->ids);
    *batches = (fsm_batches){0};
}

fsmoe_status fsm_batches_load(fsm_batches *b, int64_t first, int64_t n, int parts, int lane, fsm_batch *batch)
{
    int64_t mine = n * b->dp_index / b->dp, end = n * (b->dp_index + 1) / b->dp, seq_len = b->seq_len;
    int64_t from, to, at = lane * b->share * seq_len;
    fsm_lanes_part(end - mine, parts, lane % parts, &from, &to);
    *batch = (fsm_batch){
        .samples = to - from,
        .seq_len = seq_len,
        .first_token = (uint64_t)((first + mine + from) * seq_len),
        .ids = b->ids + at,
        .targets = b->targets + at,
        .micro_samples = n,
        .parts = parts,
        .part = lane % parts,
    };
    for (int64_t i = mine + from; i < mine + to; i++, at += seq_len) {
        int64_t sample = fsm_sampler_sample(&b->sampler, first + i);
        FSM_TRY(fsmoe_tokens_copy(b->tokens, sample * seq_len, seq_len + 1, b->sample));
        memcpy(b->ids + at, b->sample, sizeof(int32_t) * (size_t)seq_len);
        memcpy(b->targets + at, b->sample + 1, sizeof(int32_t) * (size_t)seq_len);
    }
    return FSMOE_OK;
}
