/* The row maps of the dispatch: all ranks of an expert group in one process, rows carried as identities.
 * A row is (source, expert, row); the test copies identities the way the collectives copy rows and looks at what
 * arrives. Oracles: the orders that wire.h states, written out; the canonical order by qsort. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DRAW_SEED 23
#include "cpu/cpu.h"
#include "draws.h"
#include "moe/layer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RANKS = 16, MAX_TOKENS = 24, MAX_EXPERTS = 12, MAX_DEGREE = 5 };

typedef struct identity {
    int64_t source, expert, row;
    int64_t rows; /* of the source for the expert, for sorting */
} identity;

/* One rank: its choices, its route, its wire, and the rows in each of the three buffers. */
typedef struct rank_state {
    int64_t n;
    int32_t choice[MAX_TOKENS * MAX_EXPERTS];
    fsm_route route;
    fsm_wire wire;
    fsm_wire_tables tables;
    fsm_memory memory;
    identity *sent, *received, *gathered;
} rank_state;

typedef struct group_state {
    int ep, esp;
    fsmoe_moe_config config;
    int64_t max_tokens, nominal_rows;
    bool by_source;
    const fsm_ops *ops;
    rank_state ranks[MAX_RANKS];
    int64_t counts[MAX_RANKS * MAX_EXPERTS]; /* [rank, expert] */
} group_state;

typedef enum load { LOAD_RANDOM, LOAD_ONE_EXPERT, LOAD_ONE_TOKEN, LOAD_NOTHING, LOAD_COUNT } load;

static void draw_choices(const group_state *g, load kind, rank_state *r)
{
    int64_t num_experts = g->config.num_experts, k = g->config.top_k, favourite = draw(num_experts);
    for (int64_t i = 0; i < r->n; i++) {
        int32_t experts[MAX_EXPERTS];
        for (int32_t e = 0; e < num_experts; e++) experts[e] = e;
        for (int64_t j = 0; j < k; j++) {
            int64_t other = j + draw(num_experts - j);
            if (kind == LOAD_ONE_EXPERT && j == 0) other = favourite;
            int32_t chosen = experts[other];
            experts[other] = experts[j];
            r->choice[i * k + j] = experts[j] = chosen;
        }
    }
}

/* A wire of the sizes that the layer reserves, in memory of exactly that size. */
static void take_rank(const group_state *g, int index, rank_state *r)
{
    fsm_wire_shape shape;
    fsm_memory measure = fsm_memory_measure(FSM_REAL_BYTES);
    fsm_moe_shape(&g->config, g->ep, index / g->esp, g->esp, index % g->esp, g->max_tokens, &shape);
    shape.by_source = g->by_source;
    fsm_route_take(&measure, g->max_tokens, g->config.num_experts, g->config.top_k, false, &r->route);
    fsm_wire_take(&measure, &shape, &r->wire);
    fsm_wire_tables_take(&measure, &shape, &r->tables);
    assert_int_equal(fsm_memory_create(&measure, &r->memory), FSMOE_OK);
    fsm_route_take(&r->memory, g->max_tokens, g->config.num_experts, g->config.top_k, false, &r->route);
    fsm_wire_take(&r->memory, &shape, &r->wire);
    fsm_wire_tables_take(&r->memory, &shape, &r->tables);
}

static fsm_ops *fast; /* as the reference */

static void create_group(group_state *g, int ep, int esp, load kind, bool by_source)
{
    const double factors[] = {0, 0, 0.5, 1, 1.25};
    *g = (group_state){.ep = ep, .esp = esp, .by_source = by_source, .max_tokens = 1 + draw(MAX_TOKENS)};
    g->ops = draw(2) ? fast : &fsm_ops_reference;
    g->config.num_experts = ep * (1 + draw(3));
    g->config.top_k = 1 + draw(g->config.num_experts < 3 ? g->config.num_experts : 3);
    g->config.capacity_factor = factors[draw(5)];
    g->config.capacity_group = draw(2) ? 1 + draw(8) : 0;
    g->config.order = draw(2) ? "tutel" : "sorted";
    g->config.gate = "gshard";
    g->config.drop_policy = "position";
    int alone = (int)draw(ep * esp);
    for (int i = 0; i < ep * esp; i++) {
        rank_state *r = &g->ranks[i];
        r->n = draw(3) == 0 ? g->max_tokens : draw(g->max_tokens + 1);
        if (kind == LOAD_NOTHING) r->n = 0;
        if (kind == LOAD_ONE_TOKEN) r->n = i == alone;
        draw_choices(g, kind, r);
        take_rank(g, i, r);
        fsm_order_problem problem = {.n = r->n,
                                     .num_experts = g->config.num_experts,
                                     .top_k = g->config.top_k,
                                     .choices = g->config.top_k,
                                     .group = g->config.capacity_group ? g->config.capacity_group : r->n,
                                     .capacity_factor = g->config.capacity_factor};
        fsm_order_find(g->config.order)->assign(&fsm_ops_reference, &problem, r->choice, NULL, &r->route);
        memcpy(g->counts + i * g->config.num_experts, r->route.rows, sizeof(int64_t) * (size_t)g->config.num_experts);
    }
    g->nominal_rows = g->ranks[0].wire.shape.nominal_rows;
}

