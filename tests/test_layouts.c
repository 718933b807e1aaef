/* One process equals N ranks: loss, every gradient and the gradient norm, for every layout, cut and case below.
 * Run under mpirun -n 4 (fewer ranks: the layouts that fit). Rank 0 computes each case alone and compares. */
#include "comm/op.h"
#include "model/model_io.h"
#include "model_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static fsm_comm *world;

typedef struct layout {
    const char *name;
    int ranks, nodes, ep, esp, mp;
    int forward_degree, backward_degree;
    const char *schedule; /* planned from the costs below; NULL: in order, with these degrees */
} layout;

static const layout alone = {"alone", 1, 1, 1, 1, 1, 1, 1, NULL};
static const layout layouts[] = {
    {"one process, 3 and 2 chunks", 1, 1, 1, 1, 1, 3, 2, NULL},
    {"DP2", 2, 1, 1, 1, 1, 1, 1, NULL},
    {"EP2", 2, 2, 2, 1, 1, 1, 1, NULL},
    {"ESP2", 2, 1, 1, 2, 1, 1, 1, NULL},
    {"MP2", 2, 1, 1, 1, 2, 1, 1, NULL},
    {"EP2 MP2", 2, 1, 2, 1, 2, 2, 3, NULL},
    {"ESP2 MP2", 2, 1, 1, 2, 2, 1, 1, NULL},
    {"EP2 x ESP2 = MP2", 4, 2, 2, 2, 2, 1, 1, NULL},
    {"EP2 x ESP2 = MP2, 2 and 3 chunks", 4, 2, 2, 2, 2, 2, 3, NULL},
    {"EP2 x ESP2, no MP", 4, 2, 2, 2, 1, 4, 1, NULL},
    {"EP2 x DP2, expert-DP 2", 4, 2, 2, 1, 1, 1, 1, NULL},
    {"ESP2 MP2, expert-DP 2", 4, 2, 1, 2, 2, 1, 2, NULL},
    {"EP4", 4, 4, 4, 1, 1, 3, 3, NULL},
    {"ESP4", 4, 1, 1, 4, 2, 1, 1, NULL},
    {"EP4 MP2", 4, 2, 4, 1, 2, 1, 1, NULL},
    {"tutel", 4, 2, 2, 2, 2, 0, 0, "tutel"},
    {"tutel-improved", 4, 2, 2, 2, 2, 0, 0, "tutel-improved"},
    {"pipemoe-lina", 4, 2, 2, 2, 2, 0, 0, "pipemoe-lina"},
    {"fsmoe-no-iio", 4, 2, 2, 2, 2, 0, 0, "fsmoe-no-iio"},
    {"fsmoe", 4, 2, 2, 2, 2, 0, 0, "fsmoe"},
    {"fsmoe-x", 4, 2, 2, 2, 2, 0, 0, "fsmoe-x"},
    {"fsmoe-x, no MP", 4, 2, 2, 2, 1, 0, 0, "fsmoe-x"},
    {"fsmoe-x, expert-DP 2", 4, 2, 2, 1, 1, 0, 0, "fsmoe-x"},
    {"fsmoe-x, one node", 4, 1, 2, 2, 2, 0, 0, "fsmoe-x"},
    {"fsmoe-x, DP alone", 2, 2, 1, 1, 1, 0, 0, "fsmoe-x"},
    {"fsmoe-x, one process", 1, 1, 1, 1, 1, 0, 0, "fsmoe-x"},
};

enum { COUNT_LAYOUTS = sizeof layouts / sizeof *layouts };

#define TINY                                                                                                  \
    "model.hidden=32", "model.ffn_hidden=48", "model.num_layers=2", "model.num_heads=4", "moe.num_experts=4", \
        "data.seq_len=16", "moe.z_loss_coeff=0.01", "moe.aux_loss_coeff=0.05", "model.vocab_size=256"

/* The outcome of one step on one layout. */
typedef struct outcome {
    double loss, aux, z, dropped, grad_norm;
} outcome;

