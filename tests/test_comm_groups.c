/* Groups of ranks: how the world is split, who sits on which node, barriers and agreement.
 * Oracle: what every rank says of itself, gathered over the world, and the groups of the topology.
 * Runs alone (a group of one) and under mpirun.
 */
#include "comm_case.h"

#include "base/clock.h"
#include "comm/groups.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- groups ---- */

/* Members of a split are the world's ranks of one colour, in order. */
static bool check_split_by(int color)
{
    fsm_comm *group;
    int64_t mine[2] = {color, world->rank}, all[2 * MAX_RANKS], members[MAX_RANKS];
    if (fsm_comm_all_gather_int64(world, mine, 2, all) != FSMOE_OK) return false;
    if (world->control->split(world, color, &group) != FSMOE_OK) return false;
    bool good = fsm_comm_all_gather_int64(group, &mine[1], 1, members) == FSMOE_OK;
    int n = 0;
    for (int r = 0; r < world->size; r++) {
        if (all[2 * r] != color) continue;
        good &= n < group->size && members[n] == r;
        if (r == world->rank) good &= group->rank == n;
        n++;
    }
    good &= group->size == n;
    fsm_comm_destroy(group);
    return good;
}

static void test_comm_split_keeps_the_order_of_ranks(void **state)
{
    (void)state;
    const int colors[] = {
        0, world->rank % 2, world->rank / 2, world->rank % 3, 7 - world->rank, world->rank == 1 ? 5 : 3};
    for (size_t i = 0; i < sizeof colors / sizeof *colors; i++)
        if (!all_true(check_split_by(colors[i]))) fail_msg("split %zu", i);
}

static bool check_groups_of(const fsm_topo *topo)
{
    fsm_comm *groups[FSM_GROUP_COUNT];
    bool good = fsm_groups_create(world, topo, groups) == FSMOE_OK;
    if (!good) return complain(world, "groups", 0);
    good &= groups[FSM_GROUP_WORLD] == world;
    for (int g = 0; g < FSM_GROUP_COUNT; g++) {
        int64_t mine = fsm_topo_group_color(topo, (fsm_group)g), all[MAX_RANKS];
        good &= groups[g]->size == fsm_topo_group_size(topo, (fsm_group)g);
        good &= groups[g]->rank == fsm_topo_group_index(topo, (fsm_group)g);
        good &= fsm_comm_all_gather_int64(groups[g], &mine, 1, all) == FSMOE_OK;
        for (int r = 0; r < groups[g]->size; r++) good &= all[r] == mine;
    }
    fsm_groups_destroy(groups);
    return good || complain(world, "groups", 1);
}

static void test_comm_groups_match_the_topology(void **state)
{
    (void)state;
    for (int ep = 1; ep <= world->size; ep++)
        for (int esp = 1; ep * esp <= world->size; esp++)
            for (int mp = 1; mp <= world->size; mp++) {
                if (world->size % (ep * esp) || world->size % mp) continue;
                fsmoe_parallel_config parallel = {.ep_size = ep, .esp_size = esp, .mp_size = mp};
                fsm_topo topo;
                assert_int_equal(fsm_topo_create(1, world->size, &parallel, world->rank, &topo), FSMOE_OK);
                if (!all_true(check_groups_of(&topo))) fail_msg("ep %d esp %d mp %d", ep, esp, mp);
            }
}

/* ---- barrier and agreement ---- */

/* Nobody leaves before the last one came: the last rank comes late. One clock, since tests run on one machine. */
static bool check_barrier(fsm_comm *comm)
{
    const struct timespec late = {0, 20000000};
    int64_t span_ns[2], all_ns[2 * MAX_RANKS];
    if (comm->rank == comm->size - 1) nanosleep(&late, NULL);
    span_ns[0] = (int64_t)(1e9 * fsm_clock_s());
    bool good = comm->control->barrier(comm) == FSMOE_OK;
    span_ns[1] = (int64_t)(1e9 * fsm_clock_s());
    good &= fsm_comm_all_gather_int64(comm, span_ns, 2, all_ns) == FSMOE_OK;
    for (int a = 0; a < comm->size; a++)
        for (int b = 0; b < comm->size; b++) good &= all_ns[2 * a + 1] >= all_ns[2 * b];
    return good || complain(comm, "barrier", 0);
}

/* Ranks of `failing` (a bit each) fail, each in its own way; all must hear of the lowest. */
static bool agree_when(fsm_comm *comm, unsigned failing)
{
    static const fsmoe_status codes[] = {FSMOE_ERROR_NUMERIC, FSMOE_ERROR_IO, FSMOE_ERROR_CONFIG, FSMOE_ERROR_MEMORY};
    char want[64];
    int lowest = -1;
    for (int r = comm->size - 1; r >= 0; r--)
        if (failing >> r & 1) lowest = r;
    fsm_fail(FSMOE_ERROR_INTERNAL, "an older failure");
    fsmoe_status mine = FSMOE_OK;
    if (failing >> comm->rank & 1) mine = fsm_fail(codes[comm->rank % 4], "rank %d could not", comm->rank);
    fsmoe_status agreed = fsm_comm_agree(comm, mine);
    if (lowest < 0) return agreed == FSMOE_OK;
    snprintf(want, sizeof want, "rank %d could not", lowest);
    return agreed == codes[lowest % 4] && strcmp(fsmoe_last_error(), want) == 0;
}

