/* Every layout of up to 16 ranks: all nodes x ranks, all sizes of EP, ESP and MP that divide.
 * Oracles: the formulas that topo.h states, and what a partition of the ranks is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "topo/topo.h"

#include <stdio.h>
#include <string.h>

enum { MAX_RANKS = 16 };

static int layouts_seen;

/* Calls `check` with the places of all ranks of each layout; all[0 … ranks - 1]. */
static void for_each_layout(void (*check)(const fsm_topo *all))
{
    fsm_topo all[MAX_RANKS];
    layouts_seen = 0;
    for (int ranks = 1; ranks <= MAX_RANKS; ranks++)
        for (int nodes = 1; nodes <= ranks; nodes++)
            for (int ep = 1; ep <= ranks; ep++)
                for (int esp = 1; ep * esp <= ranks; esp++)
                    for (int mp = 1; mp <= ranks; mp++) {
                        if (ranks % nodes || ranks % (ep * esp) || ranks % mp) continue;
                        fsmoe_parallel_config parallel = {.ep_size = ep, .esp_size = esp, .mp_size = mp};
                        for (int rank = 0; rank < ranks; rank++)
                            assert_int_equal(fsm_topo_create(nodes, ranks / nodes, &parallel, rank, &all[rank]),
                                             FSMOE_OK);
                        check(all);
                        layouts_seen++;
                    }
    assert_true(layouts_seen > 300);
}

/* In every kind of group: members are exactly those of one colour, as many as the size, with indices 0 … size - 1. */
static void check_partition(const fsm_topo *all)
{
    for (int g = 0; g < FSM_GROUP_COUNT; g++) {
        for (int rank = 0; rank < all->ranks; rank++) {
            int color = fsm_topo_group_color(&all[rank], (fsm_group)g), members = 0;
            for (int other = 0; other < all->ranks; other++) {
                if (fsm_topo_group_color(&all[other], (fsm_group)g) != color) continue;
                /* a communicator's split numbers members by rank, so the index must too */
                assert_int_equal(fsm_topo_group_index(&all[other], (fsm_group)g), members++);
            }
            assert_int_equal(members, fsm_topo_group_size(&all[rank], (fsm_group)g));
        }
    }
}

static void test_topo_groups_partition_the_ranks(void **state)
{
    (void)state;
    for_each_layout(check_partition);
}

static void check_sizes(const fsm_topo *all)
{
    const fsm_topo *t = all;
    assert_int_equal(t->nodes * t->ranks_per_node, t->ranks);
    assert_int_equal(t->dp * t->mp, t->ranks);
    assert_int_equal(t->edp * t->ep * t->esp, t->ranks);
    assert_int_equal(fsm_topo_group_size(t, FSM_GROUP_EXPERT), t->ep * t->esp);
    assert_int_equal(fsm_topo_group_size(t, FSM_GROUP_WORLD), t->ranks);
}

static void test_topo_sizes_multiply_to_the_ranks(void **state)
{
    (void)state;
    for_each_layout(check_sizes);
}

static void check_formulas(const fsm_topo *all)
{
    for (int rank = 0; rank < all->ranks; rank++) {
        const fsm_topo *t = &all[rank];
        assert_int_equal(t->dp_index * t->mp + t->mp_index, rank);
        assert_int_equal((t->edp_index * t->ep + t->ep_index) * t->esp + t->esp_index, rank);
        assert_int_equal(t->node, rank / t->ranks_per_node);
        fsm_topo seen = fsm_topo_at(&all[0], rank);
        assert_memory_equal(&seen, t, sizeof seen);
    }
}

static void test_topo_rank_follows_the_stated_formulas(void **state)
{
    (void)state;
    for_each_layout(check_formulas);
}

/* Two ranks share a group of a kind when the formulas' other indices agree. */
static bool share_group(const fsm_topo *a, const fsm_topo *b, fsm_group group)
{
    bool same_edp = a->edp_index == b->edp_index, same_ep = a->ep_index == b->ep_index,
         same_esp = a->esp_index == b->esp_index;
    switch (group) {
    case FSM_GROUP_WORLD:
        return true;
    case FSM_GROUP_DP:
        return a->mp_index == b->mp_index;
    case FSM_GROUP_MP:
        return a->dp_index == b->dp_index;
    case FSM_GROUP_EP:
        return same_edp && same_esp;
    case FSM_GROUP_ESP:
        return same_edp && same_ep;
    case FSM_GROUP_EDP:
        return same_ep && same_esp;
    case FSM_GROUP_EXPERT:
        return same_edp;
    default:
        return false;
    }
}