static fsmoe_config *configure(const char *const *settings, const layout *l)
{
    const char *all[64];
    char parallel[5][64];
    int n = 0;
    for (; settings[n]; n++) all[n] = settings[n];
    snprintf(parallel[0], 64, "parallel.nodes=%d", l->nodes);
    snprintf(parallel[1], 64, "parallel.ep_size=%d", l->ep);
    snprintf(parallel[2], 64, "parallel.esp_size=%d", l->esp);
    snprintf(parallel[3], 64, "parallel.mp_size=%d", l->mp);
    snprintf(parallel[4], 64, "parallel.ranks_per_node=%d", l->ranks / l->nodes);
    for (int i = 0; i < 5; i++) all[n++] = parallel[i];
    all[n] = NULL;
    return model_case_config(all);
}

/* Links and experts that balance with next to no alpha: many chunks, and gradients in several pieces. */
static fsm_cluster balanced_costs(void)
{
    static const double beta_s[FSM_COST_OP_COUNT] = {1e-9, 1e-7, 5e-8, 5e-8, 1e-7};
    fsm_cluster cluster = {.name = "balanced"};
    for (int op = 0; op < FSM_COST_OP_COUNT; op++) cluster.op[op].cost.line[0] = (fsm_line){1e-8, beta_s[op]};
    return cluster;
}

static int count_tasks(const fsm_graph *graph, fsm_task_kind kind)
{
    int n = 0;
    for (int i = 0; i < graph->count; i++) n += graph->tasks[i].kind == kind;
    return n;
}

static void use_layout(fsm_stepper *s, const layout *l)
{
    fsm_step_shape shape;
    fsm_graph graph;
    fsm_cluster costs = balanced_costs();
    assert_int_equal(fsm_stepper_shape(s, &shape), FSMOE_OK);
    if (l->schedule) assert_int_equal(fsm_schedule_find(l->schedule)->build(&shape, &costs, &graph), FSMOE_OK);
    else assert_int_equal(fsm_schedule_in_order(&shape, l->forward_degree, l->backward_degree, &graph), FSMOE_OK);
    if (l->schedule && l->ranks == 4 && !s->config->parallel.canonical_sums) { /* else there would be nothing to see */
        assert_true(count_tasks(&graph, FSM_TASK_EXPERT) >
                    2 * shape.num_layers / shape.moe_every * shape.micro_batches);
        if (strncmp(l->schedule, "fsmoe", 5) == 0) assert_true(count_tasks(&graph, FSM_TASK_ALLREDUCE) > 2);
    }
    fsm_step_shape_destroy(&shape);
    fsm_stepper_use_graph(s, graph);
}

/* One training step of a case on the ranks of `part`; the gradients go to a file as whole tensors. */
static fsmoe_status run_case(const char *const *settings, const layout *l, fsm_comm *part, const fsmoe_tokens *tokens,
                             const char *path, outcome *out)
{
    fsmoe_config *config = configure(settings, l);
    int dp = l->ranks / l->mp;
    fsm_model_options options = {.max_samples = fsm_batches_share(config->train.micro_batch, dp), .training = true};
    fsm_stepper s;
    fsm_batches batches = {0};
    uint64_t hash;
    FSM_TRY(fsm_stepper_create(config, part, &options, &s));
    use_layout(&s, l);
    model_case_randomize(&s.model->params, 0.25f, s.model->values);
    fsm_model_update_weights(s.model);
    FSM_TRY(fsm_batches_create(tokens, config->data.seq_len, 3, true, config->train.micro_batch, &s.topo, &batches));
    FSM_TRY(fsm_stepper_train(&s, &batches, 2));
    fsm_model_sums sums = fsm_model_loss_sums(s.model, s.model->step_sums);
    *out = (outcome){sums.loss / sums.tokens, s.model->step_aux, s.model->step_z, 0, s.optimizer.grad_norm};
    for (int i = 0; i < s.model->moe_layers; i++)
        out->dropped += *fsm_model_gate_sums(s.model, s.model->step_sums, i).dropped;
    const fsm_named_array grads = {"", s.model->grads, s.ops};
    FSM_TRY(fsm_model_write(&s.model->params, &s.topo, part, &grads, 1, path, &hash));
    fsm_batches_destroy(&batches);
    fsm_stepper_destroy(&s);
    fsmoe_config_destroy(config);
    return FSMOE_OK;
}

