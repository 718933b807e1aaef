/* Plan files: one JSON object with everything that is needed to check a plan without the one who made it. */
#include "base/json.h"
#include "plan/graph_json.h"
#include "plan/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "fsmoe-plan"
enum { VERSION = 1, MOST = INT32_MAX, MOST_GEMMS = 1 << 22 }; /* a task is made of a few times the GEMMs of a shape */

static const int64_t MOST_BYTES = FSM_STEP_MOST_BYTES;

/* ---- the shape ---- */

#define SHAPE_INTS(X)  \
    X(num_layers)      \
    X(moe_every)       \
    X(micro_batches)   \
    X(training)        \
    X(early_update)    \
    X(experts_only)    \
    X(with_losses)     \
    X(hidden)          \
    X(ffn_hidden)      \
    X(vocab_size)      \
    X(seq_len)         \
    X(attention_width) \
    X(qkv_width) X(n_group) X(n_local) X(num_experts) X(top_k) X(nominal_rows) X(max_degree) X(expert_gemms)

/* Left out where they are 0, as in most models. */
#define SHAPE_RARE_INTS(X) \
    X(shared_gemms)        \
    X(shared_width) X(order_gemms) X(order_width) X(mixes) X(micro_in_turn) X(narrow_rows) X(wire_divisor)

static json_t *regions_json(const fsm_step_shape *s, bool *failed)
{
    json_t *regions = json_array();
    for (int i = 0; i < s->region_count; i++) {
        json_t *region = json_array();
        fsm_json_append(region, json_integer(s->regions[i].group), failed);
        fsm_json_append(region, json_integer(s->regions[i].first), failed);
        fsm_json_append(region, json_integer(s->regions[i].last), failed);
        fsm_json_append(regions, region, failed);
    }
    return regions;
}

static json_t *gradients_json(const fsm_step_shape *s, bool *failed)
{
    json_t *gradients = json_array();
    for (int i = 0; i < s->gradient_count; i++) {
        const fsm_gradient *g = &s->gradients[i];
        json_t *gradient = json_array();
        fsm_json_append(gradient, json_integer(g->region), failed);
        fsm_json_append(gradient, json_integer(g->first), failed);
        fsm_json_append(gradient, json_integer(g->last), failed);
        fsm_json_append(gradient, json_integer(g->layer), failed);
        fsm_json_append(gradient, json_string(fsm_task_kind_name(g->after)), failed);
        fsm_json_append(gradients, gradient, failed);
    }
    return gradients;
}

/* [[[n_group, n_local, rows, nominal_rows, order_gemms] a part] for two parts, for three, …]; left out where there is
 * one. */
static json_t *parts_json(const fsm_step_shape *s, bool *failed)
{
    json_t *all = json_array();
    for (int parts = 2; parts <= s->most_parts; parts++) {
        json_t *list = json_array();
        for (int i = 0; i < parts; i++) {
            fsm_pass_size size = fsm_step_part(s, parts, i);
            fsm_json_append(list,
                            json_pack("[I,I,f,I,i]", (json_int_t)size.n_group, (json_int_t)size.n_local, size.rows,
                                      (json_int_t)size.nominal_rows, size.order_gemms),
                            failed);
        }
        fsm_json_append(all, list, failed);
    }
    return all;
}

/* [fixed, whole, most, asked, pass…, spare…]; left out where it is not known. */
static json_t *memory_json(const fsm_step_memory *m, bool *failed)
{
    json_t *list = json_array();
    const int64_t first[] = {m->fixed, m->whole, m->most, m->asked};
    for (int i = 0; i < 4; i++) fsm_json_append(list, json_integer(first[i]), failed);
    for (int i = 0; i < FSM_MAX_LANES; i++) fsm_json_append(list, json_integer(m->pass[i]), failed);
    for (int i = 0; i < FSM_MAX_LANES; i++) fsm_json_append(list, json_integer(m->spare[i]), failed);
    return list;
}

