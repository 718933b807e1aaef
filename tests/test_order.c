/* Orders of tokens by expert, over thousands of random choices. Oracle: the definition written out the slow way - a
 * pair (token, choice) has the place of the pairs before it in its group with the same expert, first choices before
 * second. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DRAW_SEED 17
#include "draws.h"
#include "moe/order/order.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TOKENS = 64, MAX_EXPERTS = 8, ROUNDS = 3000 };

typedef struct drawn {
    fsm_order_problem problem;
    float weight[MAX_TOKENS * MAX_EXPERTS];
    int32_t choice[MAX_TOKENS * MAX_EXPERTS];
} drawn;

/* k different experts a token; `skew` of 4 tokens want expert 0 first, so that capacities overflow. */
static void draw_choices(drawn *d)
{
    int64_t num_experts = d->problem.num_experts, k = d->problem.top_k, skew = draw(5);
    for (int64_t i = 0; i < d->problem.n; i++) {
        int32_t experts[MAX_EXPERTS];
        for (int32_t e = 0; e < num_experts; e++) experts[e] = e;
        for (int64_t j = 0; j < k; j++) {
            int64_t other = j + draw(num_experts - j);
            if (j == 0 && draw(4) < skew) other = 0;
            int32_t chosen = experts[other];
            experts[other] = experts[j];
            d->choice[i * k + j] = experts[j] = chosen;
        }
    }
}

static void draw_problem(drawn *d)
{
    const double factors[] = {0, 0.25, 0.5, 1, 1.2, 1.25, 2, 100};
    fsm_order_problem *p = &d->problem;
    p->n = draw(5) == 0 ? 0 : draw(MAX_TOKENS + 1);
    p->num_experts = 1 + draw(MAX_EXPERTS);
    p->top_k = draw(4) == 0 ? p->num_experts : 1 + draw(p->num_experts);
    p->choices = p->top_k;
    p->group = draw(3) == 0 ? p->n : 1 + draw(MAX_TOKENS);
    p->capacity_factor = factors[draw(8)];
    draw_choices(d);
}

/* ceil(k f G / E) clamped to [1, G], in whole numbers: the factors above are multiples of 1/20. */
static int64_t capacity_of(const fsm_order_problem *p)
{
    if (p->capacity_factor == 0) return p->group;
    int64_t top = p->top_k * llround(20 * p->capacity_factor) * p->group, bottom = 20 * p->num_experts;
    int64_t capacity = (top + bottom - 1) / bottom;
    if (capacity < 1) capacity = 1;
    return capacity > p->group ? p->group : capacity;
}

/* What the pairs that share an expert with pair (i, j) say of it. */
typedef struct standing {
    int64_t before;       /* in its group, in order of choices, then tokens: whether it finds a place */
    int64_t kept_before;  /* in its group, with a row, in order of tokens: its place */
    int64_t kept_earlier; /* in earlier groups, with a row */
} standing;

static standing standing_of(const drawn *d, int64_t i, int64_t j, const int32_t *rows)
{
    const fsm_order_problem *p = &d->problem;
    standing s = {0};
    int64_t k = p->top_k;
    for (int64_t other = 0; other < p->n; other++)
        for (int64_t c = 0; c < k; c++) {
            bool kept = rows[other * k + c] >= 0;
            if (d->choice[other * k + c] != d->choice[i * k + j]) continue;
            if (other / p->group == i / p->group) {
                s.before += c < j || (c == j && other < i);
                s.kept_before += kept && other < i;
            } else {
                s.kept_earlier += kept && other < i;
            }
        }
    return s;
}

static void assign(const fsm_order_kind *kind, const drawn *d, fsm_memory *memory, fsm_route *route)
{
    fsm_order_problem p = d->problem;
    fsm_memory measure = fsm_memory_measure(FSM_REAL_BYTES);
    fsm_route_take(&measure, p.n, p.num_experts, p.choices, p.by_weight, route);
    assert_int_equal(fsm_memory_create(&measure, memory), FSMOE_OK);
    fsm_route_take(memory, p.n, p.num_experts, p.choices, p.by_weight, route);
    kind->assign(&fsm_ops_reference, &p, d->choice, d->weight, route);
    fsm_route_read(&fsm_ops_reference, p.num_experts, route);
}

