#include "plan/window_sizes.h"

#include <math.h>

static const double DROPLESS_FACTOR = 2.0;

static fsm_load load(const fsm_cluster *cluster, fsm_cost_op op, int launches, double size)
{
    return (fsm_load){.cost = cluster->op[op].cost, .launches = launches, .size = size};
}

/* T = ceil(k f B L / E), never more than the tokens there are. */
static int capacity(const fsm_layer_sizes *s, double factor)
{
    double tokens = (double)s->batch * (double)s->seq_len;
    double rows = fmin(ceil((double)s->top_k * factor * tokens / (double)s->num_experts), tokens);
    return rows < 1 ? 1 : rows > 1e6 ? 1000000 : (int)rows;
}

fsm_window fsm_window_of_sizes(const fsm_layer_sizes *s, const fsm_cluster *cluster, fsm_phase phase)
{
    double factor = s->capacity_factor > 0 ? s->capacity_factor : DROPLESS_FACTOR, esp = (double)s->esp_size;
    double n = (double)s->top_k * factor * (double)s->batch * (double)s->seq_len * (double)s->hidden;
    int gemms = s->gated ? 3 : 2, exchanges = cluster->nodes == 1 ? 0 : 1, shards = s->esp_size > 1;
    double macs = gemms * n * (double)s->ffn_hidden / esp;
    bool backward = phase == FSM_BACKWARD;
    return (fsm_window){
        .stage = {[FSM_STAGE_DISPATCH] = load(cluster, FSM_COST_ALLTOALL, exchanges, n / esp),
                  [FSM_STAGE_ALLGATHER] = load(cluster, FSM_COST_ALLGATHER, shards, n),
                  [FSM_STAGE_EXPERT] = load(cluster, FSM_COST_GEMM, gemms, macs),
                  [FSM_STAGE_WEIGHT_GRAD] = load(cluster, FSM_COST_GEMM, backward ? gemms : 0, macs),
                  [FSM_STAGE_REDUCESCATTER] = load(cluster, FSM_COST_REDUCESCATTER, shards, n),
                  [FSM_STAGE_COMBINE] = load(cluster, FSM_COST_ALLTOALL, exchanges, n / esp)},
        .allreduce = load(cluster, FSM_COST_ALLREDUCE, backward && s->allreduce_elems > 0, s->allreduce_elems),
        .max_degree = capacity(s, factor),
    };
}

void fsm_window_add_attention(const fsm_layer_sizes *s, const fsm_cluster *cluster, fsm_phase phase, fsm_window *layer)
{
    double tokens = (double)s->batch * (double)s->seq_len, hidden = (double)s->hidden,
           passes = phase == FSM_BACKWARD ? 2 : 1;
    fsm_load projections = load(cluster, FSM_COST_GEMM, 4, 4 * tokens * hidden * hidden / (double)s->esp_size);
    fsm_load scores = load(cluster, FSM_COST_GEMM, 2, 2 * tokens * (double)s->seq_len * hidden / (double)s->esp_size);
    layer->dense_s += passes * (fsm_load_s(&projections, 1) + fsm_load_s(&scores, 1));
}