static bool close_to(const char *what, double a, double b)
{
    if (fabs(a - b) <= 1e-5 * fabs(b) + 1e-9) return true;
    fprintf(stderr, "  %s: %.9g, alone %.9g\n", what, a, b);
    return false;
}

/* max |a - b| <= band max |b|, tensor by tensor */
static bool same_tensors(const char *a_path, const char *b_path, double band)
{
    fsm_safetensors *a, *b;
    bool same = true;
    assert_int_equal(fsm_safetensors_open(a_path, &a), FSMOE_OK);
    assert_int_equal(fsm_safetensors_open(b_path, &b), FSMOE_OK);
    assert_int_equal(fsm_safetensors_count(a), fsm_safetensors_count(b));
    for (size_t i = 0; i < fsm_safetensors_count(b); i++) {
        const fsm_tensor_info *ia = fsm_safetensors_find(a, fsm_safetensors_name(b, i));
        const fsm_tensor_info *ib = fsm_safetensors_find(b, fsm_safetensors_name(b, i));
        assert_non_null(ia);
        double worst = 0, largest = 0;
        for (size_t j = 0; j < ib->bytes / sizeof(float); j++) {
            float x, y;
            memcpy(&x, (const char *)ia->data + j * sizeof x, sizeof x);
            memcpy(&y, (const char *)ib->data + j * sizeof y, sizeof y);
            worst = fmax(worst, isnan(x) ? INFINITY : fabs((double)x - y));
            largest = fmax(largest, fabs((double)y));
        }
        if (worst > band * largest) {
            fprintf(stderr, "  gradient of %s: off by %.3g of %.3g\n", ib->name, worst, largest);
            same = false;
        }
    }
    fsm_safetensors_close(a);
    fsm_safetensors_close(b);
    return same;
}

static bool compare(const layout *l, const outcome *got, const outcome *want, const char *a, const char *b, double band)
{
    bool same = close_to("loss", got->loss, want->loss);
    same &= close_to("aux loss", got->aux, want->aux);
    same &= close_to("z-loss", got->z, want->z);
    same &= close_to("gradient norm", got->grad_norm, want->grad_norm);
    same &= close_to("dropped", got->dropped, want->dropped);
    same &= same_tensors(a, b, band);
    if (!same) fprintf(stderr, "%s differs from one process\n", l->name);
    return same;
}

/* All ranks must agree, or a failed assertion on one leaves the others waiting. */
static bool all_true(bool mine)
{
    double failures = !mine;
    assert_int_equal(fsm_comm_all_reduce_double(world, &failures, 1), FSMOE_OK);
    return failures == 0;
}

/* What a case must show beside agreement within `band`. */
typedef struct expectation {
    bool drops;     /* tokens are dropped */
    bool canonical; /* only layouts that canonical sums make bit for bit alike */
    double band;
} expectation;

/* Sums are canonical where each expert's rows meet on one rank group, no sum is over more than two shards and nothing
 * is cut into chunks. */
static bool is_canonical(const layout *l)
{
    /* plans see to it themselves */
    bool one_chunk = l->schedule || (l->forward_degree == 1 && l->backward_degree == 1);
    return l->ranks == l->ep * l->esp && l->esp <= 2 && l->mp <= 2 && one_chunk;
}

/* The text, and rank 0's files of gradients. */
typedef struct case_files {
    char folder[64], a[96], b[96];
    fsmoe_tokenizer *tokenizer;
    fsmoe_tokens *tokens;
} case_files;