/* Every pair is where the definition puts it; `stride`: rows that a group starts after the one before, 0: no gaps. */
static void assert_rows(const drawn *d, const fsm_route *route, int64_t stride)
{
    const fsm_order_problem *p = &d->problem;
    int64_t kept[MAX_EXPERTS] = {0}, dropped = 0, capacity = capacity_of(p);
    for (int64_t i = 0; i < p->n; i++)
        for (int64_t j = 0; j < p->top_k; j++) {
            int64_t at = i * p->top_k + j;
            standing s = standing_of(d, i, j, route->row);
            if (s.before >= capacity) {
                assert_int_equal(route->row[at], -1);
                dropped++;
            } else {
                kept[d->choice[at]]++;
                assert_int_equal(route->row[at], s.kept_before + (stride > 0 ? i / p->group * stride : s.kept_earlier));
            }
        }
    assert_int_equal(route->dropped, dropped);
    for (int64_t e = 0; e < p->num_experts; e++) assert_int_equal(route->kept[e], kept[e]);
}

/* No two pairs of an expert share a row, and every row is one that is sent. */
static void assert_rows_are_distinct(const drawn *d, const fsm_route *route)
{
    const fsm_order_problem *p = &d->problem;
    for (int64_t a = 0; a < p->n * p->top_k; a++) {
        if (route->row[a] < 0) continue;
        assert_true(route->row[a] < route->rows[d->choice[a]]);
        for (int64_t b = 0; b < a; b++) assert_false(d->choice[a] == d->choice[b] && route->row[a] == route->row[b]);
    }
}

/* Buffers are sized by these bounds, so one row more would be written out of them. */
static void assert_bounds(const fsm_order_kind *kind, const drawn *d, const fsm_route *route)
{
    const fsm_order_problem *p = &d->problem;
    for (int64_t e = 0; e < p->num_experts; e++) assert_true(route->rows[e] <= kind->max_rows(p));
    for (int64_t first = 0; first < p->num_experts; first++) {
        int64_t together = 0;
        for (int64_t e = first; e < p->num_experts; e++) {
            together += route->rows[e];
            assert_true(together <= kind->max_rows_together(p, e - first + 1));
        }
    }
}

static int64_t largest_kept(const fsm_order_problem *p, const fsm_route *route)
{
    int64_t most = 0;
    for (int64_t e = 0; e < p->num_experts; e++) most = route->kept[e] > most ? route->kept[e] : most;
    return most;
}

static void test_order_tutel_follows_the_definition(void **state)
{
    (void)state;
    static drawn d;
    for (int round = 0; round < ROUNDS; round++) {
        fsm_memory memory;
        fsm_route route;
        draw_problem(&d);
        const fsm_order_problem *p = &d.problem;
        bool dropless = p->capacity_factor == 0;
        assign(&fsm_order_tutel, &d, &memory, &route);
        assert_rows(&d, &route, dropless ? 0 : capacity_of(p));
        int64_t groups = p->group > 0 ? (p->n + p->group - 1) / p->group : 0;
        int64_t padded = dropless ? largest_kept(p, &route) : groups * capacity_of(p);
        for (int64_t e = 0; e < p->num_experts; e++) assert_int_equal(route.rows[e], padded);
        assert_rows_are_distinct(&d, &route);
        assert_bounds(&fsm_order_tutel, &d, &route);
        fsm_memory_destroy(&memory);
    }
}

static void test_order_sorted_follows_the_definition(void **state)
{
    (void)state;
    static drawn d;
    for (int round = 0; round < ROUNDS; round++) {
        fsm_memory memory;
        fsm_route route;
        draw_problem(&d);
        assign(&fsm_order_sorted, &d, &memory, &route);
        assert_rows(&d, &route, 0);
        for (int64_t e = 0; e < d.problem.num_experts; e++) assert_int_equal(route.rows[e], route.kept[e]);
        assert_rows_are_distinct(&d, &route);
        assert_bounds(&fsm_order_sorted, &d, &route);
        fsm_memory_destroy(&memory);
    }
}

