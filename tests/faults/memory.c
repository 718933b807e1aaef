/* Preloaded: the k-th allocation of fsmoe, or of a library that works for it, fails.
 * In:  FAULT_AT=k (0 or unset: none), FAULT_REPORT=file.
 * Out: that allocation is NULL with ENOMEM; at exit the report says "count N" (allocations seen), "fired 0|1", "by
 *      PLACE" (whose allocation failed), and "live PLACE" for each place with memory that nobody freed.
 * Counted are calls from the modules below, and those from the C library on their behalf (strdup, fopen, …), which are
 * told by walking the stack. MPI, OpenMP and oneDNN allocate undisturbed: what they do without memory is not fsmoe's to
 * mend.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *memory);

/* ---- whose call it is ---- */

enum { MOST_SPANS = 256, MOST_FRAMES = 24, MOST_LIVE = 1 << 18 };

typedef enum owner { OTHER, FSMOE, LIBC } owner;

typedef struct span {
    uintptr_t begin, end;
    owner owner;
} span;

static span spans[MOST_SPANS];
static int span_count;
static bool ready;
static long fail_at, seen;
static bool fired;
static void *fired_by;
static __thread int inside __attribute__((tls_model("initial-exec")));

static owner owner_of_module(const char *path, const void *here)
{
    static const char *const ours[] = {"/fsmoe",    "/libfsmoe",  "/libjansson", "/libyaml",
                                       "/libpcre2", "/libxxhash", "/libnlopt"};
    const char *name = strrchr(path, '/');
    Dl_info self;
    if (dladdr(here, &self) && strcmp(self.dli_fname, path) == 0) return LIBC;
    if (path[0] == 0) return FSMOE; /* the program */
    if (!name) return OTHER;
    if (strncmp(name, "/libc.so", 8) == 0 || strncmp(name, "/ld-linux", 9) == 0) return LIBC;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (strncmp(name, ours[i], strlen(ours[i])) == 0) return FSMOE;
    return OTHER;
}

static int add_module(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size, (void)unused;
    owner owner = owner_of_module(info->dlpi_name, (void *)owner_of_module);
    for (int i = 0; i < info->dlpi_phnum && span_count < MOST_SPANS; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X)) continue;
        uintptr_t begin = info->dlpi_addr + segment->p_vaddr;
        spans[span_count++] = (span){begin, begin + segment->p_memsz, owner};
    }
    return 0;
}

static owner owner_of(const void *address)
{
    uintptr_t at = (uintptr_t)address;
    for (int i = 0; i < span_count; i++)
        if (at >= spans[i].begin && at < spans[i].end) return spans[i].owner;
    return OTHER;
}

/* The place in fsmoe or its libraries that asks for memory; NULL: somebody else's. */
static void *place_of(void *caller)
{
    owner owner = owner_of(caller);
    if (owner != LIBC) return owner == FSMOE ? caller : NULL;
    void *frames[MOST_FRAMES];
    inside++;
    int count = backtrace(frames, MOST_FRAMES), i = 0;
    inside--;
    while (i < count && owner_of(frames[i]) == LIBC) i++;
    return i < count && owner_of(frames[i]) == FSMOE ? frames[i] : NULL;
}

/* ---- what is live ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    void *memory, *place;
} live[MOST_LIVE]; /* linear probing; a removed one keeps its slot with place NULL */

static size_t slot_of(const void *memory)
{
    return (size_t)(((uintptr_t)memory >> 4) * 0x9E3779B97F4A7C15u) % MOST_LIVE;
}

static void remember(void *memory, void *place)
{
    if (!memory || !place) return;
    pthread_mutex_lock(&lock);
    size_t i = slot_of(memory);
    while (live[i].memory && live[i].memory != memory && live[i].place) i = (i + 1) % MOST_LIVE;
    live[i].memory = memory;
    live[i].place = place;
    pthread_mutex_unlock(&lock);
}

static void forget(const void *memory)
{
    if (!memory || !ready) return;
    pthread_mutex_lock(&lock);
    for (size_t i = slot_of(memory); live[i].memory; i = (i + 1) % MOST_LIVE)
        if (live[i].memory == memory) live[i].place = NULL;
    pthread_mutex_unlock(&lock);
}

static bool fails(void *place)
{
    if (!place) return false;
    long number = __atomic_add_fetch(&seen, 1, __ATOMIC_RELAXED);
    if (number != fail_at) return false;
    fired = true;
    fired_by = place;
    errno = ENOMEM;
    return true;
}

/* ---- the calls ---- */

#define PLACE() (ready && !inside ? place_of(__builtin_return_address(0)) : NULL)

void *malloc(size_t bytes)
{
    void *place = PLACE();
    if (fails(place)) return NULL;
    void *memory = __libc_malloc(bytes);
    remember(memory, place);
    return memory;
}

void *calloc(size_t count, size_t bytes)
{
    void *place = PLACE();
    if (fails(place)) return NULL;
    void *memory = __libc_calloc(count, bytes);
    remember(memory, place);
    return memory;
}

void *realloc(void *old, size_t bytes)
{
    void *place = PLACE();
    if (fails(place)) return NULL;
    forget(old);
    void *memory = __libc_realloc(old, bytes);
    remember(memory, place);
    return memory;
}

void *memalign(size_t alignment, size_t bytes)
{
    void *place = PLACE();
    if (fails(place)) return NULL;
    void *memory = __libc_memalign(alignment, bytes);
    remember(memory, place);
    return memory;
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    void *place = PLACE();
    if (fails(place)) return NULL;
    void *memory = __libc_memalign(alignment, bytes);
    remember(memory, place);
    return memory;
}

int posix_memalign(void **memory, size_t alignment, size_t bytes)
{
    void *place = PLACE();
    if (fails(place)) return ENOMEM;
    *memory = __libc_memalign(alignment, bytes);
    remember(*memory, place);
    return *memory ? 0 : ENOMEM;
}

void free(void *memory)
{
    forget(memory);
    __libc_free(memory);
}

/* ---- begin and end ---- */

__attribute__((constructor)) static void begin(void)
{
    void *frames[1];
    const char *at = getenv("FAULT_AT");
    backtrace(frames, 1); /* loads what it needs */
    dl_iterate_phdr(add_module, NULL);
    fail_at = at ? strtol(at, NULL, 10) : 0;
    ready = getenv("FAULT_REPORT") != NULL;
}

static void print_place(int fd, const char *what, void *place)
{
    Dl_info info = {0};
    const char *name = dladdr(place, &info) && info.dli_fname ? strrchr(info.dli_fname, '/') : NULL;
    dprintf(fd, "%s %s+0x%lx %s\n", what, name ? name + 1 : "?",
            (unsigned long)((char *)place - (char *)info.dli_fbase), info.dli_sname ? info.dli_sname : "");
}

__attribute__((destructor)) static void end(void)
{
    if (!ready) return;
    inside++;
    int fd = open(getenv("FAULT_REPORT"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    dprintf(fd, "count %ld\nfired %d\n", seen, fired);
    if (fired) print_place(fd, "by", fired_by);
    for (size_t i = 0; i < MOST_LIVE; i++)
        if (live[i].place) print_place(fd, "live", live[i].place);
    close(fd);
    inside--;
}
