/* The checker of plans refuses a graph in which anything is changed, in one lane and in several.
 * Oracle: the changes, each of which breaks a rule. */
#include "plan_changes.h"

/* Tasks `order` of the graph, by old index; what is left out hands its edges on. */
static void rearrange(fsm_graph *graph, const int *order, int n)
{
    fsm_graph made = {.lanes = graph->lanes, .parts = graph->parts, .spare = graph->spare};
    int *place = malloc(sizeof *place * ((size_t)graph->count + 1));
    assert_non_null(place);
    for (int i = 0; i < graph->count; i++) place[i] = -1;
    for (int i = 0; i < n; i++) {
        const fsm_task *t = &graph->tasks[order[i]];
        int added = fsm_graph_add(&made, *t, NULL, 0);
        for (int e = t->after_first; e < t->after_first + t->after_count; e++) {
            const fsm_task *before = &graph->tasks[graph->edges[e]];
            if (place[graph->edges[e]] >= 0) fsm_graph_wait(&made, added, place[graph->edges[e]]);
            else
                for (int k = before->after_first; k < before->after_first + before->after_count; k++)
                    fsm_graph_wait(&made, added, place[graph->edges[k]]);
        }
        if (place[order[i]] < 0) place[order[i]] = added;
    }
    free(place);
    fsm_graph_destroy(graph);
    *graph = made;
}

static void drop_edge(fsm_graph *graph, int edge)
{
    for (int i = 0; i < graph->count; i++) {
        fsm_task *t = &graph->tasks[i];
        if (edge >= t->after_first && edge < t->after_first + t->after_count) t->after_count--;
        else if (t->after_first > edge) t->after_first--;
    }
    memmove(graph->edges + edge, graph->edges + edge + 1, sizeof(int) * (size_t)(graph->edge_count - edge - 1));
    graph->edge_count--;
}

static int task_of_edge(const fsm_graph *graph, int edge)
{
    int i = 0;
    while (edge < graph->tasks[i].after_first || edge >= graph->tasks[i].after_first + graph->tasks[i].after_count) i++;
    return i;
}

static void check_every_edge(const fsm_plan *plan, const fsm_cluster *cluster)
{
    (void)cluster;
    for (int e = 0; e < plan->graph.edge_count; e++) {
        fsm_graph graph = fsm_graph_copy(&plan->graph);
        int task = task_of_edge(&graph, e), before = graph.edges[e];
        drop_edge(&graph, e);
        if (fsm_plan_check_graph(&graph, &plan->shape) != FSMOE_ERROR_FORMAT) {
            char names[2][128];
            fsm_task_name(&graph.tasks[task], names[0]);
            fsm_task_name(&graph.tasks[before], names[1]);
            fail_msg("%s: without %s after %s", plan->schedule, names[0], names[1]);
        }
        assert_says("task ");
        fsm_graph_destroy(&graph);
    }
}

static void test_plan_check_misses_no_edge(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    static const step steps[] = {{"mixtral", 2, 1, 2, {2, 2, 2, 2, 2}},
                                 {"gpt2", 2, 2, 1, {4, 2, 4, 2, 1}},
                                 {"mixtral", 1, 1, 1, {1, 1, 1, 1, 1}}};
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++)
        for (int s = 0; fsm_schedules[s]; s++) {
            fsm_plan plan = plan_of(&steps[k], fsm_schedules[s], &cluster);
            check_every_edge(&plan, &cluster);
            fsm_plan_destroy(&plan);
        }
    check_both(check_every_edge);
}

static void check_without_each(const fsm_plan *plan, const fsm_cluster *cluster)
{
    int count = plan->graph.count, *order = malloc(sizeof *order * ((size_t)count + 1));
    for (int dropped = 0; dropped < count; dropped++) {
        fsm_plan changed = copy_plan(plan);
        for (int i = 0, n = 0; i < count; i++)
            if (i != dropped) order[n++] = i;
        rearrange(&changed.graph, order, count - 1);
        assert_refused(&changed, cluster, "");
    }
    free(order);
}

static void test_plan_check_misses_no_task(void **state)
{
    (void)state;
    check_both(check_without_each);
}

static void check_each_twice(const fsm_plan *plan, const fsm_cluster *cluster)
{
    int count = plan->graph.count, *order = malloc(sizeof *order * ((size_t)count + 1));
    for (int twice = 0; twice < count; twice++) {
        fsm_plan changed = copy_plan(plan);
        for (int i = 0, n = 0; i < count; i++) {
            order[n++] = i;
            if (i == twice) order[n++] = i;
        }
        rearrange(&changed.graph, order, count + 1);
        assert_refused(&changed, cluster, "task ");
    }
    free(order);
}

static void test_plan_check_finds_every_task_that_is_there_twice(void **state)
{
    (void)state;
    check_both(check_each_twice);
}