static void free_rows(group_state *g)
{
    for (int i = 0; i < g->ep * g->esp; i++) {
        rank_state *r = &g->ranks[i];
        free(r->sent), free(r->received), free(r->gathered);
        r->sent = r->received = r->gathered = NULL;
    }
}

static void destroy_group(group_state *g)
{
    free_rows(g);
    for (int i = 0; i < g->ep * g->esp; i++) fsm_memory_destroy(&g->ranks[i].memory);
}

/* Strictly rising cuts of T at random places; returns how many chunks there are. */
static int draw_cuts(int64_t nominal_rows, int degree, bool even, int64_t *cuts)
{
    if (degree > nominal_rows) degree = (int)nominal_rows;
    cuts[0] = 0;
    for (int c = 1; c <= degree; c++) {
        int64_t room = nominal_rows - cuts[c - 1] - (degree - c); /* each later chunk takes at least one */
        cuts[c] = even ? nominal_rows * c / degree : cuts[c - 1] + 1 + draw(room);
    }
    cuts[degree] = nominal_rows;
    return degree;
}

static identity *new_rows(int64_t n)
{
    identity *rows = calloc((size_t)n + 1, sizeof *rows);
    assert_non_null(rows);
    for (int64_t i = 0; i < n; i++) rows[i].source = -1;
    return rows;
}

static int64_t first_row(const fsm_wire *wire, int chunk, int64_t rows)
{
    return wire->cuts[chunk] * rows / wire->shape.nominal_rows;
}

/* At the source: [chunk][destination][expert][row], as the header states it. */
static void write_sent(const group_state *g, int source, rank_state *r)
{
    const fsm_wire *w = &r->wire;
    const int64_t *rows = g->counts + source * g->config.num_experts;
    int64_t at = 0;
    assert_true(w->send_total <= w->shape.max_rows);
    r->sent = new_rows(w->send_total);
    for (int c = 0; c < w->chunks; c++)
        for (int64_t e = 0; e < g->config.num_experts; e++) /* experts are dealt out to destinations in order */
            for (int64_t t = first_row(w, c, rows[e]); t < first_row(w, c + 1, rows[e]); t++)
                r->sent[at++] = (identity){source, e, t, rows[e]};
    assert_int_equal(at, w->send_total);
}

/* Every kept choice lies where its (expert, row) lies, and all other rows are padding. */
static void check_source(const group_state *g, const rank_state *r)
{
    int64_t k = g->config.top_k, used = 0, tokens = 0;
    for (int64_t i = 0; i < r->n * k; i++) {
        int32_t at = r->wire.send_row[i];
        assert_int_equal(at < 0, r->route.row[i] < 0);
        if (at < 0) continue;
        assert_int_equal(r->sent[at].expert, r->choice[i]);
        assert_int_equal(r->sent[at].row, r->route.row[i]);
        assert_int_equal(r->wire.token[at], i / k);
        used++;
    }
    for (int64_t at = 0; at < r->wire.send_total; at++) {
        tokens += r->wire.token[at] >= 0;
        assert_in_range(r->wire.token[at] + 1, 0, r->n);
    }
    assert_int_equal(tokens, used);
}

static int64_t total(const int64_t *counts, int n)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++) sum += counts[i];
    return sum;
}

