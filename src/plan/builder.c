#include "plan/builder_parts.h"

#include <stdlib.h>
#include <string.h>

/* ---- tasks ---- */

fsm_task fsm_builder_task(const fsm_step_builder *b, fsm_task_kind kind, fsm_phase phase, int layer, double size)
{
    return (fsm_task){.kind = kind,
                      .phase = phase,
                      .resource = FSM_COMPUTE,
                      .layer = layer,
                      .micro = b->micro,
                      .lane = fsm_graph_lanes(b->graph) > 1 ? b->lane : -1,
                      .size = size};
}

/* Micro-batches side by side. */
static int side(const fsm_step_builder *b)
{
    return fsm_graph_lanes(b->graph) / fsm_graph_parts(b->graph);
}

bool fsm_builder_is_last_micro(const fsm_step_builder *b)
{
    return b->micro + side(b) >= b->shape->micro_batches;
}

void fsm_builder_finish(fsm_step_builder *b, fsm_task_kind kind, int layer, int task)
{
    if (!fsm_builder_is_last_micro(b)) return;
    for (int k = b->layer_first[layer + 1]; k < b->layer_first[layer + 2]; k++) {
        int gradient = b->of_layer[k];
        if (b->shape->gradients[gradient].after == kind)
            b->finished[gradient * fsm_graph_lanes(b->graph) + b->lane] = task;
    }
}

void fsm_builder_compute(fsm_step_builder *b, fsm_task_kind kind, fsm_phase phase, int layer, int launches, double size)
{
    fsm_task t = fsm_builder_task(b, kind, phase, layer, size);
    t.launches = launches;
    b->last = fsm_graph_add(b->graph, t, &b->last, 1);
    if (phase == FSM_BACKWARD) fsm_builder_finish(b, kind, layer, b->last);
}

fsm_resource fsm_builder_stream(const fsm_step_builder *b, fsm_group group)
{
    return b->one_stream ? fsm_step_stream(b->shape) : b->shape->link[group];
}

void fsm_builder_collective(fsm_step_builder *b, fsm_task_kind kind, fsm_phase phase, int layer, fsm_group group,
                            double size)
{
    if (b->shape->group_size[group] == 1) return;
    fsm_task t = fsm_builder_task(b, kind, phase, layer, size);
    t.group = group;
    t.resource = fsm_builder_stream(b, group);
    t.launches = 1;
    b->last = fsm_graph_add(b->graph, t, &b->last, 1);
}

/* Of so many tasks, which may be of several lanes. */
static int exchange_after(fsm_step_builder *b, fsm_task t, fsm_group group, const int *after, int n)
{
    t.group = group;
    t.resource = b->shape->group_size[group] > 1 ? fsm_builder_stream(b, group) : FSM_COMPUTE;
    return fsm_graph_add(b->graph, t, after, n);
}

void fsm_builder_exchange(fsm_step_builder *b, fsm_task_kind kind, fsm_phase phase, int layer, fsm_group group,
                          double size)
{
    b->last = exchange_after(b, fsm_builder_task(b, kind, phase, layer, size), group, &b->last, 1);
}

bool fsm_step_sends_beside_attention(const fsm_step_shape *shape, bool one_stream)
{
    fsm_resource link = shape->link[FSM_GROUP_EP];
    return shape->group_size[FSM_GROUP_MP] > 1 && (one_stream || shape->link[FSM_GROUP_MP] == link);
}

/* ---- dense work ---- */

static void attention(fsm_step_builder *b, fsm_phase phase, int layer, const fsm_layer_cut *cut)
{
    const fsm_step_shape *s = b->shape;
    if (s->experts_only) return;
    int passes = phase == FSM_FORWARD ? 1 : 2, gemms = 6; /* Q, K, V, scores, values, output */
    double tokens = (double)b->size.n_group, elems = tokens * (double)s->hidden;
    double projections = elems * (double)(s->qkv_width + s->attention_width);
    double scores = tokens * (double)s->seq_len * (double)s->attention_width; /* causal: half of both products */
    if (phase == FSM_FORWARD)
        fsm_builder_compute(b, FSM_TASK_NORM, phase, layer, 0, (double)b->size.n_local * (double)s->hidden);
    fsm_builder_collective(b, FSM_TASK_MP_ALLGATHER, phase, layer, FSM_GROUP_MP,
                           phase == FSM_FORWARD ? fsm_step_moved(s, elems) : elems);
    if (fsm_step_sends_beside_attention(b->shape, b->one_stream)) fsm_builder_send_all(b, phase, cut, 1);
    fsm_builder_compute(b, FSM_TASK_ATTENTION, phase, layer, passes * gemms, passes * (projections + scores));
    fsm_builder_collective(b, FSM_TASK_MP_REDUCESCATTER, phase, layer, FSM_GROUP_MP, elems);
    if (phase == FSM_BACKWARD)
        fsm_builder_compute(b, FSM_TASK_NORM, phase, layer, 0, (double)b->size.n_local * (double)s->hidden);
}