static json_t *shape_json(const fsm_step_shape *s, bool *failed)
{
    json_t *shape = json_object(), *sizes = json_array(), *links = json_array();
    fsm_json_set(shape, "rows", json_real(s->rows), failed);
#define PUT_INT(name) fsm_json_set(shape, #name, json_integer((json_int_t)s->name), failed);
    SHAPE_INTS(PUT_INT)
#define PUT_RARE(name) \
    if (s->name != 0) PUT_INT(name)
    SHAPE_RARE_INTS(PUT_RARE)
#undef PUT_RARE
#undef PUT_INT
    for (int g = 0; g < FSM_GROUP_COUNT; g++) {
        fsm_json_append(sizes, json_integer(s->group_size[g]), failed);
        fsm_json_append(links, json_string(fsm_resource_name(s->link[g])), failed);
    }
    if (s->most_parts > 1) fsm_json_set(shape, "parts", parts_json(s, failed), failed);
    if (s->memory.most > 0) fsm_json_set(shape, "memory", memory_json(&s->memory, failed), failed);
    fsm_json_set(shape, "group_size", sizes, failed);
    fsm_json_set(shape, "link", links, failed);
    fsm_json_set(shape, "regions", regions_json(s, failed), failed);
    fsm_json_set(shape, "gradients", gradients_json(s, failed), failed);
    return shape;
}

static fsmoe_status bad(const char *key, const char *why)
{
    return fsm_fail(FSMOE_ERROR_FORMAT, "'%s' %s", key, why);
}

static fsmoe_status read_groups(const json_t *json, fsm_step_shape *s)
{
    const json_t *sizes = json_object_get(json, "group_size"), *links = json_object_get(json, "link");
    if (json_array_size(sizes) != FSM_GROUP_COUNT) return bad("shape.group_size", "is not a list of all groups");
    if (json_array_size(links) != FSM_GROUP_COUNT) return bad("shape.link", "is not a list of all groups");
    for (int g = 0; g < FSM_GROUP_COUNT; g++) {
        const char *link = json_string_value(json_array_get(links, (size_t)g));
        int found = -1;
        for (int r = 0; r < FSM_RESOURCE_COUNT && link; r++)
            if (strcmp(link, fsm_resource_name((fsm_resource)r)) == 0) found = r;
        json_int_t ranks = json_integer_value(json_array_get(sizes, (size_t)g));
        if (ranks < 1 || ranks > MOST) return bad("shape.group_size", "holds a group without ranks, or of too many");
        s->group_size[g] = (int)ranks;
        if (found < 0 || found == FSM_COMPUTE) return bad("shape.link", "names no link");
        s->link[g] = (fsm_resource)found;
    }
    return FSMOE_OK;
}

static fsmoe_status read_regions(const json_t *json, fsm_step_shape *s)
{
    const json_t *regions = json_object_get(json, "regions");
    size_t count = json_array_size(regions);
    if (!json_is_array(regions) || count > 3) return bad("shape.regions", "is not a list of at most 3");
    for (size_t i = 0; i < count; i++) {
        json_int_t group, first, last;
        if (json_unpack(json_array_get(regions, i), "[I,I,I!]", &group, &first, &last) != 0 || group < 0 ||
            group >= FSM_GROUP_COUNT || first < 0 || last < first)
            return bad("shape.regions", "holds no [group, first, last]");
        s->regions[s->region_count++] = (fsm_region){(fsm_group)group, first, last};
    }
    return FSMOE_OK;
}

static fsmoe_status read_gradients(const json_t *json, fsm_step_shape *s)
{
    const json_t *gradients = json_object_get(json, "gradients");
    if (!json_is_array(gradients)) return bad("shape.gradients", "is not a list");
    s->gradients = malloc(sizeof *s->gradients * (json_array_size(gradients) + 1));
    if (!s->gradients) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the gradients of a plan");
    for (size_t i = 0; i < json_array_size(gradients); i++) {
        json_int_t region, first, last, layer;
        const char *after;
        int kind = 0;
        if (json_unpack(json_array_get(gradients, i), "[I,I,I,I,s!]", &region, &first, &last, &layer, &after) != 0 ||
            region < 0 || region >= s->region_count || layer < -1 || layer >= s->num_layers || first < 0 ||
            last < first)
            return bad("shape.gradients", "holds no [region, first, last, layer, task]");
        while (kind < FSM_TASK_KIND_COUNT && strcmp(after, fsm_task_kind_name((fsm_task_kind)kind)) != 0) kind++;
        if (kind == FSM_TASK_KIND_COUNT) return bad("shape.gradients", "names no task");
        s->gradients[s->gradient_count++] = (fsm_gradient){(int)region, first, last, (int)layer, (fsm_task_kind)kind};
    }
    return FSMOE_OK;
}

