/* Operations on places: the fast table against the reference on two threads, where both have work, and what they say by
 * hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DRAW_SEED 31
#include "cpu/cpu.h"
#include "draws.h"
#include "ops/ops.h"

#include <stdlib.h>
#include <string.h>

enum { N = 6000, K = 2, E = 8, CHUNKS = 3 };

static fsm_ops *fast;

static int32_t *indices(int64_t n)
{
    int32_t *values = calloc((size_t)n, sizeof *values);
    assert_non_null(values);
    return values;
}

/* K different experts a token, and now and then none. */
static int32_t *draw_choices(void)
{
    int32_t *choice = indices(N * K);
    for (int64_t i = 0; i < N; i++) {
        choice[i * K] = (int32_t)draw(E);
        choice[i * K + 1] = draw(9) == 0 ? -1 : (int32_t)((choice[i * K] + 1 + draw(E - 1)) % E);
    }
    return choice;
}

typedef struct placed {
    int32_t *row, kept[E], filling[E], dropped;
} placed;

static placed place(const fsm_ops *ops, const fsm_places *p, const int32_t *choice)
{
    placed got = {.row = indices(p->n * p->choices)};
    ops->place.keep(ops, p, choice, got.row, got.filling, &got.dropped);
    ops->place.number(ops, p, choice, got.row, got.filling, got.kept);
    return got;
}

static void test_ops_place_first_choices_keep_their_places(void **state)
{
    const fsm_places p = {.n = 3, .choices = 2, .num_experts = 3, .group = 3, .capacity = 2, .stride = 0};
    const int32_t choice[6] = {0, 1, 0, 1, 1, 0};
    (void)state;
    /* the first choices fill expert 0 and half of 1; of the second ones token 0's gets the other half */
    const int32_t rows[6] = {0, 0, 1, -1, 1, -1};
    for (int run = 0; run < 2; run++) {
        placed got = place(run ? fast : &fsm_ops_reference, &p, choice);
        assert_memory_equal(got.row, rows, sizeof rows);
        assert_int_equal(got.kept[0], 2);
        assert_int_equal(got.kept[1], 2);
        assert_int_equal(got.kept[2], 0);
        assert_int_equal(got.dropped, 2);
        free(got.row);
    }
}

static void test_ops_place_fast_places_equal_the_references(void **state)
{
    const int64_t capacities[] = {500, N}, groups[] = {N, 700}, strides[] = {0, 500};
    int32_t *choice = draw_choices();
    (void)state;
    for (int i = 0; i < 8; i++) {
        const fsm_places p = {N, K, E, groups[i % 2], capacities[i / 2 % 2], strides[i / 4]};
        placed want = place(&fsm_ops_reference, &p, choice), got = place(fast, &p, choice);
        assert_memory_equal(got.row, want.row, sizeof(int32_t) * N * K);
        assert_memory_equal(got.kept, want.kept, sizeof want.kept);
        assert_int_equal(got.dropped, want.dropped);
        free(want.row), free(got.row);
    }
    free(choice);
}

/* Every row of one source by its chunk, on both tables. */
static void test_ops_place_fast_source_map_equals_the_references(void **state)
{
    int32_t *choice = draw_choices(), first[(CHUNKS + 1) * E], base[CHUNKS * E];
    const fsm_places p = {N, K, E, N, N, 0};
    placed rows = place(&fsm_ops_reference, &p, choice);
    int64_t at = 0;
    (void)state;
    for (int c = 0; c <= CHUNKS; c++)
        for (int e = 0; e < E; e++) first[c * E + e] = rows.kept[e] * c / CHUNKS;
    for (int c = 0; c < CHUNKS; c++)
        for (int e = 0; e < E; e++) {
            base[c * E + e] = (int32_t)at - first[c * E + e];
            at += first[(c + 1) * E + e] - first[c * E + e];
        }
    const fsm_source_map map = {E, CHUNKS, first, base};
    int32_t *send_row[2], *token[2];
    for (int run = 0; run < 2; run++) {
        const fsm_ops *ops = run ? fast : &fsm_ops_reference;
        send_row[run] = indices(N * K), token[run] = indices(at);
        ops->place.map_source(ops, &map, N, K, choice, rows.row, at, send_row[run], token[run]);
    }
    assert_memory_equal(send_row[0], send_row[1], sizeof(int32_t) * N * K);
    assert_memory_equal(token[0], token[1], sizeof(int32_t) * (size_t)at);
    for (int64_t i = 0; i < N * K; i++)
        if (choice[i] >= 0) assert_int_equal(token[0][send_row[0][i]], i / K);
    for (int run = 0; run < 2; run++) free(send_row[run]), free(token[run]);
    free(rows.row), free(choice);
}