typedef enum change {
    KIND,
    PHASE,
    RESOURCE,
    RESOURCE_AGAIN,
    LAYER,
    MICRO,
    LANE,
    ROWS_FIRST,
    ROWS_LAST,
    NO_ROWS,
    SLICE_BOTH,
    SLICE_FIRST,
    SLICE_LAST,
    GROUP,
    LARGER,
    SMALLER,
    MORE_LAUNCHES,
    FEWER_LAUNCHES,
    CHANGES
} change;

static void apply(fsm_task *t, change what)
{
    switch (what) {
    case KIND:
        t->kind = (fsm_task_kind)(((int)t->kind + 1) % FSM_TASK_KIND_COUNT);
        return;
    case PHASE:
        t->phase = (fsm_phase)(((int)t->phase + 1) % FSM_PHASE_COUNT);
        return;
    case RESOURCE:
        t->resource = (fsm_resource)(((int)t->resource + 1) % FSM_RESOURCE_COUNT);
        return;
    case RESOURCE_AGAIN:
        t->resource = (fsm_resource)(((int)t->resource + 2) % FSM_RESOURCE_COUNT);
        return;
    case LAYER:
        t->layer++;
        return;
    case MICRO:
        t->micro++;
        return;
    case LANE:
        t->lane = t->lane == 0 ? 1 : 0;
        return;
    case ROWS_FIRST:
        t->rows_first--;
        return;
    case ROWS_LAST:
        t->rows_last++;
        return;
    case NO_ROWS:
        t->rows_last = t->rows_first;
        return;
    case SLICE_BOTH:
        t->slice_first += 16, t->slice_last += 16;
        return;
    case SLICE_FIRST:
        t->slice_first -= 16;
        return;
    case SLICE_LAST:
        t->slice_last += 16;
        return;
    case GROUP:
        t->group = (fsm_group)(((int)t->group + 1) % FSM_GROUP_COUNT);
        return;
    case LARGER:
        t->size = 1.001 * t->size + 1e-3;
        return;
    case SMALLER:
        t->size = 0.999 * t->size - 1e-3;
        return;
    case MORE_LAUNCHES:
        t->launches++;
        return;
    case FEWER_LAUNCHES:
        t->launches--;
        return;
    case CHANGES:
        return;
    }
}

static void check_fields(const fsm_plan *plan, const fsm_cluster *cluster)
{
    for (int i = 0; i < plan->graph.count; i++)
        for (int what = 0; what < CHANGES; what++) {
            const fsm_task *t = &plan->graph.tasks[i];
            bool no_slice = t->slice_first == t->slice_last, no_rows = t->rows_first == t->rows_last;
            if ((what == SLICE_BOTH && no_slice) || (what == NO_ROWS && no_rows)) continue; /* equal ends: none */
            fsm_plan changed = copy_plan(plan);
            apply(&changed.graph.tasks[i], (change)what);
            if (fsm_plan_check(&changed, cluster) == FSMOE_OK) {
                char name[128];
                fsm_task_name(t, name);
                fail_msg("change %d of %s is not found", what, name);
            }
            fsm_plan_destroy(&changed);
        }
}

static void test_plan_check_finds_every_changed_field(void **state)
{
    (void)state;
    check_both(check_fields);
}

static int find_task(const fsm_plan *plan, fsm_task_kind kind, fsm_phase phase, int from)
{
    while (from < plan->graph.count && (plan->graph.tasks[from].kind != kind || plan->graph.tasks[from].phase != phase))
        from++;
    assert_true(from < plan->graph.count);
    return from;
}