static void check_links(const fsm_topo *all)
{
    for (int g = 0; g < FSM_GROUP_COUNT; g++)
        for (int rank = 0; rank < all->ranks; rank++) {
            fsm_resource want = FSM_INTRA;
            for (int other = 0; other < all->ranks; other++) {
                bool same_color =
                    fsm_topo_group_color(&all[rank], (fsm_group)g) == fsm_topo_group_color(&all[other], (fsm_group)g);
                assert_int_equal(same_color, share_group(&all[rank], &all[other], (fsm_group)g));
                if (same_color && all[other].node != all[rank].node) want = FSM_INTER;
            }
            assert_int_equal(fsm_topo_link(&all[rank], (fsm_group)g), want);
        }
}

static void test_topo_link_is_intra_exactly_within_a_node(void **state)
{
    (void)state;
    for_each_layout(check_links);
}

static void assert_refused(int nodes, int ranks_per_node, int ep, int esp, int mp, int rank, const char *const *numbers)
{
    fsmoe_parallel_config parallel = {.ep_size = ep, .esp_size = esp, .mp_size = mp};
    fsm_topo topo;
    assert_int_equal(fsm_topo_create(nodes, ranks_per_node, &parallel, rank, &topo), FSMOE_ERROR_LAYOUT);
    for (; *numbers; numbers++)
        if (!strstr(fsmoe_last_error(), *numbers)) fail_msg("'%s' does not name %s", fsmoe_last_error(), *numbers);
}

static void test_topo_impossible_layouts_name_the_numbers(void **state)
{
    (void)state;
    assert_refused(2, 4, 3, 1, 1, 0, (const char *[]){"ep_size", "3", "8 ranks", NULL});
    assert_refused(2, 4, 1, 5, 1, 0, (const char *[]){"esp_size", "5", "8 ranks", NULL});
    assert_refused(2, 4, 1, 1, 16, 0, (const char *[]){"mp_size", "16", "8 ranks", NULL});
    assert_refused(2, 4, 4, 4, 1, 0, (const char *[]){"ep_size", "esp_size", "16", "8 ranks", NULL});
    assert_refused(2, 4, 0, 1, 1, 0, (const char *[]){"ep_size", "0", NULL});
    assert_refused(2, 4, 1, 1, 1, 8, (const char *[]){"rank 8", "2 nodes", "4 ranks", NULL});
    assert_refused(2, 4, 1, 1, 1, -1, (const char *[]){"-1", NULL});
    assert_refused(0, 4, 1, 1, 1, 0, (const char *[]){"0 nodes", NULL});
}

/* Parts follow one another from 0 to n, cut only at whole units, and differ by at most one unit. */
static void test_topo_split_covers_once_in_whole_units(void **state)
{
    (void)state;
    for (int64_t n = 0; n <= 40; n++)
        for (int64_t unit = 1; unit <= 7; unit++)
            for (int parts = 1; parts <= 9; parts++) {
                int64_t at = 0, least = INT64_MAX, most = 0, first, last;
                for (int i = 0; i < parts; i++) {
                    fsm_topo_split(n, unit, parts, i, &first, &last);
                    assert_int_equal(first, at);
                    assert_true(last >= first && last <= n);
                    assert_true(last % unit == 0 || last == n);
                    int64_t units = (last - first + unit - 1) / unit;
                    if (units < least) least = units;
                    if (units > most) most = units;
                    at = last;
                }
                assert_int_equal(at, n);
                assert_true(most - least <= 1);
            }
}

static void test_topo_resources_have_distinct_names(void **state)
{
    (void)state;
    for (int i = 0; i < FSM_RESOURCE_COUNT; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(fsm_resource_name((fsm_resource)i), fsm_resource_name((fsm_resource)j));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topo_groups_partition_the_ranks),
        cmocka_unit_test(test_topo_sizes_multiply_to_the_ranks),
        cmocka_unit_test(test_topo_rank_follows_the_stated_formulas),
        cmocka_unit_test(test_topo_link_is_intra_exactly_within_a_node),
        cmocka_unit_test(test_topo_impossible_layouts_name_the_numbers),
        cmocka_unit_test(test_topo_split_covers_once_in_whole_units),
        cmocka_unit_test(test_topo_resources_have_distinct_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
