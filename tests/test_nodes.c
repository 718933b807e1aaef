/* Ranks on nodes: numbered node by node whatever order a launcher placed them in, and where nodes are claimed.
 * Oracles: what such a numbering is; the same run with ranks placed node by node. */
#include "command_case.h"
#include "config/config.h"
#include "train/place.h"

enum { MOST_RANKS = 8 };

/* ---- numbers ---- */

/* nodes[r]: of rank r, 0 … n - 1 in any order */
static void check_numbers(const int *nodes, int n)
{
    int lowest[MOST_RANKS], old[MOST_RANKS];
    for (int r = 0; r < n; r++) {
        old[r] = lowest[r] = -1;
        for (int other = r; other >= 0; other--)
            if (nodes[other] == nodes[r]) lowest[r] = other;
    }
    for (int r = 0; r < n; r++) {
        int number = fsm_comm_number_by_node(n, lowest, r);
        assert_in_range(number, 0, n - 1);
        assert_int_equal(old[number], -1);
        old[number] = r;
    }
    assert_int_equal(old[0], 0);
    for (int number = 1; number < n; number++) {
        int before = old[number - 1], now = old[number];
        if (nodes[before] == nodes[now]) assert_true(before < now);
        else assert_int_equal(now, lowest[now]); /* a node begins with its lowest rank, and that is seen once */
    }
}

/* Every way to put up to six ranks on up to six nodes. */
static void test_nodes_hold_ranks_that_follow_one_another(void **state)
{
    (void)state;
    for (int n = 1; n <= 6; n++) {
        int ways = 1, nodes[MOST_RANKS];
        for (int r = 0; r < n; r++) ways *= n;
        for (int way = 0; way < ways; way++) {
            for (int r = 0, rest = way; r < n; r++, rest /= n) nodes[r] = rest % n;
            check_numbers(nodes, n);
        }
    }
}

/* ---- nodes that are claimed ---- */

typedef struct machine_comm {
    fsm_comm base; /* first */
    const int *machines;
} machine_comm;

static int asked; /* how often a rank asked for the ranks of its machine, which all ranks do together */

static fsmoe_status ranks_of_machine(fsm_comm *comm, int *count, int *index)
{
    asked++;
    const machine_comm *c = (const machine_comm *)comm;
    *count = *index = 0;
    for (int r = 0; r < comm->size; r++) {
        *count += c->machines[r] == c->machines[comm->rank];
        *index += c->machines[r] == c->machines[comm->rank] && r < comm->rank;
    }
    return FSMOE_OK;
}

/* Whether every rank finds its place; each of machines [size] is of that rank. */
static bool fits(const int *machines, int size, int64_t nodes, int64_t ranks_per_node)
{
    static const fsm_control_table table = {.name = "machines", .local_ranks = ranks_of_machine};
    fsmoe_config *config;
    assert_int_equal(fsmoe_config_create(&config), FSMOE_OK);
    config->parallel.nodes = nodes;
    config->parallel.ranks_per_node = ranks_per_node;
    bool all = true;
    for (int r = 0; r < size; r++) {
        machine_comm c = {{.control = &table, .rank = r, .size = size}, machines};
        fsm_topo topo;
        fsmoe_status status = fsm_place(config, &c.base, &topo);
        if (status != FSMOE_OK) assert_int_equal(status, FSMOE_ERROR_LAYOUT);
        else if (ranks_per_node > 0) assert_int_equal(topo.node, r / ranks_per_node);
        all &= status == FSMOE_OK;
    }
    fsmoe_config_destroy(config);
    return all;
}

static void test_nodes_may_divide_a_machine_but_not_join_two(void **state)
{
    static const int one[] = {0, 0, 0, 0}, two[] = {0, 0, 1, 1}, uneven[] = {0, 0, 0, 1}, six[] = {0, 0, 1, 1, 1, 1};
    (void)state;
    assert_true(fits(one, 4, 1, 4) && fits(one, 4, 2, 2) && fits(one, 4, 4, 1) && fits(one, 4, 0, 2));
    assert_true(fits(two, 4, 2, 2) && fits(two, 4, 4, 1) && fits(two, 4, 2, 0));
    assert_false(fits(two, 4, 1, 4));
    assert_false(fits(two, 4, 1, 0));
    assert_true(fits(uneven, 4, 0, 1));
    assert_false(fits(uneven, 4, 2, 2));
    assert_non_null(strstr(fsmoe_last_error(), "parallel.nodes"));
    assert_true(fits(six, 6, 3, 2));
    assert_false(fits(six, 6, 2, 3));
}

