/* Any damage of a checkpoint is found before anything of it is used, with the name of the damaged file: every single
 * bit and every length of a whole small one, and random bits of a larger one. `make test` takes every 61st of the small
 * one's; FSMOE_TEST_LONG all. */
#define _GNU_SOURCE
#include "command_case.h"

#include "train/checkpoint.h"

#include <sys/stat.h>

static const char *const files[] = {"checksums", "config.json", "model.safetensors", "optimizer.safetensors",
                                    "state.json"};
enum { FILES = sizeof files / sizeof *files, SMALL_BYTES = 64 * 1024, STRIDE = 61, RANDOM_FLIPS = 10000 };

/* A run of which checkpoint-1 is looked at. */
typedef struct subject {
    char run_dir[FSM_PATH_BYTES];
    fsm_run_id id;
} subject;

static subject make_subject(const command_case *c, const char *const *args)
{
    subject s;
    assert_works(run(c, args));
    path_in(c, "run", s.run_dir);
    char *lock = read_text(c, "run/run.lock", NULL);
    assert_int_equal(sscanf(lock, "run %32s", s.id.text), 1);
    free(lock);
    return s;
}

static int open_file(const subject *s, const char *name, off_t *size)
{
    char path[FSM_PATH_BYTES + 64];
    struct stat info;
    snprintf(path, sizeof path, "%s/checkpoint-1/%s", s->run_dir, name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &info) == 0);
    *size = info.st_size;
    return fd;
}

/* The damage is found, and the message names the file, or the seal where that is what contradicts. */
static void assert_found(const subject *s, const char *name, const char *what, int64_t at)
{
    char folder[FSM_PATH_BYTES];
    fsmoe_status status = fsm_checkpoint_choose(s->run_dir, NULL, &s->id, folder);
    if (status != FSMOE_ERROR_FORMAT && status != FSMOE_ERROR_IO)
        fail_msg("%s %lld of %s: status %d", what, (long long)at, name, (int)status);
    bool of_seal = strcmp(name, "checksums") == 0;
    if (!strstr(fsmoe_last_error(), of_seal ? "checkpoint-1/" : name))
        fail_msg("%s %lld of %s is called: %s", what, (long long)at, name, fsmoe_last_error());
}

static void flip(const subject *s, int fd, const char *name, int64_t bit)
{
    unsigned char byte, changed;
    assert_int_equal(pread(fd, &byte, 1, bit / 8), 1);
    changed = byte ^ (unsigned char)(1 << bit % 8);
    assert_int_equal(pwrite(fd, &changed, 1, bit / 8), 1);
    assert_found(s, name, "bit", bit);
    assert_int_equal(pwrite(fd, &byte, 1, bit / 8), 1);
}

static void assert_sound(const subject *s)
{
    char folder[FSM_PATH_BYTES];
    assert_int_equal(fsm_checkpoint_choose(s->run_dir, NULL, &s->id, folder), FSMOE_OK);
}

static int64_t stride(void)
{
    return getenv("FSMOE_TEST_LONG") ? 1 : STRIDE;
}

static subject make_small(const command_case *c)
{
    off_t size;
    int64_t total = 0;
    subject s = make_subject(c, ARGS("train", "config.yaml", "--set", "train.steps=1", "--set", "model.hidden=4",
                                     "--set", "model.ffn_hidden=4", "--set", "model.num_layers=1", "--set",
                                     "moe.num_experts=2", "--set", "model.moe_every=1", "--set", "data.valid=[]"));
    for (int i = 0; i < FILES; i++) close(open_file(&s, files[i], &size)), total += size;
    assert_true(total <= SMALL_BYTES);
    return s;
}

static void test_damage_of_any_single_bit_is_found(void **state)
{
    subject s = make_small(*state);
    for (int i = 0; i < FILES; i++) {
        off_t size;
        int fd = open_file(&s, files[i], &size);
        for (int64_t bit = 0; bit < 8 * size; bit += stride()) flip(&s, fd, files[i], bit);
        close(fd);
    }
    assert_sound(&s);
}

static void test_damage_of_any_length_is_found(void **state)
{
    subject s = make_small(*state);
    for (int i = 0; i < FILES; i++) {
        off_t size;
        int fd = open_file(&s, files[i], &size);
        char *bytes = malloc((size_t)size);
        assert_int_equal(pread(fd, bytes, (size_t)size, 0), size);
        for (int64_t length = 0; length < size; length += i == 0 ? 1 : stride()) {
            assert_int_equal(ftruncate(fd, length), 0);
            assert_found(&s, files[i], "length", length);
            assert_int_equal(pwrite(fd, bytes + length, (size_t)(size - length), length), size - length);
        }
        assert_int_equal(pwrite(fd, "", 1, size), 1); /* and one byte too many */
        assert_found(&s, files[i], "length", size + 1);
        assert_int_equal(ftruncate(fd, size), 0);
        free(bytes);
        close(fd);
    }
    assert_sound(&s);
}

/* Each file has its share of the flips; bits by a fixed linear congruence. */
static void test_damage_of_random_bits_of_a_larger_checkpoint_is_found(void **state)
{
    subject s =
        make_subject(*state, ARGS("train", "config.yaml", "--set", "train.steps=1", "--set", "model.hidden=32"));
    uint64_t random = 1;
    int flips = RANDOM_FLIPS / (getenv("FSMOE_TEST_LONG") ? 1 : 10);
    for (int i = 0; i < flips; i++) {
        off_t size;
        const char *name = files[i % FILES];
        int fd = open_file(&s, name, &size);
        random = 6364136223846793005u * random + 1442695040888963407u;
        flip(&s, fd, name, (int64_t)((random >> 16) % (uint64_t)(8 * size)));
        close(fd);
    }
    assert_sound(&s);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, make_case, remove_case)
    const struct CMUnitTest tests[] = {
        CASE(test_damage_of_any_single_bit_is_found),
        CASE(test_damage_of_any_length_is_found),
        CASE(test_damage_of_random_bits_of_a_larger_checkpoint_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
