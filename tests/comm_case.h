/* What tests of communicators share: the world, checks on it and on groups of it, and blocks whose elements tell where
 * they come from and where they go. All ranks decide together whether a test passed: a failed assertion on one would
 * leave the others waiting. Values are whole numbers that a float holds exactly, so == is right.
 */
#ifndef FSM_TESTS_COMM_CASE_H
#define FSM_TESTS_COMM_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "comm/op.h"
#include "comm/world.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_RANKS = 64, VARIANTS = 5 };

static fsmoe_world *the_world;
static fsm_comm *world;

/* Rank 0 alone reports. False: there is no world, or it is too large. */
static inline bool enter_world(void)
{
    if (fsmoe_world_create(&the_world) != FSMOE_OK) return false;
    world = the_world->comm;
    return world->size <= MAX_RANKS && (world->rank == 0 || freopen("/dev/null", "w", stdout));
}

static inline bool all_true(bool mine)
{
    double failures = !mine;
    if (fsm_comm_all_reduce_double(world, &failures, 1) != FSMOE_OK) world->control->abort(world, 1);
    return failures == 0;
}

static inline bool complain(const fsm_comm *comm, const char *what, int variant)
{
    fprintf(stderr, "rank %d of %d (%s): %s, variant %d: %s\n", comm->rank, comm->size, comm->control->name, what,
            variant, fsmoe_last_error());
    return false;
}

/* Runs a check on the world, its halves, its odd and even ranks, an uneven split, and on groups of one. */
static inline void check_on_groups(bool (*check)(fsm_comm *comm))
{
    const int colors[] = {world->rank * 2 / world->size, world->rank % 2, world->rank > 0, world->rank};
    bool passed = check(world);
    for (size_t i = 0; i < sizeof colors / sizeof *colors; i++) {
        fsm_comm *group;
        if (!all_true(world->control->split(world, colors[i], &group) == FSMOE_OK))
            fail_msg("split %zu: %s", i, fsmoe_last_error());
        passed &= check(group);
        fsm_comm_destroy(group);
    }
    fsm_comm *self;
    assert_int_equal(fsm_comm_create_self(&self), FSMOE_OK);
    passed &= check(self);
    fsm_comm_destroy(self);
    assert_true(all_true(passed));
}

#define GROUP_TEST(name, check)                \
    static void test_comm_##name(void **state) \
    {                                          \
        (void)state;                           \
        check_on_groups(check);                \
    }

/* ---- values ---- */

/* Elements from rank s to rank d: none at all, unequal with some zero, only from rank 0, only to the last, many. */
static inline int64_t count_of(const fsm_comm *comm, int variant, int s, int d)
{
    switch (variant) {
    case 0:
        return 0;
    case 1:
        return (3 * s + 5 * d + s * d) % 7;
    case 2:
        return s == 0 ? d + 2 : 0;
    case 3:
        return d == comm->size - 1 ? 4 : 0;
    default:
        return 3000 + 100 * s + 10 * d;
    }
}

static inline float value_of(int s, int d, int64_t i)
{
    return (float)(10000 * s + 1000 * d + i % 997);
}

/* The counts of one direction, and room for all of their elements, filled with what nobody sends. */
static inline float *make_blocks(int64_t *counts, int n, int64_t *total)
{
    *total = 0;
    for (int i = 0; i < n; i++) *total += counts[i];
    float *blocks = malloc(sizeof(float) * (size_t)(*total + 1));
    if (!blocks) abort();
    for (int64_t i = 0; i <= *total; i++) blocks[i] = -1;
    return blocks;
}

static inline void fill_block(float *block, int s, int d, int64_t count)
{
    for (int64_t i = 0; i < count; i++) block[i] = value_of(s, d, i);
}

static inline bool finished(fsmoe_status started, fsm_comm_op *op)
{
    return started == FSMOE_OK && fsm_comm_finish(op) == FSMOE_OK;
}

#endif