/* Rows of four sources for two experts, enough for two threads; every row once, and each other's inverse. */
static void test_ops_place_fast_expert_map_equals_the_references(void **state)
{
    enum { SOURCES = 4, LOCAL = 2, PAIRS = SOURCES * LOCAL };
    int32_t rows[PAIRS], first[(CHUNKS + 1) * PAIRS], base[CHUNKS * PAIRS], begin[LOCAL] = {0};
    int64_t at = 0, most = 0;
    (void)state;
    for (int pair = 0; pair < PAIRS; pair++) {
        rows[pair] = pair == 3 ? 0 : 3000 + (int32_t)draw(2000);
        most = rows[pair] > most ? rows[pair] : most;
        for (int c = 0; c <= CHUNKS; c++) first[c * PAIRS + pair] = rows[pair] * c / CHUNKS;
        if (pair % LOCAL == 0) begin[1] += rows[pair];
    }
    for (int c = 0; c < CHUNKS; c++)
        for (int pair = 0; pair < PAIRS; pair++) {
            base[c * PAIRS + pair] = (int32_t)at - first[c * PAIRS + pair];
            at += first[(c + 1) * PAIRS + pair] - first[c * PAIRS + pair];
        }
    for (int by_source = 0; by_source < 2; by_source++) {
        const fsm_expert_map map = {SOURCES, LOCAL, by_source ? 1 : CHUNKS, by_source, most, rows, first, base, begin};
        int32_t *wire_of_row[2], *row_of_wire[2], from = 0;
        for (int pair = 0; by_source && pair < PAIRS; pair++) { /* one chunk of everything */
            first[PAIRS + pair] = rows[pair];
            base[pair] = from;
            from += rows[pair];
        }
        for (int run = 0; run < 2; run++) {
            const fsm_ops *ops = run ? fast : &fsm_ops_reference;
            wire_of_row[run] = indices(at), row_of_wire[run] = indices(at);
            memset(row_of_wire[run], 0xff, sizeof(int32_t) * (size_t)at);
            ops->place.map_experts(ops, &map, wire_of_row[run], row_of_wire[run]);
        }
        assert_memory_equal(wire_of_row[0], wire_of_row[1], sizeof(int32_t) * (size_t)at);
        assert_memory_equal(row_of_wire[0], row_of_wire[1], sizeof(int32_t) * (size_t)at);
        for (int64_t i = 0; i < at; i++) assert_int_equal(row_of_wire[0][wire_of_row[0][i]], i);
        for (int run = 0; run < 2; run++) free(wire_of_row[run]), free(row_of_wire[run]);
    }
}

static void test_ops_place_one_hot_matrices_hold_what_is_set(void **state)
{
    enum { TOKENS = 600, COLUMNS = E * 4 };
    int32_t *choice = draw_choices(), *row = indices(TOKENS * K);
    float *matrix = calloc(TOKENS * COLUMNS, sizeof *matrix), *weight = calloc(TOKENS * K, sizeof *weight),
          got[TOKENS * K];
    (void)state;
    for (int i = 0; i < TOKENS * K; i++) row[i] = choice[i] < 0 ? -1 : (int32_t)draw(4), weight[i] = (float)(1 + i);
    const fsm_one_hot h = {TOKENS, K, 4, COLUMNS, choice, row};
    for (int run = 0; run < 2; run++) {
        const fsm_ops *ops = run ? fast : &fsm_ops_reference;
        double sum = 0, want = 0;
        ops->place.set_one_hot(ops, &h, weight, 0, matrix);
        ops->place.get_one_hot(ops, &h, matrix, got);
        for (int i = 0; i < TOKENS * K; i++) {
            if (!(row[i] < 0 ? got[i] == 0 : got[i] == weight[i])) fail_msg("pair %d: %g", i, (double)got[i]);
            want += row[i] < 0 ? 0 : weight[i];
        }
        for (int i = 0; i < TOKENS * COLUMNS; i++) sum += matrix[i];
        assert_true(sum == want);
        ops->place.set_one_hot(ops, &h, NULL, 0, matrix);
        for (int i = 0; i < TOKENS * COLUMNS; i++) assert_true(matrix[i] == 0);
    }
    free(matrix), free(weight), free(row), free(choice);
}

static void test_ops_place_slots_have_one_expert_and_row(void **state)
{
    enum { COUNT = 3 * 2 * 4 };
    int32_t choice[COUNT], row[COUNT];
    (void)state;
    fast->place.number_slots(fast, COUNT, 4, 2, choice, row); /* three groups of 4 experts with 2 slots */
    for (int p = 0; p < COUNT; p++) {
        assert_int_equal(choice[p], p % 8 / 2);
        assert_int_equal(row[p], p / 8 * 2 + p % 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ops_place_first_choices_keep_their_places),
        cmocka_unit_test(test_ops_place_fast_places_equal_the_references),
        cmocka_unit_test(test_ops_place_fast_source_map_equals_the_references),
        cmocka_unit_test(test_ops_place_fast_expert_map_equals_the_references),
        cmocka_unit_test(test_ops_place_one_hot_matrices_hold_what_is_set),
        cmocka_unit_test(test_ops_place_slots_have_one_expert_and_row),
    };
    if (fsm_cpu_ops_create(2, FSM_CPU_FP32, &fast) != FSMOE_OK) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fsm_ops_destroy(fast);
    return failed;
}
