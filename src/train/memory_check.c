/* Whether a machine has the memory that the ranks on it will take, and what they took. */
#include "base/machine.h"
#include "model/model.h"
#include "profile/measure.h"
#include "train/batches.h"
#include "train/memory.h"
#include "train/place.h"
#include "train/same.h"

#include <stdio.h>

static const double HARDLY = 0.9;

/* By libraries, threads' stacks and connections once they are used: 4 to 24 MB in the runs of docs/memory.md. */
enum { PROCESS_GROWS = 10000000 };

/* Of the ranks of one machine. */
typedef struct demand {
    int ranks;
    double needed, worst, available; /* worst: if all tokens go to one rank; both beside what is held already */
} demand;

double fsm_memory_of_ranks(const fsm_memory_ranks *m, int ranks, bool has_first)
{
    int firsts = has_first ? 1 : 0;
    return firsts * (double)fsmoe_memory_total(&m->first) + (ranks - firsts) * (double)fsmoe_memory_total(&m->other);
}

static demand demand_of(const fsm_memory_ranks *m, int ranks, bool has_first)
{
    double held = fsm_machine_held_bytes();
    demand d = {.ranks = ranks, .available = fsm_machine_available_bytes()};
    d.needed = fsm_memory_of_ranks(m, ranks, has_first) - ranks * held;
    d.worst = d.needed + ranks * (double)m->first.worst_more;
    return d;
}

static fsmoe_status judge(const fsmoe_memory *first, const demand *d, bool force,
                          char warning[FSM_MEMORY_SENTENCE_BYTES])
{
    const double gb = 1e-9;
    char kinds[512];
    bool fits = d->needed <= d->available;
    fsmoe_memory_describe(first, kinds, sizeof kinds);
    if (d->available <= 0) return FSMOE_OK; /* the system does not say */
    if (!fits && !force)
        return fsm_fail(
            FSMOE_ERROR_MEMORY,
            "the run does not fit: %d rank%s of this machine take%s %.3f GB, of which %.3f GB are available; the "
            "first takes %s (--force tries it all the same)",
            d->ranks, d->ranks > 1 ? "s" : "", d->ranks > 1 ? "" : "s", gb * d->needed, gb * d->available, kinds);
    if (d->needed > HARDLY * d->available)
        snprintf(warning, FSM_MEMORY_SENTENCE_BYTES, "the run %s fit: it takes %.3f GB of the %.3f GB available here",
                 fits ? "may hardly" : "does not", gb * d->needed, gb * d->available);
    else if (d->worst > d->available)
        snprintf(
            warning, FSM_MEMORY_SENTENCE_BYTES,
            "the run fits as long as tokens spread over ranks: it takes %.3f GB of the %.3f GB available here, and "
            "%.3f GB if all of them go to one rank",
            gb * d->needed, gb * d->available, gb * d->worst);
    return FSMOE_OK;
}

fsmoe_status fsm_memory_predict_ranks(const fsmoe_config *config, const fsm_topo *topo, const fsm_memory_options *how,
                                      fsm_memory_ranks *memory)
{
    const fsm_topo first = fsm_topo_at(topo, 0), other = fsm_topo_at(topo, topo->ranks - 1);
    if (fsm_model_is_absurd(config, fsm_batches_share(config->train.micro_batch, topo->dp)))
        return fsm_fail(FSMOE_ERROR_MEMORY, "the run does not fit: a rank takes more than any machine has");
    FSM_TRY(fsm_memory_predict(config, &first, how, &memory->first));
    return fsm_memory_predict(config, &other, how, &memory->other);
}

/* Of this machine. Collective. */
static fsmoe_status count_ranks(fsm_comm *world, int *ranks, bool *has_first)
{
    int index;
    uint64_t machine = fsm_machine_id(), first = machine;
    FSM_TRY(world->control->local_ranks(world, ranks, &index));
    FSM_TRY(world->control->broadcast_bytes(world, &first, sizeof first, 0));
    *has_first = machine == first;
    return FSMOE_OK;
}

static fsmoe_status find_place(const fsmoe_config *config, fsm_comm *world, fsm_memory_options *how, fsm_topo *topo)
{
    FSM_TRY(fsm_same_config(world, config));
    fsmoe_status status = fsm_count_threads(config, world, &how->threads);
    if (status == FSMOE_OK) status = fsm_place(config, world, topo);
    return fsm_comm_agree(world, status);
}

fsmoe_status fsm_memory_check(const fsmoe_config *config, fsm_comm *world, const fsm_memory_options *options,
                              bool force, fsmoe_memory *predicted, char warning[FSM_MEMORY_SENTENCE_BYTES])
{
    fsm_topo topo;
    fsm_memory_options how = *options;
    fsm_memory_ranks all = {0};
    int ranks;
    bool has_first;
    int64_t process = predicted->process > 0 ? predicted->process : (int64_t)fsm_machine_held_bytes() + PROCESS_GROWS;
    warning[0] = 0;
    FSM_TRY(find_place(config, world, &how, &topo));
    FSM_TRY(count_ranks(world, &ranks, &has_first));
    fsmoe_status status = fsm_memory_predict_ranks(config, &topo, &how, &all);
    all.first.process = all.other.process = process;
    if (status == FSMOE_OK) {
        const demand d = demand_of(&all, ranks, has_first);
        *predicted = all.first;
        status = judge(predicted, &d, force, warning);
    }
    return fsm_comm_agree(world, status);
}

fsmoe_status fsm_memory_measure_peaks(fsm_comm *world, fsm_memory_record *record)
{
    double least_gb, largest_gb;
    record->peak_bytes = fsm_machine_peak_bytes();
    FSM_TRY(fsm_ranks_range(world, 1e-9 * record->peak_bytes, &least_gb, &largest_gb));
    record->largest_peak_bytes = 1e9 * largest_gb;
    return FSMOE_OK;
}
