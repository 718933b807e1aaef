/* Places on threads. Counting by expert is one thread's, in the order of tokens; what follows from it is
 * everybody's. */
#include "cpu/slots.h"
#include "cpu/threads.h"

#include <string.h>

/* What a scattered access costs, in elements copied. */
enum { ACCESS_ELEMS = 16, ENTRY_ELEMS = 64 /* of a large matrix */ };

void fsm_cpu_map_source(const fsm_ops *self, const fsm_source_map *map, int64_t n, int64_t k, const fsm_index *choice,
                        const fsm_index *row, int64_t send_total, fsm_index *send_row, fsm_index *token)
{
    if (send_total > 0) memset(token, 0xff, sizeof *token * (size_t)send_total);
#pragma omp parallel for schedule(static) num_threads(fsm_cpu_threads(self, n *k *ACCESS_ELEMS))
    for (int64_t i = 0; i < n; i++)
        for (int64_t at = i * k; at < (i + 1) * k; at++) {
            send_row[at] = -1;
            if (row[at] < 0) continue;
            int64_t chunk = 0, e = choice[at];
            while (row[at] >= map->first[(chunk + 1) * map->num_experts + e]) chunk++;
            send_row[at] = map->base[chunk * map->num_experts + e] + row[at];
            token[send_row[at]] = (int32_t)i;
        }
}

/* A chunk of one source and expert is a run of wire rows. */
static void map_alone(const fsm_expert_map *map, fsm_index *wire_of_row, fsm_index *row_of_wire)
{
    for (int64_t c = 0; c < map->chunks; c++)
        for (int64_t e = 0; e < map->num_experts; e++) {
            int64_t at = c * map->num_experts + e;
            for (int64_t t = map->first[at]; t < map->first[at + map->num_experts]; t++) {
                wire_of_row[map->begin[e] + t] = (int32_t)(map->base[at] + t);
                row_of_wire[map->base[at] + t] = (int32_t)(map->begin[e] + t);
            }
        }
}

void fsm_cpu_map_experts(const fsm_ops *self, const fsm_expert_map *map, fsm_index *wire_of_row, fsm_index *row_of_wire)
{
    if (map->sources == 1) {
        map_alone(map, wire_of_row, row_of_wire);
        return;
    }
    int64_t work = map->sources * map->sources * map->num_experts * map->most_rows;
#pragma omp parallel for schedule(static) num_threads(fsm_cpu_threads(self, work))
    for (int64_t e = 0; e < map->num_experts; e++) fsm_ref_map_expert(map, e, wire_of_row, row_of_wire);
}

/* A group's tokens from `first` on, `count` of them, with the matrix's rows. */
static fsm_one_hot tokens_of(const fsm_one_hot *h, int64_t first, int64_t count)
{
    fsm_one_hot part = *h;
    part.tokens = count;
    part.choice += first * h->choices;
    part.row += first * h->choices;
    return part;
}

void fsm_cpu_set_one_hot(const fsm_ops *self, const fsm_one_hot *h, const fsm_real *weight, float value,
                         fsm_real *matrix)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, h->tokens * h->choices * ENTRY_ELEMS))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(h->tokens, 1);
        fsm_one_hot part = tokens_of(h, mine.begin, mine.count);
        fsm_ref_set_one_hot(self, &part, weight ? weight + mine.begin * h->choices : NULL, value,
                            matrix + mine.begin * h->columns);
    }
}

void fsm_cpu_get_one_hot(const fsm_ops *self, const fsm_one_hot *h, const fsm_real *matrix, fsm_real *weight)
{
#pragma omp parallel num_threads(fsm_cpu_threads(self, h->tokens * h->choices * ENTRY_ELEMS))
    {
        fsm_cpu_share mine = fsm_cpu_my_share(h->tokens, 1);
        fsm_one_hot part = tokens_of(h, mine.begin, mine.count);
        fsm_ref_get_one_hot(self, &part, matrix + mine.begin * h->columns, weight + mine.begin * h->choices);
    }
}
