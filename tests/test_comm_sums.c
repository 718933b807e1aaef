/* What is added is right: reduce-scatter, all-reduce, all-reduce by tree, several of them under way at once, on the
 * world and on groups. Oracle: the same sums computed locally, in the order of additions that the contract promises,
 * so to the bit; doubles to a band, and the same bits on all ranks.
 * Runs alone (a group of one) and under mpirun.
 */
#include "comm_case.h"

#include <math.h>
#include <string.h>

/* Block r of the sum: every rank s adds value(s, r, i). */
static bool reduce_scatter(fsm_comm *comm, int variant)
{
    fsm_comm_op op;
    int64_t counts[MAX_RANKS], total, at = 0;
    for (int d = 0; d < comm->size; d++) counts[d] = count_of(comm, variant, 0, d);
    float *send = make_blocks(counts, comm->size, &total), *recv = make_blocks(counts, comm->size, &total);
    for (int d = 0; d < comm->size; at += counts[d++]) fill_block(send + at, comm->rank, d, counts[d]);
    bool good = finished(fsm_comm_start_reduce_scatter(&op, comm, FSM_COMM_FP32, send, recv, counts), &op);
    for (int64_t i = 0; i < counts[comm->rank]; i++) {
        float sum = 0;
        for (int s = 0; s < comm->size; s++) sum += value_of(s, comm->rank, i);
        good &= recv[i] == sum;
    }
    good &= recv[counts[comm->rank]] == -1;
    free(send);
    free(recv);
    return good;
}

static bool check_reduce_scatter(fsm_comm *comm)
{
    bool good = true;
    for (int v = 0; v < VARIANTS; v++) good &= reduce_scatter(comm, v) || complain(comm, "reduce-scatter", v);
    return good;
}

/* Sums that round must be the same bits everywhere. */
static bool same_everywhere(fsm_comm *comm, double mine)
{
    int64_t bits, all[MAX_RANKS];
    memcpy(&bits, &mine, sizeof bits);
    if (fsm_comm_all_gather_int64(comm, &bits, 1, all) != FSMOE_OK) return false;
    for (int r = 0; r < comm->size; r++)
        if (all[r] != bits) return false;
    return true;
}

/* Every third element rounds; the others are whole numbers. */
static double addend(int s, int64_t i)
{
    return value_of(s, 1, i) + (i % 3 == 0 ? 0.1 : 0);
}

/* In the order of ranks: sums of floats to the bit. */
static float sum_in_order(int ranks, int64_t i)
{
    float sum = (float)addend(0, i);
    for (int s = 1; s < ranks; s++) sum += (float)addend(s, i);
    return sum;
}

static bool all_reduce(fsm_comm *comm, int64_t count)
{
    fsm_comm_op op;
    float *floats = malloc(sizeof *floats * (size_t)(count + 1));
    if (!floats) abort();
    for (int64_t i = 0; i < count; i++) floats[i] = (float)addend(comm->rank, i);
    floats[count] = -1;
    bool good = finished(fsm_comm_start_all_reduce(&op, comm, FSM_COMM_FP32, floats, count), &op);
    for (int64_t i = 0; i < count; i++) good &= floats[i] == sum_in_order(comm->size, i);
    good &= floats[count] == -1;
    free(floats);
    return good;
}

static bool all_reduce_double(fsm_comm *comm, int count)
{
    double *doubles = malloc(sizeof *doubles * (size_t)(count + 1)), digest = 0;
    if (!doubles) abort();
    for (int i = 0; i < count; i++) doubles[i] = addend(comm->rank, i);
    doubles[count] = -1;
    bool good = fsm_comm_all_reduce_double(comm, doubles, count) == FSMOE_OK;
    for (int i = 0; i < count; i++) {
        double sum = 0, allowed = i % 3 == 0 ? 1 : 0;
        for (int s = 0; s < comm->size; s++) sum += addend(s, i);
        good &= fabs(doubles[i] - sum) <= allowed * 1e-15 * sum * comm->size;
        digest += doubles[i] * (1.0 + i);
    }
    good &= doubles[count] == -1;
    free(doubles);
    good &= same_everywhere(comm, digest);
    return good;
}

/* Blocks on both sides of the segments that they travel in. */
static bool check_all_reduce(fsm_comm *comm)
{
    const int64_t segments = comm->segment_elems * comm->size; /* 0 alone */
    const int64_t counts[] = {0, 1, 7, 5000, segments, segments + 1, 5 * segments / 2 + 3};
    bool good = true;
    for (int v = 0; v < 7; v++) good &= all_reduce(comm, counts[v]) || complain(comm, "all-reduce", v);
    for (int v = 0; v < 4; v++)
        good &= all_reduce_double(comm, (int)counts[v]) || complain(comm, "all-reduce of doubles", v);
    return good;
}

/* Blocks of two and a half segments and more, of exactly two, and none for the last rank. */
static int64_t long_count(const fsm_comm *comm, int d)
{
    const int64_t segment = comm->size > 1 ? comm->segment_elems : 1000;
    return d == comm->size - 1 && d > 0 ? 0 : d % 2 ? 2 * segment : 5 * segment / 2 + d;
}