static bool read_part(const json_t *json, fsm_pass_size *size)
{
    json_int_t n_group, n_local, nominal_rows, gemms;
    if (json_unpack((json_t *)json, "[I,I,F,I,I!]", &n_group, &n_local, &size->rows, &nominal_rows, &gemms) != 0)
        return false;
    *size = (fsm_pass_size){n_group, n_local, size->rows, nominal_rows, (int)gemms};
    bool rows = size->rows >= 0 && size->rows <= (double)MOST_BYTES;
    return rows && n_group >= 0 && n_group <= MOST && n_local >= 0 && n_local <= MOST && nominal_rows >= 1 &&
           nominal_rows <= MOST && gemms >= 0 && gemms <= MOST_GEMMS;
}

static fsmoe_status read_parts(const json_t *json, fsm_step_shape *s)
{
    const json_t *all = json_object_get(json, "parts");
    if (all && !json_is_array(all)) return bad("shape.parts", "is not a list");
    if (json_array_size(all) > FSM_MAX_LANES - 1) return bad("shape.parts", "has more parts than there may be lanes");
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *list = json_array_get(all, i);
        for (size_t part = 0; part < i + 2; part++)
            if (json_array_size(list) != i + 2 || !read_part(json_array_get(list, part), &s->part[i][part]))
                return bad("shape.parts", "holds no [n_group, n_local, rows, nominal_rows, order_gemms] a part");
        s->most_parts = (int)i + 2;
    }
    return FSMOE_OK;
}

static fsmoe_status read_memory(const json_t *json, fsm_step_memory *m)
{
    const json_t *list = json_object_get(json, "memory");
    int64_t asked = 0, *fields[4 + 2 * FSM_MAX_LANES] = {&m->fixed, &m->whole, &m->most, &asked};
    if (!list) return FSMOE_OK;
    for (int i = 0; i < FSM_MAX_LANES; i++) fields[4 + i] = &m->pass[i], fields[4 + FSM_MAX_LANES + i] = &m->spare[i];
    bool sound = json_array_size(list) == sizeof fields / sizeof *fields;
    for (size_t i = 0; sound && i < sizeof fields / sizeof *fields; i++) {
        const json_t *value = json_array_get(list, i);
        *fields[i] = json_integer_value(value);
        sound = json_is_integer(value) && *fields[i] >= 0 && *fields[i] <= MOST_BYTES;
    }
    m->asked = asked != 0;
    return sound ? FSMOE_OK : bad("shape.memory", "is no [fixed, whole, most, asked, pass, spare] in bytes");
}

