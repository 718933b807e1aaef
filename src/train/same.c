#include "train/same.h"

#include "comm/op.h"
#include "config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMED_RANKS = 8 };

/* ---- comparing ---- */

/* What ranks have: a row each of `count` numbers and the launcher's number of the rank. */
typedef struct rows {
    int ranks, count;
    int64_t *numbers;
} rows;

static const int64_t *row_of(const rows *all, int rank)
{
    return all->numbers + (size_t)rank * ((size_t)all->count + 1);
}

/* The lowest rank of those that have what most have. */
static int most_common(const rows *all, int item)
{
    int best = 0, best_count = 0;
    for (int r = 0; r < all->ranks; r++) {
        int same = 0;
        for (int other = r; other < all->ranks; other++) same += row_of(all, other)[item] == row_of(all, r)[item];
        if (same > best_count) best = r, best_count = same;
    }
    return best;
}

static bool all_same(const rows *all, int item)
{
    for (int r = 1; r < all->ranks; r++)
        if (row_of(all, r)[item] != row_of(all, 0)[item]) return false;
    return true;
}

/* "rank 3 has", "ranks 1, 2 and 4 more have" */
static void name_ranks(const rows *all, int item, char text[256])
{
    int usual = most_common(all, item), named = 0, more = 0, at = 0;
    char list[192] = "";
    for (int r = 0; r < all->ranks; r++) {
        if (row_of(all, r)[item] == row_of(all, usual)[item]) continue;
        if (named == NAMED_RANKS) more++;
        else
            at += snprintf(list + at, sizeof list - (size_t)at, "%s%lld", named++ > 0 ? ", " : "",
                           (long long)row_of(all, r)[all->count]);
    }
    if (more > 0) snprintf(text, 256, "ranks %s and %d more have", list, more);
    else snprintf(text, 256, "rank%s %s ha%s", named > 1 ? "s" : "", list, named > 1 ? "ve" : "s");
}

/* *item: the first that is not the same on all ranks, -1: none; `who` has another then. mine [count + 1] has room for
 * the launcher's number. Collective. */
static fsmoe_status compare(fsm_comm *world, int64_t *mine, int count, int *item, char who[256])
{
    rows all = {world->size, count, malloc(sizeof *mine * ((size_t)count + 1) * (size_t)world->size)};
    fsmoe_status status = all.numbers ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to compare ranks");
    mine[count] = world->launched_as;
    *item = -1;
    status = fsm_comm_agree(world, status);
    if (status == FSMOE_OK) status = fsm_comm_all_gather_int64(world, mine, count + 1, all.numbers);
    for (int i = 0; status == FSMOE_OK && i < count && *item < 0; i++)
        if (!all_same(&all, i)) *item = i;
    if (status == FSMOE_OK && *item >= 0) name_ranks(&all, *item, who);
    free(all.numbers);
    return status;
}

/* ---- configurations ---- */

/* Not what each rank may have for itself. */
static bool is_common(const fsm_config_field *field)
{
    if (strcmp(field->key, "moe.hooks") == 0) return true;
    return field->type != FSM_CONFIG_STRING && field->type != FSM_CONFIG_STRINGS &&
           strncmp(field->key, "run.", 4) != 0 && strcmp(field->key, "parallel.threads") != 0;
}

fsmoe_status fsm_same_config(fsm_comm *world, const fsmoe_config *config)
{
    int item, count = (int)fsm_config_field_count;
    char who[256];
    if (world->size == 1) return FSMOE_OK;
    int64_t *mine = calloc((size_t)count + 1, sizeof *mine);
    fsmoe_status status = mine ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to compare configurations");
    FSM_TRY_GOTO(status, fsm_comm_agree(world, status), done);
    for (int i = 0; i < count; i++)
        if (is_common(&fsm_config_fields[i])) mine[i] = (int64_t)fsm_config_hash(config, &fsm_config_fields[i]);
    FSM_TRY_GOTO(status, compare(world, mine, count, &item, who), done);
    if (item >= 0)
        status =
            fsm_fail(FSMOE_ERROR_CONFIG,
                     "%s another value of %s than the other ranks (of %d): all must be given the same configuration",
                     who, fsm_config_fields[item].key, world->size);
done:
    free(mine);
    return status;
}

/* ---- graphs ---- */

fsmoe_status fsm_same_graph(fsm_comm *world, fsmoe_status mine, const fsm_graph *graph)
{
    int item;
    char who[256];
    int64_t numbers[2] = {0};
    FSM_TRY(fsm_comm_agree(world, mine));
    if (world->size == 1) return FSMOE_OK;
    numbers[0] = (int64_t)fsm_graph_hash(graph);
    FSM_TRY(compare(world, numbers, 1, &item, who));
    if (item < 0) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_CONFIG,
                    "%s another plan of a step than the other ranks (of %d): all must run the same fsmoe with the same "
                    "configuration",
                    who, world->size);
}
