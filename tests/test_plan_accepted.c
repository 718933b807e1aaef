/* What the checker of plans accepts: plans of every schedule, as values and through files, which say all of them.
 * Oracles: the planner, which the checker shares only the definition of a step with; the plan that was written. */
#include "plan_case.h"

#include "base/file.h"
#include "base/rng.h"
#include "same_graph.h"

static char dir[] = "/tmp/fsmoe-plan-accepted-XXXXXX";
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

/* ---- what a file says ---- */

static void assert_near(double x, double y)
{
    assert_true(fabs(x - y) <= 1e-15 * fmax(fabs(x), fabs(y)));
}

static void assert_same_sizes(const fsm_step_shape *a, const fsm_step_shape *b)
{
    assert_int_equal(a->num_layers, b->num_layers);
    assert_int_equal(a->moe_every, b->moe_every);
    assert_int_equal(a->micro_batches, b->micro_batches);
    assert_true(a->training == b->training && a->early_update == b->early_update);
    assert_true(a->experts_only == b->experts_only && a->with_losses == b->with_losses);
    assert_true(a->hidden == b->hidden && a->ffn_hidden == b->ffn_hidden && a->vocab_size == b->vocab_size);
    assert_true(a->seq_len == b->seq_len && a->attention_width == b->attention_width && a->qkv_width == b->qkv_width);
    assert_true(a->num_experts == b->num_experts && a->top_k == b->top_k && a->expert_gemms == b->expert_gemms);
    assert_true(a->shared_gemms == b->shared_gemms && a->shared_width == b->shared_width);
    assert_true(a->order_width == b->order_width && a->mixes == b->mixes && a->micro_in_turn == b->micro_in_turn);
    assert_int_equal(a->max_degree, b->max_degree);
}

/* Of the whole micro-batch, and of each of its parts. */
static void assert_same_parts(const fsm_step_shape *a, const fsm_step_shape *b)
{
    assert_true(a->most_parts == b->most_parts || (a->most_parts <= 1 && b->most_parts <= 1)); /* 0 is one, too */
    for (int parts = 1; parts == 1 || parts <= a->most_parts; parts++)
        for (int part = 0; part < parts; part++) {
            fsm_pass_size x = fsm_step_part(a, parts, part), y = fsm_step_part(b, parts, part);
            assert_true(x.n_group == y.n_group && x.n_local == y.n_local && x.rows == y.rows);
            assert_true(x.nominal_rows == y.nominal_rows && x.order_gemms == y.order_gemms);
        }
}

static void assert_same_memory(const fsm_step_memory *a, const fsm_step_memory *b)
{
    assert_true(a->fixed > 0 && a->fixed == b->fixed);
    assert_true(a->whole == b->whole && a->most == b->most && a->asked == b->asked);
    assert_memory_equal(a->pass, b->pass, sizeof a->pass);
    assert_memory_equal(a->spare, b->spare, sizeof a->spare);
}

static void assert_same_gradients(const fsm_step_shape *a, const fsm_step_shape *b)
{
    for (int g = 0; g < FSM_GROUP_COUNT; g++)
        assert_true(a->group_size[g] == b->group_size[g] && a->link[g] == b->link[g]);
    assert_int_equal(a->region_count, b->region_count);
    for (int i = 0; i < a->region_count; i++) {
        const fsm_region *x = &a->regions[i], *y = &b->regions[i];
        assert_true(x->group == y->group && x->first == y->first && x->last == y->last);
    }
    assert_int_equal(a->gradient_count, b->gradient_count);
    for (int i = 0; i < a->gradient_count; i++) {
        const fsm_gradient *x = &a->gradients[i], *y = &b->gradients[i];
        assert_true(x->region == y->region && x->first == y->first && x->last == y->last);
        assert_true(x->layer == y->layer && x->after == y->after);
    }
}

static void assert_same_claims(const fsm_plan *a, const fsm_plan *b)
{
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

static void assert_same_plan(const fsm_plan *a, const fsm_plan *b)
{
    assert_string_equal(a->schedule, b->schedule);
    assert_true(a->freedom.split == b->freedom.split && a->freedom.one_stream == b->freedom.one_stream);
    assert_true(a->freedom.lanes == b->freedom.lanes);
    assert_same_sizes(&a->shape, &b->shape);
    assert_same_parts(&a->shape, &b->shape);
    assert_same_memory(&a->shape.memory, &b->shape.memory);
    assert_same_gradients(&a->shape, &b->shape);
    assert_same_graph(&a->graph, &b->graph);
    assert_same_claims(a, b);
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

static void test_plan_accepted_is_every_schedule_on_every_layout(void **state)
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

static void test_plan_accepted_is_a_model_without_experts(void **state)
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

static void test_plan_accepted_is_one_in_lanes_with_spares(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    fsm_plan plan = lanes_plan(&cluster);
    assert_sound(&plan, &cluster);
    assert_reads_back(&plan, &cluster);
    fsm_plan_destroy(&plan);
}

/* A file keeps costs to one unit in the last place: bounds, which are searched for, must not depend on that. */
static void test_plan_accepted_are_files_of_random_costs(void **state)
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_accepted_is_every_schedule_on_every_layout),
        cmocka_unit_test(test_plan_accepted_is_a_model_without_experts),
        cmocka_unit_test(test_plan_accepted_is_one_in_lanes_with_spares),
        cmocka_unit_test(test_plan_accepted_are_files_of_random_costs),
    };
    return cmocka_run_group_tests_name("plans accepted", tests, make_dir, remove_dir);
}