static void open_files(case_files *f)
{
    const char *text = FSMOE_SOURCE_DIR "/data/austen/persuasion.txt";
    *f = (case_files){.folder = "/tmp/fsmoe-layouts-XXXXXX"};
    assert_int_equal(fsmoe_tokenizer_create("bytes", &f->tokenizer), FSMOE_OK);
    assert_int_equal(fsmoe_tokens_open(&text, 1, f->tokenizer, &f->tokens), FSMOE_OK);
    if (world->rank > 0) return;
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->a, sizeof f->a, "%s/a.safetensors", f->folder);
    snprintf(f->b, sizeof f->b, "%s/b.safetensors", f->folder);
}

static void close_files(case_files *f)
{
    fsmoe_tokens_close(f->tokens);
    fsmoe_tokenizer_destroy(f->tokenizer);
    if (world->rank > 0) return;
    unlink(f->a);
    unlink(f->b);
    rmdir(f->folder);
}

static void check_case_as(const char *const *settings, expectation expect)
{
    case_files f;
    fsm_comm *self;
    outcome want = {0}, got = {0};
    open_files(&f);
    if (world->rank == 0) {
        assert_int_equal(fsm_comm_create_self(&self), FSMOE_OK);
        assert_int_equal(run_case(settings, &alone, self, f.tokens, f.b, &want), FSMOE_OK);
        fsm_comm_destroy(self);
        if (expect.drops) assert_true(want.dropped > 0);
        assert_true(want.grad_norm > 0.01);
    }
    bool all_same = true;
    for (int i = 0; i < COUNT_LAYOUTS; i++) {
        const layout *l = &layouts[i];
        if (l->ranks > world->size || (expect.canonical && !is_canonical(l))) continue;
        fsm_comm *part;
        bool member = world->rank < l->ranks, same = true;
        assert_int_equal(world->control->split(world, member ? 0 : 1, &part), FSMOE_OK);
        if (member) {
            fsmoe_status status = run_case(settings, l, part, f.tokens, f.a, &got);
            if (status != FSMOE_OK) fprintf(stderr, "%s: %s\n", l->name, fsmoe_last_error());
            same = status == FSMOE_OK;
        }
        if (world->rank == 0 && same) same = compare(l, &got, &want, f.a, f.b, expect.band);
        all_same &= same;
        fsm_comm_destroy(part);
    }
    close_files(&f);
    assert_true(all_true(all_same));
}

static void check_case(const char *const *settings, bool must_drop)
{
    check_case_as(settings, (expectation){.drops = must_drop, .band = 1e-5});
}

static void test_layouts_canonical_sums_are_equal_bit_for_bit(void **state)
{
    (void)state;
    const char *const settings[] = {"model.hidden=96",
                                    "model.head_dim=32",
                                    "model.num_heads=4",
                                    "model.num_kv_heads=2",
                                    "model.ffn_hidden=256",
                                    "model.num_layers=2",
                                    "moe.num_experts=4",
                                    "data.seq_len=128",
                                    "train.global_batch=8",
                                    "model.vocab_size=256",
                                    "moe.z_loss_coeff=0.01",
                                    "parallel.canonical_sums=true",
                                    NULL};
    check_case_as(settings, (expectation){.canonical = true, .band = FSMOE_CANONICAL_BAND});
}

static void test_layouts_mixtral_dropless_agree(void **state)
{
    (void)state;
    const char *const settings[] = {TINY, "model.num_kv_heads=2", "train.global_batch=4", NULL};
    check_case(settings, false);
}

static void test_layouts_gpt2_with_drops_agree(void **state)
{
    (void)state;
    const char *const settings[] = {TINY,
                                    "model.family=gpt2",
                                    "moe.top_k=1",
                                    "moe.capacity_factor=1",
                                    "moe.capacity_group=8",
                                    "train.global_batch=4",
                                    NULL};
    check_case(settings, true);
}

static void test_layouts_gate_noise_agrees(void **state)
{
    (void)state;
    const char *const settings[] = {TINY,
                                    "moe.noisy=true",
                                    "moe.capacity_factor=1.25",
                                    "moe.capacity_group=16",
                                    "moe.order=sorted",
                                    "model.num_kv_heads=2",
                                    "train.global_batch=4",
                                    NULL};
    check_case(settings, true);
}