/* The all-to-alls of one receiver: block q of a chunk is what member q of its EP group sends it. */
static void receive(group_state *g, int index)
{
    rank_state *r = &g->ranks[index];
    int ep = g->ep, mine = index / g->esp, esp_index = index % g->esp;
    int64_t at = 0;
    r->received = new_rows(r->wire.recv_first[r->wire.chunks]);
    for (int c = 0; c < r->wire.chunks; c++) {
        assert_int_equal(r->wire.recv_first[c], at);
        for (int q = 0; q < ep; q++) {
            const rank_state *from = &g->ranks[q * g->esp + esp_index];
            const int64_t *sent = from->wire.send_counts + c * ep;
            assert_int_equal(r->wire.recv_counts[c * ep + q], sent[mine]);
            memcpy(r->received + at, from->sent + from->wire.send_first[c] + total(sent, mine),
                   (size_t)sent[mine] * sizeof *r->received);
            at += sent[mine];
        }
    }
    assert_int_equal(r->wire.recv_first[r->wire.chunks], at);
}

/* The all-gathers of one member: block j of a chunk is what member j of its ESP group received. */
static void gather(group_state *g, int index)
{
    rank_state *r = &g->ranks[index];
    int64_t at = 0;
    assert_true(r->wire.gather_total <= r->wire.shape.max_expert_rows);
    r->gathered = new_rows(r->wire.gather_total);
    for (int c = 0; c < r->wire.chunks; c++) {
        assert_int_equal(r->wire.gather_first[c], at);
        for (int j = 0; j < g->esp; j++) {
            const rank_state *from = &g->ranks[index / g->esp * g->esp + j];
            int64_t n = from->wire.recv_first[c + 1] - from->wire.recv_first[c];
            assert_int_equal(r->wire.gather_counts[c * g->esp + j], n);
            memcpy(r->gathered + at, from->received + from->wire.recv_first[c], (size_t)n * sizeof *r->gathered);
            at += n;
        }
    }
    assert_int_equal(r->wire.gather_total, at);
}

/* (local expert, source, row): the order of tokens */
static int compare_by_source(const void *left, const void *right)
{
    const identity *a = left, *b = right;
    if (a->expert != b->expert) return a->expert < b->expert ? -1 : 1;
    if (a->source != b->source) return a->source < b->source ? -1 : 1;
    return (a->row > b->row) - (a->row < b->row);
}

/* (local expert, (t + 1) / n, source), compared without division. */
static int compare_canonical(const void *left, const void *right)
{
    const identity *a = left, *b = right;
    if (a->expert != b->expert) return a->expert < b->expert ? -1 : 1;
    int64_t x = (a->row + 1) * b->rows, y = (b->row + 1) * a->rows;
    if (x != y) return x < y ? -1 : 1;
    return (a->source > b->source) - (a->source < b->source);
}

/* All rows for a rank's experts, from the counts alone, in canonical order: no cut enters here. */
static identity *canonical(const group_state *g, int index, int64_t *n)
{
    int64_t local = g->config.num_experts / g->ep, first = index / g->esp * local;
    *n = 0;
    for (int s = 0; s < g->ep * g->esp; s++) *n += total(g->counts + s * g->config.num_experts + first, (int)local);
    identity *rows = new_rows(*n);
    int64_t at = 0;
    for (int s = 0; s < g->ep * g->esp; s++)
        for (int64_t e = first; e < first + local; e++) {
            int64_t count = g->counts[s * g->config.num_experts + e];
            for (int64_t t = 0; t < count; t++) rows[at++] = (identity){s, e, t, count};
        }
    qsort(rows, (size_t)*n, sizeof *rows, g->by_source ? compare_by_source : compare_canonical);
    return rows;
}

/* What is computed is the canonical order, so every row is there once and no cut changes it. */
static void check_expert_order(const group_state *g, int index)
{
    const rank_state *r = &g->ranks[index];
    int64_t n;
    identity *want = canonical(g, index, &n);
    assert_int_equal(r->wire.gather_total, n);
    for (int64_t i = 0; i < n; i++) {
        int32_t from = r->wire.wire_of_row[i];
        assert_in_range(from, 0, n - 1);
        assert_int_equal(r->wire.row_of_wire[from], i);
        assert_memory_equal(&r->gathered[from], &want[i], sizeof *want);
        if (r->wire.identity) assert_int_equal(from, i);
    }
    free(want);
}

/* expert_first delimits one contiguous block a chunk and expert, and the block is that chunk's rows. */
static void check_blocks(const group_state *g, int index)
{
    const rank_state *r = &g->ranks[index];
    const fsm_wire *w = &r->wire;
    int64_t local = g->config.num_experts / g->ep, at = 0;
    for (int64_t e = 0; e < local; e++)
        for (int c = 0; c < w->chunks; c++) {
            assert_int_equal(w->expert_first[c * local + e], at);
            for (; at < w->expert_first[(c + 1) * local + e]; at++) {
                const identity *row = &r->gathered[w->wire_of_row[at]];
                assert_int_equal(row->expert, index / g->esp * local + e);
                assert_true(row->row >= first_row(w, c, row->rows) && row->row < first_row(w, c + 1, row->rows));
                assert_true(w->wire_of_row[at] >= w->gather_first[c] && w->wire_of_row[at] < w->gather_first[c + 1]);
            }
        }
    assert_int_equal(at, w->gather_total);
}

