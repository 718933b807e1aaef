/* The checker of plans: plans of every schedule pass, as values and through files; whatever is changed about one is found.
 * Oracles: the planner, which the checker shares only the definition of a step with; and the changes, each of which breaks a rule. */
#include "plan_case.h"

#include "base/file.h"
#include "base/rng.h"

static char dir[] = "/tmp/fsmoe-plan-check-XXXXXX";
static char file[FSM_PATH_BYTES];

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) && fsm_file_path(dir, "plan.json", file) == FSMOE_OK ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return fsm_file_remove_tree(dir) == FSMOE_OK ? 0 : -1;
}

static void assert_sound(const fsm_plan *plan, const fsm_cluster *cluster)
{
    if (fsm_plan_check(plan, cluster) != FSMOE_OK) fail_msg("%s: %s", plan->schedule, fsmoe_last_error());
}

/* The plan, which is destroyed, is refused with that in the message. */
static void assert_refused(fsm_plan *plan, const fsm_cluster *cluster, const char *part)
{
    fsmoe_status status = fsm_plan_check(plan, cluster);
    if (status != FSMOE_ERROR_FORMAT) fail_msg("status %d where '%s' was expected", status, part);
    assert_says(part);
    fsm_plan_destroy(plan);
}

/* ---- what is sound passes ---- */

static void assert_near(double x, double y)
{
    assert_true(fabs(x - y) <= 1e-15 * fmax(fabs(x), fabs(y)));
}

static void assert_same_plan(const fsm_plan *a, const fsm_plan *b)
{
    assert_string_equal(a->schedule, b->schedule);
    assert_true(a->freedom.split == b->freedom.split && a->freedom.one_stream == b->freedom.one_stream);
    assert_int_equal(a->shape.gradient_count, b->shape.gradient_count);
    for (int i = 0; i < a->shape.gradient_count; i++) {
        const fsm_gradient *x = &a->shape.gradients[i], *y = &b->shape.gradients[i];
        assert_true(x->region == y->region && x->first == y->first && x->last == y->last);
        assert_true(x->layer == y->layer && x->after == y->after);
    }
    fsm_step_shape shapes[2] = {a->shape, b->shape};
    assert_true(shapes[0].rows == shapes[1].rows && shapes[0].max_degree == shapes[1].max_degree);
    assert_true(shapes[0].n_local == shapes[1].n_local && shapes[0].qkv_width == shapes[1].qkv_width);
    for (int g = 0; g < FSM_GROUP_COUNT; g++)
        assert_true(shapes[0].group_size[g] == shapes[1].group_size[g] && shapes[0].link[g] == shapes[1].link[g]);
    char *texts[2];
    assert_int_equal(fsm_graph_to_json(&a->graph, &texts[0]), FSMOE_OK);
    assert_int_equal(fsm_graph_to_json(&b->graph, &texts[1]), FSMOE_OK);
    assert_string_equal(texts[0], texts[1]);
    free(texts[0]);
    free(texts[1]);
    for (int i = 0; i < a->graph.count; i++) {
        assert_true(a->seconds[i] == b->seconds[i]);
        assert_true(a->timeline.start_s[i] == b->timeline.start_s[i]);
        assert_true(a->timeline.end_s[i] == b->timeline.end_s[i]);
    }
    assert_true(a->certificate.makespan_s == b->certificate.makespan_s);
    assert_true(a->certificate.bound.seconds == b->certificate.bound.seconds);
    assert_true(a->certificate.order_bound.seconds == b->certificate.order_bound.seconds);
    assert_memory_equal(a->certificate.load_s, b->certificate.load_s, sizeof a->certificate.load_s);
    assert_string_equal(a->certificate.bound.binding, b->certificate.bound.binding);
    assert_string_equal(a->certificate.order_bound.binding, b->certificate.order_bound.binding);
}

static void assert_reads_back(const fsm_plan *plan, const fsm_cluster *cluster)
{
    fsm_plan read;
    fsm_cluster read_costs;
    if (fsm_plan_write(plan, cluster, file) != FSMOE_OK || fsm_plan_read(file, &read, &read_costs) != FSMOE_OK)
        fail_msg("%s", fsmoe_last_error());
    assert_same_plan(plan, &read);
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) {
        assert_near(cluster->op[op].cost.line[0].alpha_s, read_costs.op[op].cost.line[0].alpha_s);
        assert_near(cluster->op[op].cost.line[0].beta_s, read_costs.op[op].cost.line[0].beta_s);
    }
    assert_sound(&read, &read_costs);
    fsm_plan_destroy(&read);
    fsm_cluster_destroy(&read_costs);
}