static void dense_ffn(fsm_step_builder *b, fsm_phase phase, int layer)
{
    const fsm_step_shape *s = b->shape;
    double elems = (double)b->size.n_group * (double)s->hidden, norm = (double)b->size.n_local * (double)s->hidden;
    double macs = elems * (double)(s->expert_gemms * s->ffn_hidden / s->group_size[FSM_GROUP_MP]);
    if (phase == FSM_FORWARD) fsm_builder_compute(b, FSM_TASK_FFN_NORM, phase, layer, 0, norm);
    fsm_builder_collective(b, FSM_TASK_FFN_ALLGATHER, phase, layer, FSM_GROUP_MP,
                           phase == FSM_FORWARD ? fsm_step_moved(s, elems) : elems);
    fsm_builder_compute(b, FSM_TASK_FFN, phase, layer, s->expert_gemms, macs);
    if (phase == FSM_BACKWARD) fsm_builder_compute(b, FSM_TASK_WEIGHT_GRAD, phase, layer, s->expert_gemms, macs);
    fsm_builder_collective(b, FSM_TASK_FFN_REDUCESCATTER, phase, layer, FSM_GROUP_MP, elems);
    if (phase == FSM_BACKWARD) fsm_builder_compute(b, FSM_TASK_FFN_NORM, phase, layer, 0, norm);
}

/* ---- a step ---- */

void fsm_step_layer(fsm_step_builder *b, fsm_phase phase, int layer, const fsm_layer_cut *cut)
{
    if (phase == FSM_FORWARD) attention(b, phase, layer, cut);
    if (fsm_layer_is_moe(b->shape->moe_every, layer)) {
        fsm_builder_experts(b, phase, layer, cut);
    } else {
        if (!fsm_step_sends_beside_attention(b->shape, b->one_stream)) fsm_builder_send_all(b, phase, cut, 1);
        dense_ffn(b, phase, layer);
    }
    if (phase == FSM_BACKWARD) attention(b, phase, layer, cut);
}

/* Gradients by layer, a counting sort: those of `layer` are of_layer[first[layer + 1] … first[layer + 2]). */
static void sort_gradients(const fsm_step_shape *s, int *of_layer, int *first)
{
    for (int i = 0; i < s->gradient_count; i++) first[s->gradients[i].layer + 2]++;
    for (int i = 1; i < s->num_layers + 2; i++) first[i] += first[i - 1];
    for (int i = s->gradient_count - 1; i >= 0; i--) of_layer[--first[s->gradients[i].layer + 2]] = i;
    for (int i = 0; i <= s->num_layers; i++) first[i] = first[i + 1]; /* each has moved to its beginning */
    first[s->num_layers + 1] = s->gradient_count;
}

fsmoe_status fsm_step_builder_begin(const fsm_step_shape *shape, fsm_lanes lanes, bool one_stream, fsm_graph *graph,
                                    fsm_step_builder *b)
{
    *graph = (fsm_graph){.lanes = lanes.lanes, .parts = lanes.parts, .spare = lanes.spare};
    *b = (fsm_step_builder){.shape = shape, .graph = graph, .one_stream = one_stream};
    size_t of_lanes = (size_t)fsm_graph_lanes(graph), gradients = (size_t)shape->gradient_count + 1;
    size_t layers = (size_t)shape->num_layers + 3;
    b->late =
        calloc(of_lanes * (layers + gradients) + gradients + layers, sizeof *b->late); /* one block for the four */
    if (!b->late) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to build a step");
    b->finished = b->late + of_lanes * layers;
    b->of_layer = b->finished + of_lanes * gradients;
    b->layer_first = b->of_layer + gradients;
    sort_gradients(shape, b->of_layer, b->layer_first);
    for (size_t i = 0; i < of_lanes * (layers + gradients); i++) b->late[i] = -1;
    for (int i = 0; i < shape->region_count; i++) b->sent[i] = shape->regions[i].first;
    for (int i = 0; i < FSM_MAX_LANES; i++) b->left[i] = -1;
    b->last = -1;
    b->size = fsm_step_part(shape, fsm_graph_parts(graph), 0);
    return FSMOE_OK;
}

fsmoe_status fsm_step_builder_end(fsm_step_builder *b)
{
    free(b->late);
    b->late = b->finished = b->of_layer = b->layer_first = NULL;
    fsmoe_status status = fsm_graph_check(b->graph);
    if (status != FSMOE_OK) fsm_graph_destroy(b->graph);
    return status;
}