static void test_order_capacity_is_the_clamped_ceiling(void **state)
{
    (void)state;
    static drawn d;
    for (int round = 0; round < ROUNDS; round++) {
        draw_problem(&d);
        if (d.problem.group > 0) assert_int_equal(fsm_order_capacity(&d.problem), capacity_of(&d.problem));
    }
    /* decimal factors whose product is a hair above a whole number */
    const fsm_order_problem exact = {.n = 40, .group = 40, .num_experts = 8, .top_k = 1, .capacity_factor = 1.2};
    assert_int_equal(fsm_order_capacity(&exact), 6);
    const fsm_order_problem most = {
        .n = 4, .group = 4, .num_experts = 2, .top_k = 2, .choices = 2, .capacity_factor = 9};
    assert_int_equal(fsm_order_capacity(&most), 4);
    const fsm_order_problem least = {.n = 4, .group = 4, .num_experts = 8, .top_k = 1, .capacity_factor = 0.01};
    assert_int_equal(fsm_order_capacity(&least), 1);
}

/* A group's rows and drops do not change when other groups choose otherwise. */
static void test_order_groups_are_independent(void **state)
{
    (void)state;
    enum { GROUP = 8, K = 2, EXPERTS = 4, HALF = GROUP * K };
    static drawn a, b;
    for (int round = 0; round < 200; round++) {
        fsm_memory memory_a, memory_b;
        fsm_route route_a, route_b;
        a.problem = (fsm_order_problem){
            .n = 2 * GROUP, .group = GROUP, .num_experts = EXPERTS, .top_k = K, .choices = K, .capacity_factor = 1};
        draw_choices(&a);
        b = a;
        draw_choices(&b);
        memcpy(b.choice + HALF, a.choice + HALF, HALF * sizeof *a.choice);
        assign(&fsm_order_tutel, &a, &memory_a, &route_a);
        assign(&fsm_order_tutel, &b, &memory_b, &route_b);
        assert_memory_equal(route_a.row + HALF, route_b.row + HALF, HALF * sizeof *route_a.row);
        fsm_memory_destroy(&memory_a);
        fsm_memory_destroy(&memory_b);
    }
}

/* A worked case: 3 tokens, 2 experts, k = 2, room for 2 an expert: the last token's second choice is the third to come.
 */
static void test_order_first_choices_come_before_second(void **state)
{
    (void)state;
    static drawn d;
    const int32_t choice[] = {0, 1, 1, 0, 1, 0};
    const int32_t want[] = {0, -1, 0, 1, 1, -1};
    fsm_memory memory;
    fsm_route route;
    d.problem =
        (fsm_order_problem){.n = 3, .group = 3, .num_experts = 2, .top_k = 2, .choices = 2, .capacity_factor = 2.0 / 3};
    memcpy(d.choice, choice, sizeof choice);
    assign(&fsm_order_sorted, &d, &memory, &route);
    assert_memory_equal(route.row, want, sizeof want);
    assert_int_equal(route.dropped, 2);
    fsm_memory_destroy(&memory);
}

/* The same case by weights: expert 0 keeps its two heaviest, which are a first and a second choice; expert 1 has three
 * of one weight and keeps those that come first by position. */
static void test_order_the_heaviest_keep_their_places(void **state)
{
    (void)state;
    static drawn d;
    const int32_t choice[] = {0, 1, 1, 0, 1, 0};
    const float weight[] = {0.6f, 0.5f, 0.5f, 0.9f, 0.5f, 0.8f};
    const int32_t want[] = {-1, -1, 0, 0, 1, 1};
    fsm_memory memory;
    fsm_route route;
    d.problem = (fsm_order_problem){
        .n = 3, .group = 3, .num_experts = 2, .top_k = 2, .choices = 2, .capacity_factor = 2.0 / 3, .by_weight = true};
    memcpy(d.choice, choice, sizeof choice);
    memcpy(d.weight, weight, sizeof weight);
    assign(&fsm_order_sorted, &d, &memory, &route);
    assert_memory_equal(route.row, want, sizeof want);
    assert_int_equal(route.dropped, 2);
    fsm_memory_destroy(&memory);
}