static void test_check_accepts_every_schedule_on_every_layout(void **state)
{
    (void)state;
    static const layout layouts[] = {{1, 1, 1, 1, 1}, {2, 2, 2, 2, 2}, {2, 2, 4, 1, 1}, {2, 2, 1, 2, 2},
                                     {1, 4, 2, 2, 1}, {4, 2, 4, 2, 2}, {4, 2, 2, 2, 1}, {4, 2, 2, 1, 2}};
    static const char *const families[] = {"gpt2", "mixtral"};
    fsm_cluster cluster = costs();
    int cut = 0;
    for (size_t l = 0; l < sizeof layouts / sizeof *layouts; l++)
        for (int variant = 0; variant < 4; variant++) {
            step s = {families[variant & 1], 3, 1 + (variant >> 1), 1 + (int)((l + (size_t)variant) & 1), layouts[l]};
            for (int i = 0; fsm_schedules[i]; i++) {
                fsm_plan plan = plan_of(&s, fsm_schedules[i], &cluster);
                cut += plan.degree[1][FSM_BACKWARD] > 1;
                assert_sound(&plan, &cluster);
                assert_reads_back(&plan, &cluster);
                fsm_plan_destroy(&plan);
            }
        }
    assert_true(cut > 40);
}

static void test_check_accepts_a_model_without_experts(void **state)
{
    (void)state;
    step s = {"gpt2", 2, 3, 2, {2, 2, 1, 1, 2}};
    fsm_cluster cluster = costs();
    for (int i = 0; fsm_schedules[i]; i++) {
        fsm_plan plan = plan_of(&s, fsm_schedules[i], &cluster);
        assert_int_equal(plan.degree[1][FSM_FORWARD], 0);
        assert_sound(&plan, &cluster);
        assert_reads_back(&plan, &cluster);
        fsm_plan_destroy(&plan);
    }
}

/* A file keeps costs to one unit in the last place: bounds, which are searched for, must not depend on that. */
static void test_check_accepts_files_of_random_costs(void **state)
{
    (void)state;
    uint64_t draws = 0;
    for (int round = 0; round < 60; round++) {
        fsm_cluster cluster = costs();
        step s = small_step;
        s.layers = 1 + round % 3;
        s.micro_batches = 1;
        for (int op = 0; op < FSM_COST_OP_COUNT; op++)
            for (int k = 0; k < 2; k++) {
                double factor = pow(10, 2 * fsm_rng_uniform(3, FSM_RNG_TEST, draws++) - 1);
                *(k ? &cluster.op[op].cost.line[0].alpha_s : &cluster.op[op].cost.line[0].beta_s) *= factor;
            }
        fsm_plan plan = plan_of(&s, round % 2 ? &fsm_schedule_fsmoe : &fsm_schedule_fsmoe_x, &cluster);
        assert_sound(&plan, &cluster);
        assert_reads_back(&plan, &cluster);
        fsm_plan_destroy(&plan);
    }
}

/* ---- the graph, changed ---- */

/* Tasks `order` of the graph, by old index; what is left out hands its edges on. */
static void rearrange(fsm_graph *graph, const int *order, int n)
{
    fsm_graph made = {0};
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

static void test_check_misses_no_edge(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    static const step steps[] = {{"mixtral", 2, 1, 2, {2, 2, 2, 2, 2}},
                                 {"gpt2", 2, 2, 1, {4, 2, 4, 2, 1}},
                                 {"mixtral", 1, 1, 1, {1, 1, 1, 1, 1}}};
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++)
        for (int s = 0; fsm_schedules[s]; s++) {
            fsm_plan plan = plan_of(&steps[k], fsm_schedules[s], &cluster);
            for (int e = 0; e < plan.graph.edge_count; e++) {
                fsm_graph graph = fsm_graph_copy(&plan.graph);
                int task = task_of_edge(&graph, e), before = graph.edges[e];
                drop_edge(&graph, e);
                if (fsm_plan_check_graph(&graph, &plan.shape) != FSMOE_ERROR_FORMAT) {
                    char names[2][128];
                    fsm_task_name(&graph.tasks[task], names[0]);
                    fsm_task_name(&graph.tasks[before], names[1]);
                    fail_msg("%s: without %s after %s", plan.schedule, names[0], names[1]);
                }
                assert_says("task ");
                fsm_graph_destroy(&graph);
            }
            fsm_plan_destroy(&plan);
        }
}

