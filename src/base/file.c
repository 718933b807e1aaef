#define _GNU_SOURCE
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

fsmoe_status fsm_file_failed(const char *verb, const char *path)
{
    return fsm_fail(FSMOE_ERROR_IO, "cannot %s '%s': %s", verb, path, strerror(errno));
}

int fsm_file_open(const char *path, int flags)
{
    int fd;
    do fd = open(path, flags | O_CLOEXEC, 0666);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/* A file that cannot tell its size (a pipe, /proc) is read to its end into memory that can be unmapped like a map. */
static fsmoe_status read_stream(int fd, const char *path, fsm_file_map *map)
{
    size_t size = 0, capacity = (size_t)1 << 16;
    ssize_t n = 0;
    char *bytes = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    while (bytes != MAP_FAILED && ((n = read(fd, bytes + size, capacity - size)) > 0 || (n < 0 && errno == EINTR))) {
        if (n > 0) size += (size_t)n;
        if (size < capacity) continue;
        char *grown = mremap(bytes, capacity, 2 * capacity, MREMAP_MAYMOVE);
        if (grown == MAP_FAILED) munmap(bytes, capacity);
        bytes = grown;
        capacity *= 2;
    }
    if (bytes == MAP_FAILED) return fsm_fail(FSMOE_ERROR_MEMORY, "no memory to read '%s'", path);
    if (n < 0) {
        fsmoe_status status = fsm_file_failed("read", path);
        munmap(bytes, capacity);
        return status;
    }
    size_t page = (size_t)sysconf(_SC_PAGESIZE), used = (size + page - 1) / page * page;
    if (used < capacity) munmap(bytes + used, capacity - used);
    if (size > 0) *map = (fsm_file_map){bytes, size, false};
    return FSMOE_OK;
}

static fsmoe_status map_regular(int fd, const char *path, size_t size, fsm_file_map *map)
{
    void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED) return fsm_file_failed("map", path);
    *map = (fsm_file_map){bytes, size, true};
    return FSMOE_OK;
}

fsmoe_status fsm_file_map_open(const char *path, fsm_file_map *map)
{
    *map = (fsm_file_map){0};
    struct stat info;
    int fd = fsm_file_open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &info) != 0) {
        fsmoe_status status = fsm_file_failed("read", path);
        if (fd >= 0) close(fd);
        return status;
    }
    fsmoe_status status;
    if (S_ISDIR(info.st_mode)) status = fsm_fail(FSMOE_ERROR_IO, "cannot read '%s': it is a folder", path);
    else if (S_ISREG(info.st_mode) && info.st_size > 0) status = map_regular(fd, path, (size_t)info.st_size, map);
    else status = read_stream(fd, path, map);
    close(fd);
    return status;
}

void fsm_file_map_forget(const fsm_file_map *map, size_t first, size_t bytes)
{
    if (map->of_file) madvise((char *)map->bytes + first, bytes, MADV_DONTNEED); /* nothing is lost if it fails */
}

void fsm_file_map_close(fsm_file_map *map)
{
    if (map->bytes) munmap((void *)map->bytes, map->size);
    *map = (fsm_file_map){0};
}

fsmoe_status fsm_file_read(const char *path, char **bytes, size_t *size)
{
    fsm_file_map map;
    FSM_TRY(fsm_file_map_open(path, &map));
    *bytes = malloc(map.size + 1);
    if (*bytes) {
        if (map.size) memcpy(*bytes, map.bytes, map.size);
        (*bytes)[map.size] = 0;
        *size = map.size;
    }
    fsm_file_map_close(&map);
    return *bytes ? FSMOE_OK : fsm_fail(FSMOE_ERROR_MEMORY, "no memory to read '%s'", path);
}

/* A folder that cannot be synced on its own (EINVAL) has nothing to sync. */
fsmoe_status fsm_file_sync(const char *path)
{
    int failed, fd = fsm_file_open(path, O_RDONLY);
    if (fd < 0) return fsm_file_failed("open", path);
    do failed = fsync(fd);
    while (failed && errno == EINTR);
    fsmoe_status status = failed && errno != EINVAL ? fsm_file_failed("sync", path) : FSMOE_OK;
    close(fd);
    return status;
}

void fsm_file_parent(const char *path, char folder[FSM_PATH_BYTES])
{
    snprintf(folder, FSM_PATH_BYTES, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder ? 1 : 0] = 0;
    else strcpy(folder, ".");
}

fsmoe_status fsm_file_make_dirs(const char *path)
{
    char partial[FSM_PATH_BYTES];
    if (snprintf(partial, sizeof partial, "%s", path) >= (int)sizeof partial)
        return fsm_fail(FSMOE_ERROR_IO, "path too long: '%s'", path);
    for (char *at = partial + 1; *at; at++) {
        if (*at != '/') continue;
        *at = 0;
        if (mkdir(partial, 0777) != 0 && errno != EEXIST) return fsm_file_failed("make folder", partial);
        *at = '/';
    }
    struct stat info;
    if (mkdir(partial, 0777) == 0) return FSMOE_OK;
    if (errno != EEXIST) return fsm_file_failed("make folder", path);
    if (stat(partial, &info) != 0 || !S_ISDIR(info.st_mode))
        return fsm_fail(FSMOE_ERROR_IO, "cannot make folder '%s': a file of that name is in the way", path);
    return FSMOE_OK;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info, (void)type, (void)walk;
    return remove(path);
}

fsmoe_status fsm_file_remove_tree(const char *path)
{
    if (!fsm_file_exists(path)) return FSMOE_OK;
    return nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0 ? FSMOE_OK : fsm_file_failed("remove", path);
}

bool fsm_file_exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

fsmoe_status fsm_file_path(const char *folder, const char *name, char path[FSM_PATH_BYTES])
{
    if (snprintf(path, FSM_PATH_BYTES, "%s/%s", folder, name) < FSM_PATH_BYTES) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_IO, "path too long: '%s/%s'", folder, name);
}

char *fsm_file_join(const char *folder, const char *name)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}