static fsmoe_status read_shape(const json_t *json, fsm_step_shape *s)
{
    if (!json_is_object(json)) return bad("shape", "is missing");
#define GET_INT(name)                                                                                     \
    if (!json_is_integer(json_object_get(json, #name))) return bad("shape." #name, "is no whole number"); \
    if (json_integer_value(json_object_get(json, #name)) < 0 ||                                           \
        json_integer_value(json_object_get(json, #name)) > MOST)                                          \
        return bad("shape." #name, "is no count");                                                        \
    s->name = json_integer_value(json_object_get(json, #name));
#define GET_RARE(name)                  \
    if (json_object_get(json, #name)) { \
        GET_INT(name)                   \
    }
    SHAPE_INTS(GET_INT)
    SHAPE_RARE_INTS(GET_RARE)
#undef GET_RARE
#undef GET_INT
    if (!json_is_number(json_object_get(json, "rows"))) return bad("shape.rows", "is no number");
    s->rows = json_number_value(json_object_get(json, "rows"));
    if (s->num_layers < 0 || s->num_layers > 1 << 20 || s->moe_every < 1 || s->micro_batches < 1 || s->nominal_rows < 1)
        return bad("shape", "has counts that no step has");
    if (s->expert_gemms > MOST_GEMMS || s->shared_gemms > MOST_GEMMS || s->order_gemms > MOST_GEMMS)
        return bad("shape", "has more GEMMs than any task");
    FSM_TRY(read_parts(json, s));
    FSM_TRY(read_memory(json, &s->memory));
    FSM_TRY(read_groups(json, s));
    FSM_TRY(read_regions(json, s));
    return read_gradients(json, s);
}

/* ---- times and certificate ---- */

static json_t *numbers(const double *values, int n, bool *failed)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) fsm_json_append(list, json_real(values[i]), failed);
    return list;
}

static fsmoe_status read_numbers(const json_t *root, const char *key, int n, double **values)
{
    const json_t *list = json_object_get(root, key);
    if (!json_is_array(list) || json_array_size(list) != (size_t)n) return bad(key, "is not a list of a number a task");
    *values = malloc(sizeof **values * ((size_t)n + 1));
    if (!*values) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory for the times of %d tasks", n);
    for (int i = 0; i < n; i++) {
        if (!json_is_number(json_array_get(list, (size_t)i))) return bad(key, "holds something else than numbers");
        (*values)[i] = json_number_value(json_array_get(list, (size_t)i));
    }
    return FSMOE_OK;
}

static json_t *bound_json(const fsm_bound *bound, bool *failed)
{
    json_t *json = json_object();
    fsm_json_set(json, "seconds", json_real(bound->seconds), failed);
    fsm_json_set(json, "binding", json_string(bound->binding), failed);
    return json;
}

static fsmoe_status read_bound(const json_t *certificate, const char *key, fsm_bound *bound)
{
    static const char *const names[] = {"path", "compute", "intra", "inter"};
    const char *binding;
    if (json_unpack(json_object_get(certificate, key), "{s:F, s:s}", "seconds", &bound->seconds, "binding", &binding) !=
        0)
        return bad(key, "is no bound of the certificate");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(binding, names[i]) == 0) bound->binding = names[i];
    return bound->binding ? FSMOE_OK : bad(key, "names nothing that binds");
}

/* The gap follows from the rest, so that it is not kept, only compared. */
static fsmoe_status read_gap(const json_t *certificate, const fsm_plan *p)
{
    const json_t *gap = json_object_get(certificate, "gap");
    double expected = fsm_gap(p->certificate.makespan_s, p->certificate.bound.seconds);
    if (!json_is_number(gap)) return bad("certificate.gap", "is missing");
    if (fabs(json_number_value(gap) - expected) <= 1e-9 * (1 + fabs(expected))) return FSMOE_OK;
    return bad("certificate.gap", "is not makespan_s / bound - 1");
}

static json_t *loads_json(const fsm_certificate *c, bool *failed)
{
    json_t *json = json_object();
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++)
        fsm_json_set(json, fsm_resource_name((fsm_resource)r), json_real(c->load_s[r]), failed);
    return json;
}

static fsmoe_status read_loads(const json_t *certificate, fsm_certificate *c)
{
    const json_t *loads = json_object_get(certificate, "load_s");
    for (int r = 0; r < FSM_RESOURCE_COUNT; r++) {
        const json_t *load = json_object_get(loads, fsm_resource_name((fsm_resource)r));
        if (!json_is_number(load) || json_number_value(load) < 0)
            return bad("certificate.load_s", "does not say the load of each resource");
        c->load_s[r] = json_number_value(load);
    }
    return FSMOE_OK;
}

/* ---- the file ---- */

static json_t *certificate_json(const fsm_certificate *c, bool *failed)
{
    json_t *json = json_object();
    fsm_json_set(json, "makespan_s", json_real(c->makespan_s), failed);
    fsm_json_set(json, "bound", bound_json(&c->bound, failed), failed);
    fsm_json_set(json, "order_bound", bound_json(&c->order_bound, failed), failed);
    fsm_json_set(json, "gap", json_real(fsm_gap(c->makespan_s, c->bound.seconds)), failed);
    fsm_json_set(json, "load_s", loads_json(c, failed), failed);
    return json;
}

static json_t *plan_json(const fsm_plan *p, const char *cluster, bool *failed)
{
    json_error_t why;
    json_t *root = json_object();
    fsm_json_set(root, "format", json_string(FORMAT), failed);
    fsm_json_set(root, "version", json_integer(VERSION), failed);
    fsm_json_set(root, "schedule", json_string(p->schedule), failed);
    fsm_json_set(root, "split", json_boolean(p->freedom.split), failed);
    fsm_json_set(root, "one_stream", json_boolean(p->freedom.one_stream), failed);
    if (p->freedom.lanes) fsm_json_set(root, "lanes", json_true(), failed);
    fsm_json_set(root, "shape", shape_json(&p->shape, failed), failed);
    fsm_json_set(root, "cluster", fsm_json_decode(cluster, strlen(cluster), 0, &why), failed);
    fsm_json_set(root, "graph", fsm_graph_json(&p->graph, failed), failed);
    fsm_json_set(root, "seconds", numbers(p->seconds, p->graph.count, failed), failed);
    fsm_json_set(root, "start_s", numbers(p->timeline.start_s, p->graph.count, failed), failed);
    fsm_json_set(root, "end_s", numbers(p->timeline.end_s, p->graph.count, failed), failed);
    fsm_json_set(root, "certificate", certificate_json(&p->certificate, failed), failed);
    return root;
}

fsmoe_status fsm_plan_write(const fsm_plan *plan, const fsm_cluster *cluster, const char *path)
{
    char *costs = NULL;
    bool failed = false;
    FSM_TRY(fsm_cluster_to_json(cluster, &costs));
    json_t *root = plan_json(plan, costs, &failed);
    free(costs);
    return fsm_json_write(root, failed, JSON_INDENT(1) | JSON_REAL_PRECISION(17), path);
}

static fsmoe_status read_cluster(const json_t *root, fsm_cluster *cluster)
{
    json_t *json = json_object_get(root, "cluster");
    char *text;
    if (!json) return bad("cluster", "is missing");
    FSM_TRY(fsm_json_text(json_incref(json), false, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17), "cluster", &text));
    fsmoe_status status = fsm_cluster_from_json(text, "cluster", cluster);
    free(text);
    return status;
}

static fsmoe_status read_plan(const json_t *root, fsm_plan *p, fsm_cluster *cluster)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    const char *schedule = json_string_value(json_object_get(root, "schedule"));
    const json_t *certificate = json_object_get(root, "certificate");
    if (!format || strcmp(format, FORMAT) != 0) return bad("format", "is not \"" FORMAT "\"");
    if (json_integer_value(json_object_get(root, "version")) != VERSION) return bad("version", "is not 1");
    if (!schedule || strlen(schedule) >= sizeof p->schedule) return bad("schedule", "is no schedule's name");
    strcpy(p->schedule, schedule);
    if (!json_is_boolean(json_object_get(root, "split"))) return bad("split", "is not true or false");
    if (!json_is_boolean(json_object_get(root, "one_stream"))) return bad("one_stream", "is not true or false");
    p->freedom.split = json_is_true(json_object_get(root, "split"));
    p->freedom.one_stream = json_is_true(json_object_get(root, "one_stream"));
    p->freedom.lanes = json_is_true(json_object_get(root, "lanes"));
    FSM_TRY(read_shape(json_object_get(root, "shape"), &p->shape));
    FSM_TRY(fsm_graph_of_json(json_object_get(root, "graph"), &p->graph));
    FSM_TRY(read_numbers(root, "seconds", p->graph.count, &p->seconds));
    FSM_TRY(read_numbers(root, "start_s", p->graph.count, &p->timeline.start_s));
    FSM_TRY(read_numbers(root, "end_s", p->graph.count, &p->timeline.end_s));
    if (!json_is_number(json_object_get(certificate, "makespan_s"))) return bad("certificate.makespan_s", "is missing");
    p->certificate.makespan_s = json_number_value(json_object_get(certificate, "makespan_s"));
    p->timeline.makespan_s = p->certificate.makespan_s;
    FSM_TRY(read_bound(certificate, "bound", &p->certificate.bound));
    FSM_TRY(read_bound(certificate, "order_bound", &p->certificate.order_bound));
    FSM_TRY(read_gap(certificate, p));
    FSM_TRY(read_loads(certificate, &p->certificate));
    FSM_TRY(fsm_plan_count_degrees(p));
    return read_cluster(root, cluster);
}

fsmoe_status fsm_plan_read(const char *path, fsm_plan *plan, fsm_cluster *cluster)
{
    json_t *root;
    *plan = (fsm_plan){0};
    *cluster = (fsm_cluster){0};
    FSM_TRY(fsm_json_read(path, &root));
    fsmoe_status status = read_plan(root, plan, cluster);
    json_decref(root);
    if (status == FSMOE_OK) return status;
    fsm_plan_destroy(plan);
    return fsm_fail_within(status, "plan '%s'", path);
}
