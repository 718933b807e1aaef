/* Counts the heap allocations that the program's own objects (the library, linked statically) make: malloc and its kin
 * are replaced by counters of calls from this executable; what oneDNN, OpenMP, MPI and the C library allocate inside is
 * theirs. Under a sanitizer, which replaces malloc itself, COUNTS_ALLOCATIONS is 0 and nothing is counted.
 * Include in one source of a test only.
 */
#ifndef FSM_TESTS_COUNT_ALLOCATIONS_H
#define FSM_TESTS_COUNT_ALLOCATIONS_H

#include <stdlib.h>

#if defined(__has_feature)
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || HAS_FEATURE(address_sanitizer) || \
    HAS_FEATURE(thread_sanitizer) || HAS_FEATURE(memory_sanitizer) || !defined(__GLIBC__)
#define COUNTS_ALLOCATIONS 0
#else
#define COUNTS_ALLOCATIONS 1
#endif

static volatile long n_allocations;

#if COUNTS_ALLOCATIONS
/* Inlined, one would see its caller's return address. */
#define NOINLINE __attribute__((noinline))

/* Where the linker put this program. */
extern const char __executable_start, etext;
extern void *__libc_malloc(size_t bytes), *__libc_calloc(size_t n, size_t bytes),
    *__libc_realloc(void *at, size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);

#define COUNT()                                                                                          \
    do {                                                                                                 \
        const char *caller_ = __builtin_return_address(0);                                               \
        if (caller_ >= &__executable_start && caller_ < &etext) __sync_fetch_and_add(&n_allocations, 1); \
    } while (0)

NOINLINE void *malloc(size_t bytes)
{
    COUNT();
    return __libc_malloc(bytes);
}

NOINLINE void *calloc(size_t n, size_t bytes)
{
    COUNT();
    return __libc_calloc(n, bytes);
}

NOINLINE void *realloc(void *at, size_t bytes)
{
    COUNT();
    return __libc_realloc(at, bytes);
}

NOINLINE void *aligned_alloc(size_t alignment, size_t bytes)
{
    COUNT();
    return __libc_memalign(alignment, bytes);
}

NOINLINE int posix_memalign(void **at, size_t alignment, size_t bytes)
{
    COUNT();
    *at = __libc_memalign(alignment, bytes);
    return *at ? 0 : 12;
}
#endif

#endif