/* The last cut first. */
static void cut_wire(int chunks, const int64_t *cuts, fsm_wire *wire)
{
    fsm_wire_join(wire);
    for (int c = chunks - 1; c > 0; c--) fsm_wire_cut_at(cuts[c], wire);
    assert_int_equal(wire->chunks, chunks);
    assert_memory_equal(wire->cuts, cuts, sizeof *cuts * (size_t)(chunks + 1));
}

static void check_group(group_state *g, int degree, bool even)
{
    int64_t cuts[MAX_DEGREE + 1];
    int ranks = g->ep * g->esp, chunks = draw_cuts(g->nominal_rows, degree, even, cuts);
    for (int i = 0; i < ranks; i++) {
        rank_state *r = &g->ranks[i];
        cut_wire(chunks, cuts, &r->wire);
        fsm_wire_build(g->ops, r->n, g->config.top_k, r->choice, r->route.row, r->route.rows, g->counts, &r->tables,
                       &r->wire);
        for (int c = 0; c < chunks; c++) assert_int_equal(fsm_wire_chunk(&r->wire, cuts[c]), c);
        assert_int_equal(r->wire.identity, ranks == 1 && chunks == 1);
        write_sent(g, i, r);
        check_source(g, r);
    }
    for (int i = 0; i < ranks; i++) receive(g, i);
    for (int i = 0; i < ranks; i++) gather(g, i);
    for (int i = 0; i < ranks; i++) check_expert_order(g, i);
    for (int i = 0; i < ranks; i++) check_blocks(g, i);
    free_rows(g);
}

static void check_load(load kind, int rounds)
{
    static group_state g;
    for (int ep = 1; ep <= 4; ep++)
        for (int esp = 1; esp <= 4; esp++)
            for (int round = 0; round < rounds; round++) {
                create_group(&g, ep, esp, kind, false);
                for (int degree = 1; degree <= MAX_DEGREE; degree++) {
                    check_group(&g, degree, true);
                    check_group(&g, degree, false);
                }
                destroy_group(&g);
            }
}

static void test_wire_random_loads_arrive_in_canonical_order(void **state)
{
    (void)state;
    check_load(LOAD_RANDOM, 30);
}

static void test_wire_all_to_one_expert_arrives(void **state)
{
    (void)state;
    check_load(LOAD_ONE_EXPERT, 8);
}

static void test_wire_a_single_token_arrives(void **state)
{
    (void)state;
    check_load(LOAD_ONE_TOKEN, 8);
}

static void test_wire_without_tokens_nothing_is_sent(void **state)
{
    (void)state;
    static group_state g;
    check_load(LOAD_NOTHING, 2);
    create_group(&g, 2, 2, LOAD_NOTHING, false);
    for (int i = 0; i < 4; i++) {
        rank_state *r = &g.ranks[i];
        fsm_wire_join(&r->wire);
        fsm_wire_build(g.ops, 0, g.config.top_k, r->choice, r->route.row, r->route.rows, g.counts, &r->tables,
                       &r->wire);
        assert_int_equal(r->wire.send_total + r->wire.gather_total, 0);
    }
    destroy_group(&g);
}

static void test_wire_by_source_keeps_the_order_of_tokens(void **state)
{
    (void)state;
    static group_state g;
    for (int ep = 1; ep <= 4; ep++)
        for (int esp = 1; esp <= 4; esp++)
            for (int round = 0; round < 30; round++) {
                create_group(&g, ep, esp, (load)(round % LOAD_COUNT), true);
                check_group(&g, 1, true);
                destroy_group(&g);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wire_random_loads_arrive_in_canonical_order),
        cmocka_unit_test(test_wire_all_to_one_expert_arrives),
        cmocka_unit_test(test_wire_a_single_token_arrives),
        cmocka_unit_test(test_wire_without_tokens_nothing_is_sent),
        cmocka_unit_test(test_wire_by_source_keeps_the_order_of_tokens),
    };
    if (fsm_cpu_ops_create(2, FSM_CPU_FP32, &fast) != FSMOE_OK) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fsm_ops_destroy(fast);
    return failed;
}