/* ---- under a launcher ---- */

/* FSMOE_NODE as `formula` makes it of the launcher's rank r. */
static outcome run_on_nodes(const command_case *c, const char *formula, const char *const *args)
{
    char script[256];
    snprintf(script, sizeof script,
             "r=${OMPI_COMM_WORLD_RANK:-$PMI_RANK}; ASAN_OPTIONS=detect_leaks=0 FSMOE_NODE=$((%s)) exec \"$0\" \"$@\"",
             formula);
    const char *argv[MOST_ARGS] = {FSMOE_SOURCE_DIR "/scripts/mpirun", "4", "sh", "-c", script, FSMOE_COMMAND};
    for (int i = 0; args[i]; i++) argv[i + 6] = args[i];
    return spawn(c, argv, (streams){0});
}

#define TRAIN(dir)                                                                                  \
    "train", "config.yaml", "--set", "parallel.ep_size=2", "--set", "parallel.esp_size=2", "--set", \
        "parallel.mp_size=2", "--set", "parallel.schedule=dsmoe", "--set", "run.dir=" dir

static void test_nodes_dealt_out_in_turn_train_as_those_in_order(void **state)
{
    const command_case *c = *state;
    if (!has_mpi(c)) skip();
    static const char *const formulas[] = {"r / 2", "r % 2", "(r + 1) / 2 % 2"}, *const dirs[] = {"run", "run.1",
                                                                                                  "run.2"};
    for (int i = 0; i < 3;
         i++) { /* each moves the ones before it aside; two a node: refused if they were on two machines */
        outcome o = run_on_nodes(c, formulas[i], ARGS(TRAIN("run"), "--set", "parallel.ranks_per_node=2"));
        assert_has(o.err, "4 ranks on 2 nodes: DP 2, MP 2, EP 2, ESP 2, expert-DP 1");
        assert_works(o);
    }
    for (int i = 1; i < 3; i++) assert_losses_agree(c, dirs[i], dirs[0], 0);
}

static void test_nodes_of_different_sizes_are_refused(void **state)
{
    const command_case *c = *state;
    if (!has_mpi(c)) skip();
    outcome o = run_on_nodes(c, "r % 3", ARGS(TRAIN("uneven")));
    assert_int_equal(o.exit_code, fsmoe_status_exit_code(FSMOE_ERROR_LAYOUT));
    assert_has(o.err, "different numbers of ranks");
    forget(o);
    o = run_on_nodes(c, "r % 2", ARGS(TRAIN("coarse"), "--set", "parallel.nodes=1"));
    assert_int_equal(o.exit_code, fsmoe_status_exit_code(FSMOE_ERROR_LAYOUT));
    assert_has(o.err, "parallel.ranks_per_node");
    forget(o);
    assert_works(run_on_nodes(c, "r % 3", ARGS(TRAIN("a-rank-a-node"), "--set", "parallel.ranks_per_node=1")));
}

/* A rank that is told its threads asks all the same, or the others would wait for it. */
static void test_nodes_count_threads_together(void **state)
{
    static const int one[] = {0, 0};
    static const fsm_control_table table = {.name = "machines", .local_ranks = ranks_of_machine};
    fsmoe_config *config;
    (void)state;
    assert_int_equal(fsmoe_config_create(&config), FSMOE_OK);
    for (int r = 0; r < 2; r++) {
        machine_comm c = {{.control = &table, .rank = r, .size = 2}, one};
        int threads = 0, before = asked;
        config->parallel.threads = r == 0 ? 3 : 0;
        assert_int_equal(fsm_count_threads(config, &c.base, &threads), FSMOE_OK);
        assert_int_equal(asked, before + 1);
        assert_true(r == 0 ? threads == 3 : threads >= 1);
    }
    fsmoe_config_destroy(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nodes_hold_ranks_that_follow_one_another),
        cmocka_unit_test(test_nodes_may_divide_a_machine_but_not_join_two),
        cmocka_unit_test(test_nodes_count_threads_together),
        cmocka_unit_test_setup_teardown(test_nodes_dealt_out_in_turn_train_as_those_in_order, make_case, remove_case),
        cmocka_unit_test_setup_teardown(test_nodes_of_different_sizes_are_refused, make_case, remove_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