static void test_layouts_dense_layers_and_tied_embeddings_agree(void **state)
{
    (void)state;
    const char *const settings[] = {
        TINY, "model.moe_every=2", "model.tie_embeddings=true", "model.num_kv_heads=2", "train.global_batch=4", NULL};
    check_case(settings, false);
}

static void test_layouts_gpt2_dense_layers_agree(void **state)
{
    (void)state;
    const char *const settings[] = {
        TINY, "model.family=gpt2", "model.moe_every=2", "moe.order=tutel", "train.global_batch=4", NULL};
    check_case(settings, false);
}

static void test_layouts_experts_without_biases_agree(void **state)
{
    (void)state;
    const char *const settings[] = {TINY,
                                    "model.family=gpt2",
                                    "moe.bias=false",
                                    "moe.activation=relu_squared",
                                    "model.moe_every=2",
                                    "train.global_batch=4",
                                    NULL};
    check_case(settings, false);
}

static void test_layouts_rank_without_tokens_agrees(void **state)
{
    (void)state;
    const char *const settings[] = {TINY, "model.num_kv_heads=2", "train.global_batch=1", NULL};
    check_case(settings, false);
}

static void test_layouts_unequal_tokens_and_micro_batches_agree(void **state)
{
    (void)state;
    const char *const settings[] = {TINY, "model.family=gpt2", "train.global_batch=6", "train.micro_batch=3", NULL};
    check_case(settings, false);
}

/* By rank, the balancing loss is the mean of what each rank's tokens give. Four ranks with a sample each are then like
 * one process with a sample a micro-batch, and not like one with all four at once. */
static void test_layouts_loss_by_rank_is_that_of_micro_batches(void **state)
{
    (void)state;
    static const layout ranks = {"aux loss by rank", 4, 2, 2, 1, 1, 1, 1, NULL};
    const char *const by_rank[] = {TINY, "train.global_batch=4", "train.micro_batch=4", "moe.aux_loss_scope=rank",
                                   NULL};
    const char *const whole[] = {TINY, "train.global_batch=4", "train.micro_batch=4", NULL};
    const char *const single[] = {TINY, "train.global_batch=4", "train.micro_batch=1", NULL};
    if (world->size != 4) skip();
    case_files f;
    outcome got, want, together;
    fsm_comm *self;
    open_files(&f);
    assert_int_equal(run_case(by_rank, &ranks, world, f.tokens, f.a, &got), FSMOE_OK);
    bool good = true;
    if (world->rank == 0) {
        assert_int_equal(fsm_comm_create_self(&self), FSMOE_OK);
        assert_int_equal(run_case(whole, &alone, self, f.tokens, f.b, &together), FSMOE_OK);
        good = fabs(together.aux - got.aux) > 1e-3 * got.aux;
        assert_int_equal(run_case(single, &alone, self, f.tokens, f.b, &want), FSMOE_OK);
        good &= compare(&ranks, &got, &want, f.a, f.b, 1e-5);
        fsm_comm_destroy(self);
    }
    close_files(&f);
    assert_true(all_true(good));
}

int main(void)
{
    if (fsm_comm_create_world(&world) != FSMOE_OK) return 1;
    if (world->rank > 0 && !freopen("/dev/null", "w", stdout)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts_canonical_sums_are_equal_bit_for_bit),
        cmocka_unit_test(test_layouts_mixtral_dropless_agree),
        cmocka_unit_test(test_layouts_gpt2_with_drops_agree),
        cmocka_unit_test(test_layouts_gate_noise_agrees),
        cmocka_unit_test(test_layouts_dense_layers_and_tied_embeddings_agree),
        cmocka_unit_test(test_layouts_gpt2_dense_layers_agree),
        cmocka_unit_test(test_layouts_experts_without_biases_agree),
        cmocka_unit_test(test_layouts_rank_without_tokens_agrees),
        cmocka_unit_test(test_layouts_loss_by_rank_is_that_of_micro_batches),
        cmocka_unit_test(test_layouts_unequal_tokens_and_micro_batches_agree),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fsm_comm_destroy(world);
    return failed;
}
