/* A table of products as text: {"threads": 2, "experts": {"count": 8, "rows": 1024, "out": 2048, "in": 512, "gflops":
 * [120, 130], "side_by_side": true}, "products": [{"rows": 16, "out": 512, "in": 1024, "backward": false,
 * "gflops": [60.1, 58, 90.5], "way": "packed"}, ...]}. */
#include "base/json.h"
#include "cpu/products.h"

#include <math.h>
#include <string.h>

static json_t *product_json(const fsm_product *p, bool *failed)
{
    json_t *object = json_object(), *rates = json_array();
    fsm_json_set(object, "rows", json_integer(p->rows), failed);
    fsm_json_set(object, "out", json_integer(p->out), failed);
    fsm_json_set(object, "in", json_integer(p->in), failed);
    fsm_json_set(object, "backward", json_boolean(p->backward), failed);
    for (int way = 0; way < FSM_PRODUCT_WAYS; way++) fsm_json_append(rates, json_real(p->gflops[way]), failed);
    fsm_json_set(object, "gflops", rates, failed);
    fsm_json_set(object, "way", json_string(fsm_product_way_name(p->chosen)), failed);
    return object;
}

static json_t *experts_json(const fsm_expert_products *p, bool *failed)
{
    json_t *object = json_object(), *rates = json_array();
    fsm_json_set(object, "count", json_integer(p->count), failed);
    fsm_json_set(object, "rows", json_integer(p->rows), failed);
    fsm_json_set(object, "out", json_integer(p->out), failed);
    fsm_json_set(object, "in", json_integer(p->in), failed);
    for (int side = 0; side < 2; side++) fsm_json_append(rates, json_real(p->gflops[side]), failed);
    fsm_json_set(object, "gflops", rates, failed);
    fsm_json_set(object, "side_by_side", json_boolean(p->side_by_side), failed);
    return object;
}

fsmoe_status fsm_products_text(const fsm_products *table, char **text)
{
    bool failed = false;
    json_t *object = json_object(), *list = json_array();
    for (int i = 0; i < table->count; i++) fsm_json_append(list, product_json(&table->items[i], &failed), &failed);
    fsm_json_set(object, "threads", json_integer(table->threads), &failed);
    if (table->experts.count > 0) fsm_json_set(object, "experts", experts_json(&table->experts, &failed), &failed);
    fsm_json_set(object, "products", list, &failed);
    return fsm_json_text(object, failed, JSON_COMPACT, "a table of products", text);
}

/* A whole number from 1 to `most`. */
static bool get_count(const json_t *object, const char *key, int64_t most, int64_t *value)
{
    const json_t *found = json_object_get(object, key);
    *value = json_integer_value(found);
    return json_is_integer(found) && *value >= 1 && *value <= most;
}

static bool get_way(const json_t *object, fsm_product_way *way)
{
    const char *name = json_string_value(json_object_get(object, "way"));
    for (int i = 0; name && i < FSM_PRODUCT_WAYS; i++) {
        *way = (fsm_product_way)i;
        if (strcmp(name, fsm_product_way_name(*way)) == 0) return true;
    }
    return false;
}

static bool get_rates(const json_t *object, size_t ways, double *gflops)
{
    const json_t *rates = json_object_get(object, "gflops");
    if (json_array_size(rates) != ways) return false;
    for (size_t way = 0; way < ways; way++) {
        const json_t *rate = json_array_get(rates, way);
        gflops[way] = json_number_value(rate);
        if (!json_is_number(rate) || !(gflops[way] >= 0) || !isfinite(gflops[way])) return false;
    }
    return true;
}

static bool get_product(const json_t *object, fsm_product *p)
{
    const int64_t most = INT32_MAX;
    const json_t *backward = json_object_get(object, "backward");
    p->backward = json_is_true(backward);
    return json_object_size(object) == 6 && json_is_boolean(backward) && get_count(object, "rows", most, &p->rows) &&
           get_count(object, "out", most, &p->out) && get_count(object, "in", most, &p->in) &&
           get_rates(object, FSM_PRODUCT_WAYS, p->gflops) && get_way(object, &p->chosen);
}

/* Within a shape and direction rows rise: looking up relies on it, and none comes twice. */
static bool in_order(const fsm_products *table, const fsm_product *p)
{
    for (int i = 0; i < table->count; i++) {
        const fsm_product *other = &table->items[i];
        if (other->out == p->out && other->in == p->in && other->backward == p->backward && other->rows >= p->rows)
            return false;
    }
    return true;
}

/* NULL: a table without. */
static bool get_experts(const json_t *object, fsm_expert_products *p)
{
    const int64_t most = INT32_MAX;
    const json_t *side = json_object_get(object, "side_by_side");
    if (!object) return true;
    p->side_by_side = json_is_true(side);
    return json_object_size(object) == 6 && json_is_boolean(side) && get_count(object, "count", most, &p->count) &&
           get_count(object, "rows", most, &p->rows) && get_count(object, "out", most, &p->out) &&
           get_count(object, "in", most, &p->in) && get_rates(object, 2, p->gflops);
}

static fsmoe_status read_products(const json_t *object, const char *source, fsm_products *table)
{
    const json_t *experts = json_object_get(object, "experts");
    const json_t *list = json_object_get(object, "products");
    int64_t threads;
    if (json_object_size(object) != (experts ? 3 : 2) || !get_count(object, "threads", INT32_MAX, &threads) ||
        !json_is_array(list))
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': a table of products has threads and products", source);
    if (!get_experts(experts, &table->experts))
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': experts is nothing that was measured of experts", source);
    table->threads = (int)threads;
    for (size_t i = 0; i < json_array_size(list); i++) {
        fsm_product p;
        if (table->count == FSM_MOST_PRODUCTS)
            return fsm_fail(FSMOE_ERROR_FORMAT, "'%s': more than %d products", source, FSM_MOST_PRODUCTS);
        if (!get_product(json_array_get(list, i), &p) || !in_order(table, &p))
            return fsm_fail(FSMOE_ERROR_FORMAT,
                            "'%s': products[%zu] is no row of a table of products, or not in its place", source, i);
        table->items[table->count++] = p;
    }
    return FSMOE_OK;
}

fsmoe_status fsm_products_parse(const char *text, const char *source, fsm_products *table)
{
    json_t *object;
    *table = (fsm_products){0};
    FSM_TRY(fsm_json_parse(text, strlen(text), source, &object));
    fsmoe_status status = read_products(object, source, table);
    json_decref(object);
    return status;
}
