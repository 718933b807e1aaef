#include "plan/step_memory.h"

#include "config/check.h"
#include "model/model.h"

#include <fsmoe/cluster.h>
#include <stdio.h>

/* Parameters, their gradients, and two moments of each. */
enum { ARRAYS_OF_PARAMETERS = 4 };

/* What a step may take beyond one lane where nothing is asked for: as much as experts make before their activation in
 * one layer. That is a spare or two, by which weight gradients may be late; not another lane. */
static int64_t room_for_spares(const fsmoe_config *config, const fsm_topo *topo, int64_t max_samples)
{
    fsm_wire_shape wire;
    fsm_lanes_wire(config, topo, max_samples, &wire);
    int64_t width = config->model.ffn_hidden / topo->esp * fsm_expert_find(config->moe.expert)->pre_width;
    return fsm_config_row_bytes(config) * wire.max_expert_rows * width;
}

static fsmoe_status limit_of(const fsmoe_config *config, int64_t room, fsm_step_memory *m)
{
    double bytes;
    m->most = m->fixed + (m->pass[0] > m->whole ? m->pass[0] : m->whole) + room;
    m->asked = *config->parallel.memory != 0;
    if (!m->asked) return FSMOE_OK;
    FSM_TRY(fsmoe_quantity_parse(config->parallel.memory, FSMOE_QUANTITY_BYTES, &bytes));
    m->most = bytes < (double)FSM_STEP_MOST_BYTES ? (int64_t)bytes : FSM_STEP_MOST_BYTES;
    return FSMOE_OK;
}

/* Says where the key was set. */
static fsmoe_status fail_at(const fsmoe_config *config, const char *key)
{
    char why[512];
    snprintf(why, sizeof why, "%s", fsmoe_last_error());
    return fsm_config_fail_at(config, key, NULL, "%s", why);
}

fsmoe_status fsm_step_describe_memory(const fsmoe_config *config, const fsm_topo *topo, int64_t max_samples,
                                      fsm_step_shape *shape)
{
    const fsm_model_options options = {.max_samples = max_samples, .training = true};
    fsm_model_memory model;
    fsm_step_memory *m = &shape->memory;
    if (fsm_model_is_absurd(config, max_samples)) return FSMOE_OK; /* nothing is known */
    FSM_TRY(fsm_model_measure(config, NULL, topo, &options, &model));
    m->fixed = ARRAYS_OF_PARAMETERS * (int64_t)sizeof(float) * model.param_elems + (int64_t)model.fixed_bytes;
    m->whole = (int64_t)model.whole_bytes;
    for (int i = 0; i < FSM_MAX_LANES; i++) {
        m->pass[i] = (int64_t)model.pass_bytes[i];
        m->spare[i] = (int64_t)model.spare_bytes[i];
    }
    FSM_TRY(limit_of(config, room_for_spares(config, topo, max_samples), m));
    if (fsm_step_check_lanes(shape, 0) != FSMOE_OK) return fail_at(config, "parallel.memory");
    return fsm_step_check_lanes(shape, shape->lanes) == FSMOE_OK ? FSMOE_OK : fail_at(config, "parallel.lanes");
}

int64_t fsm_step_bytes(const fsm_step_shape *shape, fsm_lanes lanes)
{
    const fsm_step_memory *m = &shape->memory;
    int parts = lanes.parts > 1 ? lanes.parts : 1, all = lanes.lanes > 1 ? lanes.lanes : 1;
    int64_t passes = all / parts * (m->pass[parts - 1] + lanes.spare * m->spare[parts - 1]);
    return m->most > 0 ? m->fixed + (passes > m->whole ? passes : m->whole) : 0;
}

bool fsm_step_allows(const fsm_step_shape *shape, fsm_lanes lanes)
{
    return !shape->memory.asked || fsm_step_bytes(shape, lanes) <= shape->memory.most;
}

/* All of a micro-batch's parts at once hold what it holds, but for rounding; unless they cannot be shared out over MP
 * as evenly. */