void fsm_step_enter(fsm_step_builder *b, int micro, int lane)
{
    b->left[b->lane] = b->last;
    b->last = b->left[lane];
    b->micro = micro;
    b->lane = lane;
    b->size = fsm_step_part(b->shape, fsm_graph_parts(b->graph), lane % fsm_graph_parts(b->graph));
}

void fsm_step_begin(fsm_step_builder *b)
{
    if (b->shape->experts_only) return;
    fsm_builder_compute(b, FSM_TASK_EMBEDDING, FSM_FORWARD, -1, 0, (double)b->size.n_local * (double)b->shape->hidden);
}

void fsm_step_head(fsm_step_builder *b)
{
    const fsm_step_shape *s = b->shape;
    if (s->experts_only) return;
    int passes = s->training ? 3 : 1; /* gradients are taken block by block, while the logits are there */
    fsm_builder_compute(b, FSM_TASK_HEAD, FSM_FORWARD, -1, passes,
                        passes * (double)b->size.n_local * (double)(s->hidden * s->vocab_size));
}

void fsm_step_sums(fsm_step_builder *b)
{
    const fsm_step_shape *s = b->shape;
    int parts = fsm_graph_parts(b->graph), first = b->lane / parts * parts;
    if (s->experts_only && !s->with_losses) return;
    b->left[b->lane] = b->last;
    fsm_task t =
        fsm_builder_task(b, FSM_TASK_SUMS, FSM_FORWARD, -1, (double)(s->num_layers * (4 * s->num_experts + 4)));
    t.lane = -1;
    b->last = exchange_after(b, t, FSM_GROUP_WORLD, b->left + first, parts);
    for (int part = 0; part < parts; part++) b->left[first + part] = b->last;
}

void fsm_step_head_backward(fsm_step_builder *b)
{
    if (b->shape->experts_only || !b->shape->training) return;
    fsm_builder_compute(b, FSM_TASK_HEAD, FSM_BACKWARD, -1, 0, (double)b->size.n_local * (double)b->shape->hidden);
}

void fsm_step_loss(fsm_step_builder *b)
{
    fsm_step_head(b);
    fsm_step_sums(b);
    fsm_step_head_backward(b);
}

void fsm_step_end(fsm_step_builder *b)
{
    if (b->shape->experts_only) return;
    fsm_builder_compute(b, FSM_TASK_EMBEDDING, FSM_BACKWARD, -1, 0, (double)b->size.n_local * (double)b->shape->hidden);
}

/* ---- lane after lane ---- */

void fsm_lanes_cut(const fsm_step_shape *shape, fsm_lanes lanes, const int degree[2], fsm_lane_cuts cuts,
                   fsm_layer_cut passes[2][FSM_MAX_LANES])
{
    int parts = lanes.parts > 1 ? lanes.parts : 1;
    for (int phase = 0; phase < 2; phase++)
        for (int part = 0; part < parts; part++) {
            fsm_step_even_cuts(fsm_step_part(shape, parts, part).nominal_rows, degree[phase], cuts[phase][part]);
            passes[phase][part] = (fsm_layer_cut){.degree = degree[phase], .cuts = cuts[phase][part], .split = true};
        }
}

/* Forward of one lane, or its backward. */
static void plain_pass(fsm_step_builder *b, fsm_phase phase, const fsm_layer_cut cuts[FSM_MAX_LANES])
{
    const fsm_layer_cut *cut = &cuts[b->lane % fsm_graph_parts(b->graph)];
    int layers = b->shape->num_layers;
    if (phase == FSM_FORWARD) {
        fsm_step_begin(b);
        for (int i = 0; i < layers; i++) fsm_step_layer(b, phase, i, cut);
        fsm_step_head(b);
    } else {
        fsm_step_head_backward(b);
        for (int i = layers - 1; i >= 0; i--) fsm_step_layer(b, phase, i, cut);
        fsm_step_end(b);
    }
}

void fsm_step_plain(fsm_step_builder *b, const fsm_layer_cut cuts[2][FSM_MAX_LANES])
{
    int lanes = fsm_graph_lanes(b->graph), parts = fsm_graph_parts(b->graph), at_once = side(b);
    int micro_batches = b->shape->training ? b->shape->micro_batches : 1;
    for (int first = 0; first < micro_batches; first += at_once)
        for (int phase = FSM_FORWARD; phase <= (b->shape->training ? FSM_BACKWARD : FSM_FORWARD); phase++)
            for (int lane = 0; lane < lanes && first + lane / parts < micro_batches; lane++) {
                fsm_step_enter(b, first + lane / parts, lane);
                plain_pass(b, (fsm_phase)phase, cuts[phase]);
                if (phase == FSM_FORWARD && lane % parts == parts - 1) fsm_step_sums(b);
            }
}
