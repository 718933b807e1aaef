/* Which all-to-all a group has: by its name and by the nodes that its ranks are on; what is refused; and that what its
 * memory takes is counted. */
#include "alltoall_case.h"

/* ---- what is refused ---- */

static void emit_many(fsm_alltoall *a, const fsm_alltoall_counts *counts, fsm_stages *stages)
{
    (void)a, (void)counts;
    for (int i = 0; i < 9; i++) fsm_stages_wait(stages, 0);
}

/* A kind that has not said how many stages it needs has four a rank, and four more. */
static void test_alltoall_more_stages_than_memory_are_refused(void **state)
{
    (void)state;
    static const fsm_alltoall_kind many = {.name = "many", .emit = emit_many};
    const int64_t none[1] = {0};
    const fsm_alltoall_counts counts = {none, none, NULL, NULL};
    fsm_memory measure = {0}, memory;
    fsm_comm_op op;
    fsm_alltoall a = {.kind = &many, .size = 1};
    assert_int_equal(fsm_comm_create_self(&a.comm), FSMOE_OK);
    fsm_alltoall_take(&measure, FSM_COMM_FP32, 1, 1, &a);
    assert_int_equal(fsm_memory_create(&measure, &memory), FSMOE_OK);
    fsm_alltoall_take(&memory, FSM_COMM_FP32, 1, 1, &a);
    assert_int_equal(fsm_alltoall_start(&a, &op, FSM_COMM_FP32, NULL, NULL, &counts), FSMOE_ERROR_INTERNAL);
    assert_non_null(strstr(fsmoe_last_error(), "9 stages, where memory is taken for 8"));
    fsm_memory_destroy(&memory);
    fsm_comm_destroy(a.comm);
}

static fsmoe_status select_on(const char *name, shape s, int ep, int esp, int index, fsm_alltoall *a)
{
    fsm_topo topo = topo_of(s, ep, esp, index);
    return fsm_alltoall_select(name, &topo, NULL, a);
}

/* Ranks 0, 2, 4 exchange, two of them on the first node and one on the second. */
static void test_alltoall_uneven_nodes_are_refused_by_those_that_pass_on(void **state)
{
    (void)state;
    fsm_alltoall a;
    for (int index = 0; index < 6; index++) {
        assert_int_equal(select_on("direct", (shape){2, 3}, 3, 2, index, &a), FSMOE_OK);
        for (int kind = 0; kind < KINDS; kind += 2) {
            assert_int_equal(select_on(kind_names[kind], (shape){2, 3}, 3, 2, index, &a), FSMOE_ERROR_LAYOUT);
            assert_non_null(strstr(fsmoe_last_error(), kind_names[kind]));
            assert_non_null(
                strstr(fsmoe_last_error(), index % 2 == index / 3 ? "one node holds 2" : "one node holds 1"));
            assert_non_null(strstr(fsmoe_last_error(), "parallel.ep_size"));
        }
    }
}

/* Three groups of four on nodes of six: the middle one's ranks are two on each node. */
static void test_alltoall_each_group_finds_its_own_nodes(void **state)
{
    (void)state;
    fsm_alltoall a;
    for (int index = 0; index < 12; index++) {
        assert_int_equal(select_on("2dh", (shape){2, 6}, 4, 1, index, &a), FSMOE_OK);
        bool middle = index / 4 == 1;
        assert_int_equal(a.nodes, middle ? 2 : 1);
        assert_int_equal(a.local, middle ? 2 : 4);
        assert_string_equal(a.kind->name, middle ? "2dh" : "direct");
    }
    assert_int_equal(select_on("1dh", (shape){2, 4}, 4, 2, 5, &a), FSMOE_OK);
    assert_true(a.nodes == 2 && a.local == 2 && a.kind == &fsm_alltoall_1dh);
}

static void test_alltoall_unknown_names_are_refused(void **state)
{
    (void)state;
    fsm_alltoall a;
    assert_int_equal(select_on("3dh", (shape){2, 2}, 4, 1, 0, &a), FSMOE_ERROR_CONFIG);
    assert_non_null(strstr(fsmoe_last_error(), "moe.alltoall: no all-to-all is named '3dh'"));
}

/* ---- memory ---- */

static size_t counted(const fsm_memory *memory)
{
    size_t bytes = 0;
    for (int kind = 0; kind < FSM_MEMORY_KINDS; kind++) bytes += memory->taken[kind];
    return bytes;
}

/* Of every kind, for what memory is taken next: all that is taken of the device is counted, and for that. */
static void take_each(fsm_memory *memory, int64_t rank_elems)
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int what = 0; what < FSM_MEMORY_KINDS; what++) {
            fsm_alltoall a;
            const fsm_topo topo = topo_of((shape){2, 2}, 4, 1, 0);
            assert_int_equal(fsm_alltoall_select(kind_names[kind], &topo, NULL, &a), FSMOE_OK);
            size_t before = memory->taken[what], used = memory->device.used;
            memory->kind = (fsm_memory_kind)what;
            fsm_alltoall_take(memory, what % 2 ? FSM_COMM_BF16 : FSM_COMM_FP32, rank_elems, rank_elems, &a);
            assert_int_equal(memory->taken[what] - before, memory->device.used - used);
            assert_int_equal(counted(memory), memory->device.used);
            assert_int_equal(memory->device.used > used, a.kind->buffer_elems != NULL);
        }
}

static void test_alltoall_memory_is_counted_by_kind(void **state)
{
    (void)state;
    fsm_memory measure = fsm_memory_measure(FSM_REAL_BYTES), memory;
    take_each(&measure, 101);
    assert_int_equal(fsm_memory_create(&measure, &memory), FSMOE_OK);
    take_each(&memory, 101);
    assert_memory_equal(memory.taken, measure.taken, sizeof memory.taken);
    fsm_memory_destroy(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alltoall_more_stages_than_memory_are_refused),
        cmocka_unit_test(test_alltoall_uneven_nodes_are_refused_by_those_that_pass_on),
        cmocka_unit_test(test_alltoall_each_group_finds_its_own_nodes),
        cmocka_unit_test(test_alltoall_unknown_names_are_refused),
        cmocka_unit_test(test_alltoall_memory_is_counted_by_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