static bool check_long_reduce_scatter(fsm_comm *comm)
{
    fsm_comm_op op;
    int64_t counts[MAX_RANKS] = {0}, total, first = 0;
    for (int d = 0; d < comm->size; d++) counts[d] = long_count(comm, d);
    for (int d = 0; d < comm->rank; d++) first += counts[d];
    int64_t mine = counts[comm->rank];
    float *send = make_blocks(counts, comm->size, &total), *recv = malloc(sizeof(float) * (size_t)(mine + 1));
    if (!recv) abort();
    recv[mine] = -1;
    for (int64_t i = 0; i < total; i++) send[i] = (float)addend(comm->rank, i);
    bool good = finished(fsm_comm_start_reduce_scatter(&op, comm, FSM_COMM_FP32, send, recv, counts), &op);
    for (int64_t i = 0; i < mine; i++) good &= recv[i] == sum_in_order(comm->size, first + i);
    good &= recv[mine] == -1;
    for (int64_t i = 0; i < total; i++) good &= send[i] == (float)addend(comm->rank, i);
    free(send);
    free(recv);
    return good || complain(comm, "reduce-scatter in segments", 0);
}

/* The tree that op.h describes: neighbours first, then pairs of pairs; ranks [first, first + span) below this node.
 */
static float tree_sum(int first, int span, int size, int64_t i)
{
    if (span == 1) return (float)addend(first, i);
    float left = tree_sum(first, span / 2, size, i);
    return first + span / 2 < size ? left + tree_sum(first + span / 2, span / 2, size, i) : left;
}

/* Bit for bit; sizes on both sides of the piece that is sent at once. */
static bool check_all_reduce_tree(fsm_comm *comm)
{
    fsm_comm_op op;
    const int64_t sizes[] = {0, 1, 1000, FSM_TREE_ELEMS, FSM_TREE_ELEMS + 3};
    int64_t counts[MAX_RANKS];
    float *scratch = malloc(sizeof(float) * (size_t)comm->size * FSM_TREE_ELEMS);
    float *buffer = malloc(sizeof(float) * (FSM_TREE_ELEMS + 4));
    if (!scratch || !buffer) abort();
    bool good = true;
    for (int v = 0; v < 5; v++) {
        for (int64_t i = 0; i < sizes[v]; i++) buffer[i] = (float)addend(comm->rank, i);
        buffer[sizes[v]] = -1;
        good &= finished(fsm_comm_start_all_reduce_tree(&op, comm, buffer, sizes[v], scratch, counts), &op);
        for (int64_t i = 0; i < sizes[v]; i++) good &= buffer[i] == tree_sum(0, MAX_RANKS, comm->size, i);
        good &= buffer[sizes[v]] == -1;
    }
    free(scratch);
    free(buffer);
    return good || complain(comm, "all-reduce by tree", 0);
}

/* ---- several under way ---- */

static bool advance_all(fsm_comm_op *ops, int n)
{
    bool all[8] = {0};
    for (int left = n; left > 0;)
        for (int i = 0; i < n; i++) {
            if (all[i]) continue;
            if (fsm_comm_advance(&ops[i], &all[i]) != FSMOE_OK) return false;
            left -= all[i];
        }
    return true;
}

/* Operations of the world, its halves and its odd and even ranks, begun in one order and moved by one thread in
 * another: none waits for another one's end. */
static void test_comm_operations_of_several_groups_are_under_way_at_once(void **state)
{
    (void)state;
    enum { GROUPS = 3, COUNT = 200000 };
    fsm_comm *groups[GROUPS] = {world, NULL, NULL};
    fsm_comm_op ops[GROUPS];
    float *buffers[GROUPS];
    bool good = world->control->split(world, world->rank * 2 / world->size, &groups[1]) == FSMOE_OK;
    good &= world->control->split(world, world->rank % 2, &groups[2]) == FSMOE_OK;
    if (!all_true(good)) fail_msg("split: %s", fsmoe_last_error());
    for (int g = 0; g < GROUPS; g++) {
        buffers[g] = malloc(sizeof(float) * COUNT);
        if (!buffers[g]) abort();
        for (int64_t i = 0; i < COUNT; i++) buffers[g][i] = (float)addend(groups[g]->rank, i);
    }
    for (int i = 0; i < GROUPS; i++) { /* odd ranks the other way round */
        int g = world->rank % 2 ? GROUPS - 1 - i : i;
        good &= fsm_comm_start_all_reduce(&ops[g], groups[g], FSM_COMM_FP32, buffers[g], COUNT) == FSMOE_OK;
    }
    good = good && advance_all(ops, GROUPS);
    for (int g = 0; g < GROUPS; g++) {
        for (int64_t i = 0; i < COUNT; i++) good &= buffers[g][i] == sum_in_order(groups[g]->size, i);
        free(buffers[g]);
        if (g > 0) fsm_comm_destroy(groups[g]);
    }
    assert_true(all_true(good));
}

GROUP_TEST(reduce_scatter_sums_blocks, check_reduce_scatter)
GROUP_TEST(reduce_scatter_of_many_segments_adds_in_the_order_of_ranks, check_long_reduce_scatter)
GROUP_TEST(all_reduce_adds_in_the_order_of_ranks, check_all_reduce)
GROUP_TEST(all_reduce_tree_adds_neighbours_first, check_all_reduce_tree)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comm_reduce_scatter_sums_blocks),
        cmocka_unit_test(test_comm_reduce_scatter_of_many_segments_adds_in_the_order_of_ranks),
        cmocka_unit_test(test_comm_all_reduce_adds_in_the_order_of_ranks),
        cmocka_unit_test(test_comm_operations_of_several_groups_are_under_way_at_once),
        cmocka_unit_test(test_comm_all_reduce_tree_adds_neighbours_first),
    };
    if (!enter_world()) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fsmoe_world_destroy(the_world);
    return failed;
}