static void test_check_misses_no_task(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    fsm_plan plan = rich_plan(&cluster);
    int count = plan.graph.count, *order = malloc(sizeof *order * ((size_t)count + 1));
    for (int dropped = 0; dropped < count; dropped++) {
        fsm_plan changed = copy_plan(&plan);
        for (int i = 0, n = 0; i < count; i++)
            if (i != dropped) order[n++] = i;
        rearrange(&changed.graph, order, count - 1);
        assert_refused(&changed, &cluster, "");
    }
    free(order);
    fsm_plan_destroy(&plan);
}

static void test_check_finds_every_task_that_is_there_twice(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    fsm_plan plan = rich_plan(&cluster);
    int count = plan.graph.count, *order = malloc(sizeof *order * ((size_t)count + 1));
    for (int twice = 0; twice < count; twice++) {
        fsm_plan changed = copy_plan(&plan);
        for (int i = 0, n = 0; i < count; i++) {
            order[n++] = i;
            if (i == twice) order[n++] = i;
        }
        rearrange(&changed.graph, order, count + 1);
        assert_refused(&changed, &cluster, "task ");
    }
    free(order);
    fsm_plan_destroy(&plan);
}

typedef enum change {
    KIND,
    PHASE,
    RESOURCE,
    RESOURCE_AGAIN,
    LAYER,
    MICRO,
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

static void test_check_finds_every_changed_field(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    fsm_plan plan = rich_plan(&cluster);
    for (int i = 0; i < plan.graph.count; i++)
        for (int what = 0; what < CHANGES; what++) {
            const fsm_task *t = &plan.graph.tasks[i];
            bool no_slice = t->slice_first == t->slice_last, no_rows = t->rows_first == t->rows_last;
            if ((what == SLICE_BOTH && no_slice) || (what == NO_ROWS && no_rows)) continue; /* equal ends: none */
            fsm_plan changed = copy_plan(&plan);
            apply(&changed.graph.tasks[i], (change)what);
            if (fsm_plan_check(&changed, &cluster) == FSMOE_OK) {
                char name[128];
                fsm_task_name(t, name);
                fail_msg("change %d of %s is not found", what, name);
            }
            fsm_plan_destroy(&changed);
        }
    fsm_plan_destroy(&plan);
}

static int find_task(const fsm_plan *plan, fsm_task_kind kind, fsm_phase phase, int from)
{
    while (from < plan->graph.count && (plan->graph.tasks[from].kind != kind || plan->graph.tasks[from].phase != phase))
        from++;
    assert_true(from < plan->graph.count);
    return from;
}

static void test_check_messages_say_what_is_wrong(void **state)
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

/* The task before the one that finishes a piece's gradients is too early, for every piece. */
static void test_check_finds_gradients_that_are_sent_early(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    fsm_plan plan = rich_plan(&cluster);
    for (int i = 0; i < plan.graph.count; i++) {
        fsm_plan changed = copy_plan(&plan);
        fsm_task *t = &changed.graph.tasks[i];
        if (t->kind != FSM_TASK_ALLREDUCE) {
            fsm_plan_destroy(&changed);
            continue;
        }
        assert_int_equal(t->after_count, 1);
        changed.graph.edges[t->after_first]--;
        assert_refused(&changed, &cluster, "has finished its gradients");
    }
    fsm_plan_destroy(&plan);
}

/* A chunk of one micro-batch cut otherwise than in the other: rows and sizes add up, but experts cannot do it. */
static void test_check_finds_chunks_that_are_cut_otherwise(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    fsm_plan plan = rich_plan(&cluster);
    fsm_plan changed = copy_plan(&plan);
    fsm_graph *graph = &changed.graph;
    int64_t cut = graph->tasks[find_task(&plan, FSM_TASK_EXPERT, FSM_FORWARD, 0)].rows_last;
    for (int i = 0; i < graph->count; i++) {
        fsm_task *t = &graph->tasks[i];
        if (t->layer != 1 || t->micro != 1 || t->phase != FSM_FORWARD || t->rows_last == t->rows_first) continue;
        double row = t->size / (double)(t->rows_last - t->rows_first);
        if (t->rows_last == cut) t->rows_last++, t->size += row;
        else if (t->rows_first == cut) t->rows_first++, t->size -= row;
    }
    assert_refused(&changed, &cluster, "is not cut as the experts of its layer are");
    changed = copy_plan(&plan); /* more work in one chunk, less in the next */
    int first = find_task(&plan, FSM_TASK_EXPERT, FSM_FORWARD, 0);
    int next = find_task(&plan, FSM_TASK_EXPERT, FSM_FORWARD, first + 1);
    changed.graph.tasks[first].size *= 1.5;
    changed.graph.tasks[next].size -= changed.graph.tasks[first].size / 3;
    assert_refused(&changed, &cluster, "has size");
    changed = copy_plan(&plan);
    changed.shape.max_degree = 1;
    assert_refused(&changed, &cluster, "more than 1 chunks");
    fsm_plan_destroy(&plan);
}

static void test_check_finds_gradients_that_nothing_is_said_to_finish(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    fsm_plan plan = rich_plan(&cluster);
    for (int i = 0; i < plan.shape.gradient_count; i++)
        for (int what = 0; what < 4; what++) {
            fsm_plan changed = copy_plan(&plan);
            fsm_gradient *run = &changed.shape.gradients[i];
            if (what == 0) run->first += 16;
            if (what == 1) run->last -= 16;
            if (what == 2) run->after = FSM_TASK_SUMS;
            if (what == 3) run->layer = plan.shape.num_layers;
            assert_refused(&changed, &cluster, "finish");
        }
    fsm_plan_destroy(&plan);
}

/* ---- claims, changed ---- */

static void test_check_finds_every_changed_time(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    fsm_plan plan = rich_plan(&cluster);
    double little_s = 1e-6 * plan.certificate.makespan_s;
    for (int i = 0; i < plan.graph.count; i++) {
        fsm_plan changed = copy_plan(&plan);
        changed.timeline.start_s[i] -= little_s;
        changed.timeline.end_s[i] -= little_s;
        assert_refused(&changed, &cluster, "starts before");
        changed = copy_plan(&plan);
        changed.timeline.end_s[i] += little_s;
        assert_refused(&changed, &cluster, "does not take what it costs");
        changed = copy_plan(&plan);
        changed.seconds[i] += little_s;
        assert_refused(&changed, &cluster, "costs");
        changed = copy_plan(&plan);
        changed.timeline.start_s[i] = NAN;
        assert_refused(&changed, &cluster, "task ");
    }
    fsm_plan_destroy(&plan);
}

static void test_check_finds_every_changed_claim(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    fsm_plan plan = rich_plan(&cluster);
    for (int k = 0; k < 3; k++) {
        double factor = k == 0 ? 1 - 1e-6 : k == 1 ? 1 + 1e-6 : NAN;
        fsm_plan changed = copy_plan(&plan);
        changed.certificate.makespan_s *= factor;
        assert_refused(&changed, &cluster, k == 2 ? "" : "the makespan is");
        changed = copy_plan(&plan);
        changed.certificate.bound.seconds *= factor;
        assert_refused(&changed, &cluster, "the lower bound is");
        changed = copy_plan(&plan);
        changed.certificate.order_bound.seconds *= factor;
        assert_refused(&changed, &cluster, "the lower bound of the order is");
        changed = copy_plan(&plan);
        changed.certificate.load_s[k] *= factor;
        assert_refused(&changed, &cluster, "the load of ");
    }
    fsm_plan changed = copy_plan(&plan);
    changed.freedom.split = false;
    assert_refused(&changed, &cluster, "'split'");
    changed = copy_plan(&plan);
    strcpy(changed.schedule, "fsmoe");
    assert_refused(&changed, &cluster, "fsmoe");
    changed = copy_plan(&plan);
    strcpy(changed.schedule, "best");
    assert_refused(&changed, &cluster, "no schedule is named 'best'");
    cluster.op[FSM_COST_ALLREDUCE].cost.line[0].beta_s *= 0.5;
    changed = copy_plan(&plan);
    assert_refused(&changed, &cluster, "allreduce.update");
    fsm_plan_destroy(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_accepts_every_schedule_on_every_layout),
        cmocka_unit_test(test_check_accepts_a_model_without_experts),
        cmocka_unit_test(test_check_accepts_files_of_random_costs),
        cmocka_unit_test(test_check_misses_no_edge),
        cmocka_unit_test(test_check_misses_no_task),
        cmocka_unit_test(test_check_finds_every_task_that_is_there_twice),
        cmocka_unit_test(test_check_finds_every_changed_field),
        cmocka_unit_test(test_check_messages_say_what_is_wrong),
        cmocka_unit_test(test_check_finds_gradients_that_are_sent_early),
        cmocka_unit_test(test_check_finds_chunks_that_are_cut_otherwise),
        cmocka_unit_test(test_check_finds_gradients_that_nothing_is_said_to_finish),
        cmocka_unit_test(test_check_finds_every_changed_time),
        cmocka_unit_test(test_check_finds_every_changed_claim),
    };
    return cmocka_run_group_tests_name("plan check", tests, make_dir, remove_dir);
}