static bool hold_no_more(const fsm_step_shape *shape, fsm_lanes lanes)
{
    int64_t tokens = 0;
    for (int part = 0; part < lanes.parts; part++) tokens += fsm_step_part(shape, lanes.parts, part).n_local;
    return lanes.lanes == lanes.parts && lanes.spare == 0 && tokens <= shape->n_local;
}

bool fsm_step_fits(const fsm_step_shape *shape, const fsm_graph *graph)
{
    fsm_lanes lanes = {fsm_graph_lanes(graph), fsm_graph_parts(graph), graph->spare};
    if (shape->memory.most == 0 || (!shape->memory.asked && hold_no_more(shape, lanes))) return true;
    return fsm_step_bytes(shape, lanes) <= shape->memory.most;
}

int fsm_step_most_spare(const fsm_step_shape *shape, int lanes, int parts)
{
    const fsm_step_memory *m = &shape->memory;
    int spare = FSM_MOST_SPARE;
    if (m->most == 0) return lanes == parts ? 0 : -1; /* nothing is known */
    while (spare >= 0 && fsm_step_bytes(shape, (fsm_lanes){lanes, parts, spare}) > m->most) spare--;
    return spare < 0 && !m->asked && hold_no_more(shape, (fsm_lanes){lanes, parts, 0}) ? 0 : spare;
}

/* Whatever memory there is. */
static bool may_have(const fsm_step_shape *shape, int lanes, int parts)
{
    int most_side = shape->micro_in_turn ? 1 : shape->micro_batches;
    return lanes % parts == 0 && lanes / parts <= most_side && (parts == 1 || parts <= shape->most_parts);
}

/* The least that so many lanes take, of the layouts that the step may have; 0: there is none. */
static int64_t least_bytes(const fsm_step_shape *shape, int lanes)
{
    int64_t least = 0;
    for (int parts = 1; parts <= lanes && lanes <= FSM_MAX_LANES; parts++) {
        bool may_be = may_have(shape, lanes, parts);
        int64_t bytes = may_be ? fsm_step_bytes(shape, (fsm_lanes){.lanes = lanes, .parts = parts}) : 0;
        if (bytes > 0 && (least == 0 || bytes < least)) least = bytes;
    }
    return least;
}

/* What forbids parts, and what memory would allow micro-batches side by side. */
static fsmoe_status fail_lanes(const fsm_step_shape *s, int lanes)
{
    char memory[160] = "", parts[160] = "";
    int most = s->most_parts > 1 ? s->most_parts : 1;
    int64_t bytes = least_bytes(s, lanes);
    if (bytes > 0)
        snprintf(memory, sizeof memory, "parallel.memory has to allow more: they take %lld bytes a rank, not %lld",
                 (long long)bytes, (long long)s->memory.most);
    if (lanes > most)
        snprintf(parts, sizeof parts, "a micro-batch may have %d at most%s%s%s%s", most, s->why_parted ? " (" : "",
                 s->why_parted ? s->why_parted : "", s->why_parted ? ")" : "",
                 memory[0] ? "; for several of them at once " : "");
    return fsm_fail(FSMOE_ERROR_CONFIG, "the step cannot be taken in %d lanes: %s%s", lanes, parts, memory);
}

/* A layout of so many lanes that fits. */
static bool can_be(const fsm_step_shape *shape, int lanes)
{
    for (int parts = 1; parts <= lanes && lanes <= FSM_MAX_LANES; parts++)
        if (may_have(shape, lanes, parts) && fsm_step_most_spare(shape, lanes, parts) >= 0) return true;
    return false;
}

fsmoe_status fsm_step_check_lanes(const fsm_step_shape *shape, int lanes)
{
    const fsm_lanes one = {.lanes = 1, .parts = 1};
    if (!fsm_step_allows(shape, one))
        return fsm_fail(FSMOE_ERROR_CONFIG, "parallel.memory is %lld bytes, but one lane takes %lld",
                        (long long)shape->memory.most, (long long)fsm_step_bytes(shape, one));
    return lanes == 0 || can_be(shape, lanes) ? FSMOE_OK : fail_lanes(shape, lanes);
}
