/* Gradients that are summed over ranks, and the update that follows. */
#include "plan/builder_parts.h"

/* The gradient that holds element `at`: they cover the array in its order. */
static int first_gradient(const fsm_step_shape *s, int64_t at)
{
    int low = 0, high = s->gradient_count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (s->gradients[middle].last <= at) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* Adds what has ended when all of backward has, lane by lane; after [2 FSM_MAX_LANES]. */
static int ends_of_backward(const fsm_step_builder *b, int after[])
{
    int n = 0;
    for (int lane = 0; lane < fsm_graph_lanes(b->graph); lane++) {
        int end = lane == b->lane ? b->last : b->left[lane], late = fsm_builder_latest_weight_grad(b, lane);
        if (end >= 0) after[n++] = end;
        if (late >= 0) after[n++] = late;
    }
    return n;
}

/* Whether a late weight gradient finishes it, and not a lane's chain. */
static bool is_late(const fsm_step_builder *b, const fsm_gradient *g)
{
    return b->late_weight_grads && g->after == FSM_TASK_WEIGHT_GRAD && fsm_layer_is_moe(b->shape->moe_every, g->layer);
}

/* What finishes the elements [first, last). A lane's chain finishes its gradients one after another, and so do its late
 * weight gradients: the last of either stands for all. */
static int ends_of_slice(const fsm_step_builder *b, int64_t first, int64_t last, int after[])
{
    const fsm_step_shape *s = b->shape;
    int lanes = fsm_graph_lanes(b->graph), n = 0;
    int latest[2][FSM_MAX_LANES];
    for (int lane = 0; lane < lanes; lane++) latest[0][lane] = latest[1][lane] = -1;
    for (int i = first_gradient(s, first); i < s->gradient_count && s->gradients[i].first < last; i++)
        for (int lane = 0; lane < lanes; lane++) {
            int task = b->finished[i * lanes + lane];
            int *of = &latest[is_late(b, &s->gradients[i])][lane];
            if (task > *of) *of = task;
        }
    for (int late = 0; late < 2; late++)
        for (int lane = 0; lane < lanes; lane++)
            if (latest[late][lane] >= 0) after[n++] = latest[late][lane];
    return n;
}

void fsm_step_send(fsm_step_builder *b, const fsm_piece *piece)
{
    const fsm_region *region = &b->shape->regions[piece->region];
    int after[2 * FSM_MAX_LANES], n;
    fsm_task t = fsm_builder_task(b, FSM_TASK_ALLREDUCE, FSM_UPDATE, -1, (double)(piece->last - piece->first));
    t.micro = t.lane = -1;
    t.group = region->group;
    t.resource = fsm_builder_stream(b, region->group);
    t.slice_first = piece->first;
    t.slice_last = piece->last;
    t.launches = 1;
    if (b->after_backward || b->shape->gradient_count == 0) n = ends_of_backward(b, after);
    else n = ends_of_slice(b, piece->first, piece->last, after);
    fsm_graph_add(b->graph, t, after, n);
    b->sent[piece->region] = piece->last;
}

/* Gradients of a region, in pieces of about that size, none of which waits for a gradient that comes much later. */
static void send_region(fsm_step_builder *b, int region, int64_t piece_elems)
{
    const fsm_step_shape *s = b->shape;
    int64_t first = s->regions[region].first, last = first;
    for (int i = 0; i < s->gradient_count; i++) {
        const fsm_gradient *g = &s->gradients[i];
        if (g->region != region) continue;
        if (last - first >= piece_elems / 4 && g->last - first > piece_elems + piece_elems / 2) {
            fsm_step_send(b, &(fsm_piece){region, first, last});
            first = last;
        }
        int64_t count = (g->last - first + piece_elems / 2) / piece_elems, elems = g->last - first;
        for (int64_t n = 1; n < count; n++) {
            last = first + elems / count / 16 * 16; /* slices start where vectors are aligned */
            fsm_step_send(b, &(fsm_piece){region, first, last});
            first = last;
        }
        last = g->last;
    }
    if (last > first) fsm_step_send(b, &(fsm_piece){region, first, last});
}

void fsm_step_send_pieces(fsm_step_builder *b, int64_t piece_elems)
{
    const fsm_step_shape *s = b->shape;
    for (int i = 0; i < s->region_count && s->training; i++)
        if (s->group_size[s->regions[i].group] > 1) send_region(b, i, piece_elems);
}

void fsm_builder_send_all(fsm_step_builder *b, fsm_phase phase, const fsm_layer_cut *cut, int place)
{
    if (phase != FSM_BACKWARD || !fsm_builder_is_last_micro(b)) return;
    for (int i = 0; i < cut->piece_count[place]; i++) fsm_step_send(b, &cut->pieces[place][i]);
}

static void optimizer(fsm_step_builder *b, fsm_group group, int64_t first, int64_t last, const int *after, int n)
{
    fsm_task t = fsm_builder_task(b, FSM_TASK_OPTIMIZER, FSM_UPDATE, -1, (double)(last - first));
    t.micro = t.lane = -1;
    t.slice_first = first;
    t.slice_last = last;
    t.group = group;
    fsm_graph_add(b->graph, t, after, n);
}

/* What nobody else adds to is whole at the end of backward, the rest when it has been summed. */
static void update_early(fsm_step_builder *b)
{
    const fsm_step_shape *s = b->shape;
    int pieces = b->graph->count, after[2 * FSM_MAX_LANES], n = ends_of_backward(b, after);
    for (int i = 0; i < s->region_count; i++)
        if (s->group_size[s->regions[i].group] == 1)
            optimizer(b, s->regions[i].group, s->regions[i].first, s->regions[i].last, after, n);
    for (int i = 0; i < pieces; i++) {
        const fsm_task t = b->graph->tasks[i];
        if (t.kind == FSM_TASK_ALLREDUCE) optimizer(b, t.group, t.slice_first, t.slice_last, &i, 1);
    }
}

/* Whether a piece waits for that task itself. */
static bool is_waited_for(const fsm_graph *graph, int task)
{
    for (int i = task + 1; i < graph->count; i++) {
        const fsm_task *t = &graph->tasks[i];
        for (int e = 0; t->kind == FSM_TASK_ALLREDUCE && e < t->after_count; e++)
            if (graph->edges[t->after_first + e] == task) return true;
    }
    return false;
}

/* The squares wait for every piece, and for the ends of backward that no piece waits for. */
static int grad_norm(fsm_step_builder *b)
{
    int ends[2 * FSM_MAX_LANES], after[2 * FSM_MAX_LANES], n = 0;
    for (int i = 0, count = ends_of_backward(b, ends); i < count; i++)
        if (!is_waited_for(b->graph, ends[i])) after[n++] = ends[i];
    fsm_task squares = fsm_builder_task(b, FSM_TASK_GRAD_SQUARES, FSM_UPDATE, -1, 1);
    squares.micro = squares.lane = -1;
    int end = fsm_graph_add(b->graph, squares, after, n);
    for (int i = 0; i < end; i++)
        if (b->graph->tasks[i].kind == FSM_TASK_ALLREDUCE) fsm_graph_wait(b->graph, end, i);
    fsm_task norm = fsm_builder_task(b, FSM_TASK_GRAD_NORM, FSM_UPDATE, -1, 1);
    norm.micro = norm.lane = -1;
    norm.resource = b->shape->group_size[FSM_GROUP_WORLD] > 1 ? fsm_builder_stream(b, FSM_GROUP_WORLD) : FSM_COMPUTE;
    return fsm_graph_add(b->graph, norm, &end, 1);
}

void fsm_step_update(fsm_step_builder *b)
{
    const fsm_step_shape *s = b->shape;
    if (s->experts_only) return;
    for (int i = 0; i < s->region_count; i++) {
        const fsm_region *region = &s->regions[i];
        if (s->group_size[region->group] == 1 || b->sent[i] >= region->last) continue;
        while (b->most_elems > 0 && region->last - b->sent[i] > b->most_elems)
            fsm_step_send(b, &(fsm_piece){i, b->sent[i], b->sent[i] + b->most_elems});
        fsm_step_send(b, &(fsm_piece){i, b->sent[i], region->last});
    }
    if (s->early_update) update_early(b);
    int norm = grad_norm(b);
    for (int i = 0; i < s->region_count && !s->early_update; i++)
        optimizer(b, s->regions[i].group, s->regions[i].first, s->regions[i].last, &norm, 1);
}
