#include "ops/ref.h"

#include <string.h>

void fsm_ref_keep(const fsm_ops *self, const fsm_places *p, const fsm_index *choice, fsm_index *row, fsm_index *filling,
                  fsm_index *dropped)
{
    (void)self;
    *dropped = 0;
    for (int64_t first = 0; first < p->n; first += p->group) {
        int64_t last = first + p->group < p->n ? first + p->group : p->n;
        memset(filling, 0, sizeof *filling * (size_t)p->num_experts);
        for (int64_t j = 0; j < p->choices; j++)
            for (int64_t at = first * p->choices + j; at < last * p->choices; at += p->choices) {
                row[at] = -1;
                if (choice[at] < 0) continue;
                bool kept = filling[choice[at]] < p->capacity;
                filling[choice[at]] += kept;
                *dropped += !kept;
                if (kept) row[at] = 0;
            }
    }
}

void fsm_ref_number(const fsm_ops *self, const fsm_places *p, const fsm_index *choice, fsm_index *row,
                    fsm_index *filling, fsm_index *kept)
{
    (void)self;
    memset(kept, 0, sizeof *kept * (size_t)p->num_experts);
    for (int64_t first = 0, base = 0; first < p->n; first += p->group, base += p->stride) {
        int64_t last = first + p->group < p->n ? first + p->group : p->n;
        memset(filling, 0, sizeof *filling * (size_t)p->num_experts);
        for (int64_t at = first * p->choices; at < last * p->choices; at++) {
            if (row[at] < 0) continue;
            int32_t expert = choice[at];
            row[at] = (int32_t)(p->stride > 0 ? base + filling[expert] : kept[expert]);
            filling[expert]++;
            kept[expert]++;
        }
    }
}

void fsm_ref_map_source(const fsm_ops *self, const fsm_source_map *map, int64_t n, int64_t k, const fsm_index *choice,
                        const fsm_index *row, int64_t send_total, fsm_index *send_row, fsm_index *token)
{
    (void)self;
    for (int64_t at = 0; at < send_total; at++) token[at] = -1;
    for (int64_t i = 0; i < n * k; i++) {
        send_row[i] = -1;
        if (row[i] < 0) continue;
        int64_t chunk = 0, e = choice[i];
        while (row[i] >= map->first[(chunk + 1) * map->num_experts + e]) chunk++;
        send_row[i] = map->base[chunk * map->num_experts + e] + row[i];
        token[send_row[i]] = (int32_t)(i / k);
    }
}

/* How many rows of the other sources come before row t of source s, of `expert`. */
static int64_t rows_before(const fsm_expert_map *map, int64_t expert, int64_t s, int64_t t)
{
    int64_t before = 0, own = map->rows[s * map->num_experts + expert];
    for (int64_t o = 0; o < map->sources; o++) {
        int64_t others = map->rows[o * map->num_experts + expert], reach = (t + 1) * others;
        if (o == s) continue;
        if (map->by_source) before += o < s ? others : 0;
        else before += o < s ? reach / own : (reach + own - 1) / own - (others > 0);
    }
    return before;
}

void fsm_ref_map_expert(const fsm_expert_map *map, int64_t e, fsm_index *wire_of_row, fsm_index *row_of_wire)
{
    int64_t pairs = map->sources * map->num_experts;
    for (int64_t s = 0; s < map->sources; s++) {
        int64_t pair = s * map->num_experts + e, chunk = 0;
        for (int64_t t = 0; t < map->rows[pair]; t++) {
            while (t >= map->first[(chunk + 1) * pairs + pair]) chunk++;
            int64_t at = map->begin[e] + t + rows_before(map, e, s, t), from = map->base[chunk * pairs + pair] + t;
            wire_of_row[at] = (int32_t)from;
            row_of_wire[from] = (int32_t)at;
        }
    }
}

void fsm_ref_map_experts(const fsm_ops *self, const fsm_expert_map *map, fsm_index *wire_of_row, fsm_index *row_of_wire)
{
    (void)self;
    for (int64_t e = 0; e < map->num_experts; e++) fsm_ref_map_expert(map, e, wire_of_row, row_of_wire);
}

void fsm_ref_number_slots(const fsm_ops *self, int64_t count, int64_t num_experts, int64_t slots, fsm_index *choice,
                          fsm_index *row)
{
    (void)self;
    int64_t columns = num_experts * slots;
    for (int64_t p = 0; p < count; p++) {
        choice[p] = (int32_t)(p / slots % num_experts);
        row[p] = (int32_t)(p / columns * slots + p % slots);
    }
}

/* Where the entry of a choice stands; -1: it has none. */
static int64_t entry_of(const fsm_one_hot *h, int64_t pair)
{
    if (h->row[pair] < 0) return -1;
    return pair / h->choices * h->columns + h->choice[pair] * h->slots + h->row[pair] % h->slots;
}

void fsm_ref_set_one_hot(const fsm_ops *self, const fsm_one_hot *h, const fsm_real *weight, float value,
                         fsm_real *matrix)
{
    (void)self;
    for (int64_t pair = 0; pair < h->tokens * h->choices; pair++) {
        int64_t at = entry_of(h, pair);
        if (at >= 0) matrix[at] = weight ? weight[pair] : value;
    }
}

void fsm_ref_get_one_hot(const fsm_ops *self, const fsm_one_hot *h, const fsm_real *matrix, fsm_real *weight)
{
    (void)self;
    for (int64_t pair = 0; pair < h->tokens * h->choices; pair++) {
        int64_t at = entry_of(h, pair);
        weight[pair] = at < 0 ? 0 : matrix[at];
    }
}

void fsm_ref_add_counts(const fsm_ops *self, int64_t n, const fsm_index *count, fsm_sum *sum)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) sum[i] += count[i];
}
