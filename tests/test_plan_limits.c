/* What plans keep to: memory, the lanes that are wanted, a number of pieces. Oracles: bytes of lanes, told apart from
 * plans; the checker; another schedule's time; tasks, counted. */
#include "plan_case.h"

static fsmoe_status set(fsmoe_config *config, const char *const *settings)
{
    fsmoe_status status = FSMOE_OK;
    for (int i = 0; settings[i] && status == FSMOE_OK; i++) status = fsmoe_config_set(config, settings[i]);
    return status;
}

/* A step on 2 nodes x 2 ranks. settings: NULL after the last. */
static fsm_step_shape shape_with(const char *const *settings)
{
    static const char *const usual[] = {"model.hidden=16",      "model.ffn_hidden=32",   "model.num_layers=2",
                                        "model.num_heads=4",    "model.vocab_size=64",   "moe.num_experts=4",
                                        "data.seq_len=32",      "train.micro_batch=8",   "train.global_batch=8",
                                        "parallel.ep_size=2",   "parallel.esp_size=2",   "parallel.mp_size=2",
                                        "model.family=mixtral", "moe.capacity_factor=1", NULL};
    fsmoe_config *config;
    fsm_step_shape shape;
    assert_int_equal(fsmoe_config_create(&config), FSMOE_OK);
    if (set(config, usual) != FSMOE_OK || set(config, settings) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    if (fsm_step_of_config(config, 2, 2, &shape) != FSMOE_OK) fail_msg("%s", fsmoe_last_error());
    fsmoe_config_destroy(config);
    return shape;
}

/* ---- memory ---- */

/* Four samples a group are four capacity groups: in four parts one of two ranks has all of each, in two both have
 * half. */
static void test_plan_limits_count_the_fullest_rank_of_a_part(void **state)
{
    (void)state;
    fsm_step_shape s = shape_with((const char *const[]){"moe.capacity_group=32", NULL});
    int64_t whole = s.n_local;
    assert_int_equal(s.most_parts, 4);
    assert_int_equal(fsm_step_part(&s, 2, 0).n_local, whole / 2);
    assert_int_equal(fsm_step_part(&s, 4, 0).n_local, whole / 2);
    assert_true(fsm_step_part(&s, 4, 0).rows == fsm_step_part(&s, 2, 0).rows);
    assert_true(fsm_step_bytes(&s, (fsm_lanes){4, 4, 0}) > s.memory.most);
    assert_int_equal(fsm_step_most_spare(&s, 4, 4), -1);
    assert_true(fsm_step_most_spare(&s, 2, 2) >= 0);
    fsm_step_shape_destroy(&s);
}

static void assert_lanes(const fsm_step_shape *shape, int64_t most, const fsm_schedule *schedule, int lanes, int parts)
{
    fsm_cluster cluster = costs();
    fsm_step_shape limited = copy_shape(shape);
    limited.memory.most = most;
    limited.memory.asked = true;
    fsm_plan plan = plan_shape(&limited, schedule, &cluster);
    if (fsm_graph_lanes(&plan.graph) != lanes || fsm_graph_parts(&plan.graph) != parts)
        fail_msg("%s: %d lanes, %d parts within %lld bytes", schedule->name, fsm_graph_lanes(&plan.graph),
                 fsm_graph_parts(&plan.graph), (long long)most);
    if (fsm_plan_check(&plan, &cluster) != FSMOE_OK) fail_msg("%s: %s", schedule->name, fsmoe_last_error());
    fsm_plan_destroy(&plan);
}

static void test_plan_limits_of_memory_are_every_schedules(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    fsm_step_shape s = shape_with((const char *const[]){"moe.capacity_group=32", "train.global_batch=32", NULL});
    int64_t one = fsm_step_bytes(&s, (fsm_lanes){1, 1, 0}), halves = fsm_step_bytes(&s, (fsm_lanes){2, 2, 0}),
            several = fsm_step_bytes(&s, (fsm_lanes){2, 1, 0});
    assert_true(one < halves && halves < several);
    assert_lanes(&s, several, &fsm_schedule_megatron_overlap, 2, 1);
    assert_lanes(&s, several - 1, &fsm_schedule_megatron_overlap, 2, 2);
    assert_lanes(&s, halves, &fsm_schedule_two_batch, 2, 2);
    assert_lanes(&s, one, &fsm_schedule_megatron_overlap, 1, 1);
    assert_lanes(&s, one, &fsm_schedule_two_batch, 1, 1);
    assert_lanes(&s, one, &fsm_schedule_flowmoe, 1, 1);
    s.memory.asked = true;
    s.memory.most = one - 1;
    for (int i = 0; fsm_schedules[i]; i++) {
        fsm_step_shape copy = copy_shape(&s);
        fsm_plan plan;
        assert_int_equal(fsm_plan_create(&copy, &cluster, fsm_schedules[i], &plan), FSMOE_ERROR_CONFIG);
        assert_says("but one lane takes");
    }
    fsm_step_shape_destroy(&s);
}

/* ---- lanes ---- */

static void test_plan_limits_of_one_lane_are_never_slower_than_fsmoe_x(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    for (int k = 0; k < 12; k++) {
        char ffn[32], layers[32];
        snprintf(ffn, sizeof ffn, "model.ffn_hidden=%d", 16 << (k % 4));
        snprintf(layers, sizeof layers, "model.num_layers=%d", 1 + k / 4);
        fsm_step_shape x = shape_with((const char *const[]){ffn, layers, NULL}), one = copy_shape(&x);
        one.lanes = 1;
        fsm_plan plans[2] = {plan_shape(&x, &fsm_schedule_fsmoe_x, &cluster),
                             plan_shape(&one, &fsm_schedule_fsmoe_lanes, &cluster)};
        assert_int_equal(fsm_graph_lanes(&plans[1].graph), 1);
        assert_true(plans[1].certificate.makespan_s <= plans[0].certificate.makespan_s * (1 + 1e-12));
        for (int i = 0; i < 2; i++) fsm_plan_destroy(&plans[i]);
    }
}

/* ---- pieces ---- */

/* Where a piece begins for nothing, the smallest would do. */
static void test_plan_limits_pieces_where_latency_is_nothing(void **state)
{
    (void)state;
    fsm_cluster cluster = costs();
    cluster.op[FSM_COST_ALLREDUCE].cost.line[0].alpha_s = 0;
    fsm_step_shape s = shape_with((const char *const[]){"model.hidden=1024", "model.ffn_hidden=4096", NULL});
    assert_true(fsm_step_summed_elems(&s) > 4e6);
    s.lanes = 1;
    fsm_graph graph;
    int pieces = 0;
    assert_int_equal(fsm_schedule_in_lanes(&s, &cluster, &(fsm_lanes_wanted){1, {1, 1}}, &graph), FSMOE_OK);
    for (int i = 0; i < graph.count; i++) pieces += graph.tasks[i].kind == FSM_TASK_ALLREDUCE;
    assert_true(pieces > 100 && pieces < 2048);
    fsm_graph_destroy(&graph);
    fsm_step_shape_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_limits_count_the_fullest_rank_of_a_part),
        cmocka_unit_test(test_plan_limits_of_memory_are_every_schedules),
        cmocka_unit_test(test_plan_limits_of_one_lane_are_never_slower_than_fsmoe_x),
        cmocka_unit_test(test_plan_limits_pieces_where_latency_is_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