/* Nobody who lost a place is heavier than one who kept his; as many are kept as by position. */
static void test_order_by_weight_keeps_as_many(void **state)
{
    (void)state;
    static drawn d;
    for (int round = 0; round < 300; round++) {
        fsm_memory memory, other;
        fsm_route heavy, first;
        draw_problem(&d);
        for (int i = 0; i < MAX_TOKENS * MAX_EXPERTS; i++) d.weight[i] = (float)draw(5);
        assign(&fsm_order_tutel, &d, &other, &first);
        d.problem.by_weight = true;
        assign(&fsm_order_tutel, &d, &memory, &heavy);
        assert_memory_equal(heavy.kept, first.kept, sizeof *heavy.kept * (size_t)d.problem.num_experts);
        int64_t k = d.problem.top_k, group = d.problem.group;
        for (int64_t a = 0; a < d.problem.n * k; a++)
            for (int64_t b = 0; b < d.problem.n * k; b++)
                if (heavy.row[a] < 0 && heavy.row[b] >= 0 && d.choice[a] == d.choice[b] &&
                    a / k / group == b / k / group)
                    assert_true(d.weight[a] <= d.weight[b]);
        fsm_memory_destroy(&memory);
        fsm_memory_destroy(&other);
    }
}

/* A token may have fewer choices than there is room for: what is not chosen has no row and is not dropped. */
static void test_order_no_choice_takes_no_row(void **state)
{
    (void)state;
    static drawn d;
    const int32_t choice[] = {2, -1, -1, -1, -1, -1, 0, 2, -1};
    const int32_t want[] = {0, -1, -1, -1, -1, -1, 0, 1, -1};
    fsm_memory memory;
    fsm_route route;
    d.problem =
        (fsm_order_problem){.n = 3, .group = 3, .num_experts = 3, .top_k = 1, .choices = 3, .capacity_factor = 2};
    memcpy(d.choice, choice, sizeof choice);
    assign(&fsm_order_sorted, &d, &memory, &route);
    assert_memory_equal(route.row, want, sizeof want);
    assert_int_equal(route.dropped, 0);
    assert_int_equal(route.kept[0] + route.kept[1] + route.kept[2], 3);
    fsm_memory_destroy(&memory);
}

static void test_order_without_tokens_sends_nothing(void **state)
{
    (void)state;
    static drawn d;
    const fsm_order_kind *const kinds[] = {&fsm_order_tutel, &fsm_order_sorted};
    for (int i = 0; i < 2; i++)
        for (int factor = 0; factor < 2; factor++) {
            fsm_memory memory;
            fsm_route route;
            d.problem = (fsm_order_problem){
                .n = 0, .group = 0, .num_experts = 3, .top_k = 2, .choices = 2, .capacity_factor = factor};
            assign(kinds[i], &d, &memory, &route);
            assert_int_equal(route.dropped, 0);
            for (int e = 0; e < 3; e++) assert_int_equal(route.rows[e] + route.kept[e], 0);
            assert_int_equal(kinds[i]->max_rows(&d.problem), 0);
            fsm_memory_destroy(&memory);
        }
}

static void test_order_dropless_drops_nothing(void **state)
{
    (void)state;
    static drawn d;
    for (int round = 0; round < 300; round++) {
        fsm_memory memory;
        fsm_route route;
        draw_problem(&d);
        d.problem.capacity_factor = 0;
        assign(round % 2 ? &fsm_order_tutel : &fsm_order_sorted, &d, &memory, &route);
        assert_int_equal(route.dropped, 0);
        fsm_memory_destroy(&memory);
    }
}

static void test_order_kinds_are_found_by_name(void **state)
{
    (void)state;
    assert_ptr_equal(fsm_order_find("tutel"), &fsm_order_tutel);
    assert_ptr_equal(fsm_order_find("sorted"), &fsm_order_sorted);
    assert_ptr_equal(fsm_order_find("gshard"), &fsm_order_gshard);
    assert_null(fsm_order_find("tutel "));
    assert_null(fsm_order_find(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_tutel_follows_the_definition),
        cmocka_unit_test(test_order_sorted_follows_the_definition),
        cmocka_unit_test(test_order_capacity_is_the_clamped_ceiling),
        cmocka_unit_test(test_order_groups_are_independent),
        cmocka_unit_test(test_order_first_choices_come_before_second),
        cmocka_unit_test(test_order_the_heaviest_keep_their_places),
        cmocka_unit_test(test_order_by_weight_keeps_as_many),
        cmocka_unit_test(test_order_no_choice_takes_no_row),
        cmocka_unit_test(test_order_without_tokens_sends_nothing),
        cmocka_unit_test(test_order_dropless_drops_nothing),
        cmocka_unit_test(test_order_kinds_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