static bool check_agree(fsm_comm *comm)
{
    int bits = comm->size < 5 ? comm->size : 5;
    bool good = true;
    for (unsigned failing = 0; failing < 1u << bits; failing++)
        good &= agree_when(comm, failing) || complain(comm, "agreement", (int)failing);
    return good;
}

/* ---- nodes ---- */

/* As many nodes as there are host names. */
static bool check_find_nodes(fsm_comm *comm)
{
    int64_t name[8] = {0}, names[8 * MAX_RANKS];
    int nodes, ranks_per_node, distinct = 0;
    gethostname((char *)name, sizeof name - 1);
    bool good = fsm_comm_all_gather_int64(comm, name, 8, names) == FSMOE_OK;
    for (int r = 0; r < comm->size; r++) {
        bool seen = false;
        for (int other = 0; other < r; other++) seen |= memcmp(names + 8 * r, names + 8 * other, sizeof name) == 0;
        distinct += !seen;
    }
    good &= fsm_comm_find_nodes(comm, &nodes, &ranks_per_node) == FSMOE_OK;
    good &= nodes == distinct && nodes * ranks_per_node == comm->size;
    return good || complain(comm, "nodes", 0);
}

static bool check_local_ranks(fsm_comm *comm)
{
    int count, index;
    bool good = comm->control->local_ranks(comm, &count, &index) == FSMOE_OK;
    int64_t mine = index, all[MAX_RANKS];
    good &= count >= 1 && index >= 0 && index < count;
    good &= fsm_comm_all_gather_int64(comm, &mine, 1, all) == FSMOE_OK;
    if (count == comm->size) /* all on one machine: everyone has a number of its own */
        for (int r = 0; r < comm->size; r++) good &= all[r] == r;
    return good || complain(comm, "local ranks", 0);
}

GROUP_TEST(barrier_holds_until_the_last_comes, check_barrier)
GROUP_TEST(agree_gives_all_the_lowest_failure, check_agree)
GROUP_TEST(find_nodes_counts_hosts, check_find_nodes)
GROUP_TEST(local_ranks_are_numbered, check_local_ranks)

static void test_comm_world_is_what_the_public_header_says(void **state)
{
    (void)state;
    bool good = fsmoe_world_rank(the_world) == world->rank && fsmoe_world_size(the_world) == world->size;
    fsmoe_status mine = world->rank == world->size - 1 ? fsm_fail(FSMOE_ERROR_FORMAT, "the last rank") : FSMOE_OK;
    good &= fsmoe_world_agree(the_world, mine) == FSMOE_ERROR_FORMAT;
    good &= strcmp(fsmoe_last_error(), "the last rank") == 0;
    good &= fsmoe_world_agree(the_world, FSMOE_OK) == FSMOE_OK;
    assert_true(all_true(good));
}

/* One message each way between neighbours on both worlds: received in the order `a`, `b`, sent in the other. */
static bool exchange_crosswise(fsm_comm *a, fsm_comm *b)
{
    fsm_comm *const order[] = {a, b};
    float sent[2] = {1, 2}, got[2] = {0};
    int to = (a->rank + 1) % a->size, from = (a->rank + a->size - 1) % a->size;
    bool good = true, done = false;
    for (int i = 0; i < 2; i++)
        good &= order[i]->data->post_recv(order[i], 0, from, FSM_COMM_FP32, &got[i], 1) == FSMOE_OK;
    for (int i = 1; i >= 0; i--)
        good &= order[i]->data->post_send(order[i], 0, to, FSM_COMM_FP32, &sent[i], 1) == FSMOE_OK;
    for (int i = 0; i < 2 && good; i++)
        for (done = false; !done && good;) good &= order[i]->data->test(order[i], 0, &done) == FSMOE_OK;
    return good && got[0] == sent[0] && got[1] == sent[1];
}

static bool is_like_the_world(const fsmoe_world *other)
{
    return fsmoe_world_rank(other) == world->rank && fsmoe_world_size(other) == world->size;
}

/* A second beside the first, a third after the second: MPI begins once and ends with the process. */
static void test_comm_worlds_may_be_several(void **state)
{
    (void)state;
    fsmoe_world *second, *third;
    assert_int_equal(fsmoe_world_create(&second), FSMOE_OK);
    bool good = is_like_the_world(second);
    if (world->size > 1) good &= exchange_crosswise(world, second->comm);
    good &= fsmoe_world_agree(second, FSMOE_OK) == FSMOE_OK;
    fsmoe_world_destroy(second);
    assert_int_equal(fsmoe_world_create(&third), FSMOE_OK);
    good &= is_like_the_world(third) && fsmoe_world_agree(third, FSMOE_OK) == FSMOE_OK;
    if (world->size > 1) good &= exchange_crosswise(third->comm, world);
    fsmoe_world_destroy(third);
    assert_true(all_true(good));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comm_barrier_holds_until_the_last_comes),
        cmocka_unit_test(test_comm_split_keeps_the_order_of_ranks),
        cmocka_unit_test(test_comm_groups_match_the_topology),
        cmocka_unit_test(test_comm_agree_gives_all_the_lowest_failure),
        cmocka_unit_test(test_comm_find_nodes_counts_hosts),
        cmocka_unit_test(test_comm_local_ranks_are_numbered),
        cmocka_unit_test(test_comm_world_is_what_the_public_header_says),
        cmocka_unit_test(test_comm_worlds_may_be_several),
    };
    if (!enter_world()) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fsmoe_world_destroy(the_world);
    if (fsmoe_world_create(&the_world) != FSMOE_OK) return 1; /* after the last */
    fsmoe_world_destroy(the_world);
    return failed;
}