static void test_plan_check_messages_say_what_is_wrong(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    fsm_plan plan = rich_plan(&cluster);
    int piece = find_task(&plan, FSM_TASK_ALLREDUCE, FSM_UPDATE, 0);
    int expert = find_task(&plan, FSM_TASK_EXPERT, FSM_FORWARD, 0);
    int slice = find_task(&plan, FSM_TASK_OPTIMIZER, FSM_UPDATE, 0);
    const struct {
        int task;
        change what;
        const char *says;
    } cases[] = {
        {expert, ROWS_LAST, "has size"},
        {expert, ROWS_FIRST, "does not begin at row 0"},
        {expert, LARGER, "has size"},
        {expert, MORE_LAUNCHES, "other launches"},
        {expert, RESOURCE, "cannot be on resource intra"},
        {expert, MICRO, "does not begin at row 0"},
        {expert, LAYER, "does not begin at row 0"},
        {expert, KIND, "(weight_grad.forward[layer 0, micro 0, rows 0-10]) is no part of the step"},
        {piece, SLICE_FIRST, "allreduce.update"},
        {piece, SLICE_LAST, "not its slice's"},
        {piece, GROUP, "in another group than its gradients"},
        {piece, FEWER_LAUNCHES, "number of launches"},
        {slice, SLICE_LAST, "optimizer.update"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fsm_plan changed = copy_plan(&plan);
        apply(&changed.graph.tasks[cases[i].task], cases[i].what);
        assert_refused(&changed, &cluster, cases[i].says);
    }
    fsm_plan_destroy(&plan);
}

/* The task before the one that finishes a piece's gradients in a lane is too early, for every piece and lane. */
static void check_early_pieces(const fsm_plan *plan, const fsm_cluster *cluster)
{
    int lanes = fsm_graph_lanes(&plan->graph);
    for (int i = 0; i < plan->graph.count; i++) {
        const fsm_task *t = &plan->graph.tasks[i];
        if (t->kind != FSM_TASK_ALLREDUCE) continue;
        assert_true(t->after_count >= lanes && t->after_count <= 2 * lanes); /* backward's end, weight gradients' */
        for (int e = t->after_first; e < t->after_first + t->after_count; e++) {
            fsm_plan changed = copy_plan(plan);
            changed.graph.edges[e]--;
            assert_refused(&changed, cluster, "has finished its gradients");
        }
    }
}

static void test_plan_check_finds_gradients_that_are_sent_early(void **state)
{
    (void)state;
    check_both(check_early_pieces);
}

/* Every chunk of a layer and micro-batch that ends or begins at `cut` does so a row later. */
static void move_cut(fsm_graph *graph, int layer, int micro, int64_t cut)
{
    for (int i = 0; i < graph->count; i++) {
        fsm_task *t = &graph->tasks[i];
        if (t->layer != layer || t->micro != micro || t->phase != FSM_FORWARD || t->rows_last == t->rows_first)
            continue;
        double row = t->size / (double)(t->rows_last - t->rows_first);
        if (t->rows_last == cut) t->rows_last++, t->size += row;
        else if (t->rows_first == cut) t->rows_first++, t->size -= row;
    }
}

/* A chunk of one micro-batch cut otherwise than in the other: rows and sizes add up, but experts cannot do it. */
static void check_cuts(const fsm_plan *plan, const fsm_cluster *cluster)
{
    int first = find_task(plan, FSM_TASK_EXPERT, FSM_FORWARD, 0);
    while (plan->graph.tasks[first].rows_first > 0) first = find_task(plan, FSM_TASK_EXPERT, FSM_FORWARD, first + 1);
    int next = find_task(plan, FSM_TASK_EXPERT, FSM_FORWARD, first + 1);
    while (plan->graph.tasks[next].lane != plan->graph.tasks[first].lane)
        next = find_task(plan, FSM_TASK_EXPERT, FSM_FORWARD, next + 1);
    fsm_plan changed = copy_plan(plan);
    move_cut(&changed.graph, 1, 1, plan->graph.tasks[first].rows_last);
    assert_refused(&changed, cluster, "is not cut as the experts of its layer are");
    changed = copy_plan(plan); /* more work in one chunk, less in the next */
    changed.graph.tasks[first].size *= 1.5;
    changed.graph.tasks[next].size -= changed.graph.tasks[first].size / 3;
    assert_refused(&changed, cluster, "has size");
    changed = copy_plan(plan);
    changed.shape.max_degree = 1;
    assert_refused(&changed, cluster, "more than 1 chunks");
}

static void test_plan_check_finds_chunks_that_are_cut_otherwise(void **state)
{
    (void)state;
    check_both(check_cuts);
}

static void check_runs(const fsm_plan *plan, const fsm_cluster *cluster)
{
    for (int i = 0; i < plan->shape.gradient_count; i++)
        for (int what = 0; what < 4; what++) {
            fsm_plan changed = copy_plan(plan);
            fsm_gradient *run = &changed.shape.gradients[i];
            if (what == 0) run->first += 16;
            if (what == 1) run->last -= 16;
            if (what == 2) run->after = FSM_TASK_SUMS;
            if (what == 3) run->layer = plan->shape.num_layers;
            assert_refused(&changed, cluster, "finish");
        }
}

static void test_plan_check_finds_gradients_that_nothing_is_said_to_finish(void **state)
{
    (void)state;
    check_both(check_runs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_check_misses_no_edge),
        cmocka_unit_test(test_plan_check_misses_no_task),
        cmocka_unit_test(test_plan_check_finds_every_task_that_is_there_twice),
        cmocka_unit_test(test_plan_check_finds_every_changed_field),
        cmocka_unit_test(test_plan_check_messages_say_what_is_wrong),
        cmocka_unit_test(test_plan_check_finds_gradients_that_are_sent_early),
        cmocka_unit_test(test_plan_check_finds_chunks_that_are_cut_otherwise),
        cmocka_unit_test(test_plan_check_finds_gradients_that_nothing_is_said_to_finish),
    };
    return cmocka_run_group_tests_name("plan check", tests, NULL, NULL);
}
