/* What the fuzzers of parsers share.
 * In:  the bytes that libFuzzer, or replay.c, hands to LLVMFuzzerTestOneInput.
 * Out: the bytes as a file that lives in memory, as a file of a folder in memory, as text; and FUZZ_CLAIM, which ends
 *      the program when an oracle is contradicted, so that libFuzzer keeps the input.
 */
#ifndef FSM_FUZZ_H
#define FSM_FUZZ_H

#include "base/file.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CLAIM(holds)                                                                            \
    do {                                                                                             \
        if (!(holds)) {                                                                              \
            fprintf(stderr, "%s:%d: %s does not hold; last error: %s\n", __FILE__, __LINE__, #holds, \
                    fsmoe_last_error());                                                             \
            abort();                                                                                 \
        }                                                                                            \
    } while (0)

enum { FUZZ_FILES = 2, FUZZ_PATH_BYTES = 256 };

static inline void fuzz_write(int fd, const void *data, size_t size)
{
    FUZZ_CLAIM(ftruncate(fd, (off_t)size) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
}

/* The path of a file that holds the bytes, until the next call for the same slot. No disk is touched. */
static inline const char *fuzz_file(int slot, const void *data, size_t size)
{
    static int fds[FUZZ_FILES];
    static char paths[FUZZ_FILES][FUZZ_PATH_BYTES];
    if (!paths[slot][0]) {
        fds[slot] = memfd_create("fuzz", MFD_CLOEXEC);
        FUZZ_CLAIM(fds[slot] >= 0);
        snprintf(paths[slot], sizeof paths[slot], "/proc/self/fd/%d", fds[slot]);
    }
    fuzz_write(fds[slot], data, size);
    return paths[slot];
}

static char fuzz_folder_path[FUZZ_PATH_BYTES];

static inline void fuzz_remove_folder(void)
{
    fsm_file_remove_tree(fuzz_folder_path);
}

/* A folder of the process, below $FUZZ_FOLDER, else in memory where there is /dev/shm; gone at its end, if it ends
 * well. */
static inline const char *fuzz_folder(void)
{
    const char *above = getenv("FUZZ_FOLDER");
    if (fuzz_folder_path[0]) return fuzz_folder_path;
    if (!above) above = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(fuzz_folder_path, sizeof fuzz_folder_path, "%s/fsmoe-fuzz-XXXXXX", above);
    FUZZ_CLAIM(mkdtemp(fuzz_folder_path));
    atexit(fuzz_remove_folder);
    return fuzz_folder_path;
}

/* The path of "name" of that folder, in static memory. */
static inline const char *fuzz_path(const char *name)
{
    static char path[2 * FUZZ_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    return path;
}

/* Puts the bytes into "name" of that folder. */
static inline const char *fuzz_file_in_folder(const char *name, const void *data, size_t size)
{
    const char *path = fuzz_path(name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    FUZZ_CLAIM(fd >= 0);
    fuzz_write(fd, data, size);
    close(fd);
    return path;
}

/* The bytes with a 0 behind them; the caller frees. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    FUZZ_CLAIM(text);
    memcpy(text, data, size);
    text[size] = 0;
    return text;
}

/* Takes one byte off the front, a choice that is not the parser's; 0 when there is none. */
static inline uint8_t fuzz_take(const uint8_t **data, size_t *size)
{
    if (*size == 0) return 0;
    --*size;
    return *(*data)++;
}

/* Two parts of one input, cut at the first byte 0xFF, which no UTF-8 has; without one the second is empty. */
static inline size_t fuzz_cut(const uint8_t *data, size_t size, const uint8_t **second, size_t *second_size)
{
    const uint8_t *cut = size ? memchr(data, 0xFF, size) : NULL;
    *second = cut ? cut + 1 : data + size;
    *second_size = cut ? (size_t)(data + size - *second) : 0;
    return cut ? (size_t)(cut - data) : size;
}

#endif
