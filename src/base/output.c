#define _GNU_SOURCE
#define XXH_INLINE_ALL
#include "base/output.h"

#include <errno.h>
#include <fcntl.h>
#include <fsmoe/output.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { MOST_LINKS = 40, MOST_TEMPORARIES = 100, MOST_NAME_BYTES = 200, PIECE_BYTES = 1 << 16 };

/* ---- what a path stands for ---- */

/* The number of the descriptor that a path names, or -1: such a link leads to what is open, which may have no name. */
static int descriptor_of(const char *path)
{
    char own[64], rest;
    int fd = -1;
    snprintf(own, sizeof own, "/proc/%ld/fd/%%d%%c", (long)getpid());
    const char *const forms[] = {"/dev/fd/%d%c", "/proc/self/fd/%d%c", "/proc/thread-self/fd/%d%c", own};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (sscanf(path, forms[i], &fd, &rest) == 1 && fd >= 0) return fd;
    return -1;
}

static fsmoe_status too_long(const char *path)
{
    return fsm_fail(FSMOE_ERROR_IO, "path too long: '%s'", path);
}

/* One link further: `link` begins at the root, or at the folder of `target`. */
static bool step(char target[FSM_PATH_BYTES], const char *link)
{
    char next[FSM_PATH_BYTES];
    const char *slash = link[0] == '/' ? NULL : strrchr(target, '/');
    int length = slash ? (int)(slash + 1 - target) : 0;
    if (snprintf(next, sizeof next, "%.*s%s", length, target, link) >= (int)sizeof next) return false;
    memcpy(target, next, sizeof next);
    return true;
}

/* Behind all links, the last of which may lead to what does not exist yet. */
static fsmoe_status follow(const char *path, char target[FSM_PATH_BYTES])
{
    char link[FSM_PATH_BYTES];
    if (snprintf(target, FSM_PATH_BYTES, "%s", path) >= FSM_PATH_BYTES) return too_long(path);
    errno = ENOENT;
    if (!path[0]) return fsm_file_failed("write", path);
    for (int i = 0; i < MOST_LINKS; i++) {
        if (descriptor_of(target) >= 0) return FSMOE_OK;
        ssize_t length = readlink(target, link, sizeof link - 1);
        if (length < 0) return errno == EINVAL || errno == ENOENT ? FSMOE_OK : fsm_file_failed("write", path);
        link[length] = 0;
        if (!step(target, link)) return too_long(path);
    }
    errno = ELOOP;
    return fsm_file_failed("write", path);
}

/* Whether the target is replaced rather than written to; a folder is an error. */
static fsmoe_status is_replaced(const char *path, const char *target, bool *replaced)
{
    struct stat info;
    *replaced = descriptor_of(target) < 0;
    if (!*replaced) return FSMOE_OK;
    if (stat(target, &info) != 0) return errno == ENOENT ? FSMOE_OK : fsm_file_failed("write", path);
    if (S_ISDIR(info.st_mode)) return fsm_fail(FSMOE_ERROR_IO, "cannot write '%s': it is a folder", path);
    *replaced = S_ISREG(info.st_mode);
    return FSMOE_OK;
}

fsmoe_status fsm_file_can_write(const char *path)
{
    char target[FSM_PATH_BYTES], folder[FSM_PATH_BYTES];
    bool replaced, may;
    FSM_TRY(follow(path, target));
    FSM_TRY(is_replaced(path, target, &replaced));
    int fd = descriptor_of(target);
    if (fd >= 0) {
        int flags = fcntl(fd, F_GETFL);
        may = flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
        if (flags >= 0 && !may) errno = EBADF;
    } else {
        fsm_file_parent(target, folder);
        may = access(replaced ? folder : target, replaced ? W_OK | X_OK : W_OK) == 0;
    }
    return may ? FSMOE_OK : fsm_file_failed("write", path);
}

fsmoe_status fsmoe_can_write(const char *path)
{
    return fsm_file_can_write(path);
}

/* ---- the temporary file ---- */

/* "folder/name.tmp-fsmoe", then "name.tmp-fsmoe-1" …: names that nobody else gives. */
static fsmoe_status name_temporary(fsm_output *output, int number)
{
    const char *slash = strrchr(output->target, '/'), *name = slash ? slash + 1 : output->target;
    char count[16] = "";
    if (number > 0) snprintf(count, sizeof count, "-%d", number);
    int length = snprintf(output->temporary, sizeof output->temporary, "%.*s%.*s.tmp-fsmoe%s",
                          (int)(name - output->target), output->target, MOST_NAME_BYTES, name, count);
    return length < (int)sizeof output->temporary ? FSMOE_OK : too_long(output->path);
}

static bool has_name(int fd, const char *path)
{
    struct stat open_file, named;
    return fstat(fd, &open_file) == 0 && lstat(path, &named) == 0 && open_file.st_dev == named.st_dev &&
           open_file.st_ino == named.st_ino;
}

/* Whoever writes a temporary file holds a lock on it, so one that can be locked was left by a process that was
 * killed. */
static bool remove_left_over(const char *path)
{
    struct stat info;
    int fd = fsm_file_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    bool removed = fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == geteuid() &&
                   flock(fd, LOCK_EX | LOCK_NB) == 0 && has_name(fd, path) && unlink(path) == 0;
    if (fd >= 0) close(fd);
    return removed;
}

/* Locks a new file; false: somebody was quicker, and takes it for one left over. Some file systems have no locks; there
 * what was left over stays. */
static bool is_owned(int fd)
{
    struct stat info;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return false;
    return fstat(fd, &info) != 0 || info.st_nlink > 0;
}

static int create(const char *path)
{
    enum { FLAGS = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW };
    int fd = fsm_file_open(path, FLAGS);
    if (fd < 0 && errno != EEXIST) return -1;
    if (fd < 0 && remove_left_over(path)) fd = fsm_file_open(path, FLAGS);
    if (fd >= 0 && is_owned(fd)) return fd;
    if (fd >= 0) close(fd);
    errno = EEXIST;
    return -1;
}

/* Who may read the old file may read the new one, and nobody else. */
static fsmoe_status keep_mode(const fsm_output *output)
{
    struct stat old;
    if (stat(output->target, &old) != 0) return errno == ENOENT ? FSMOE_OK : fsm_file_failed("write", output->path);
    return fchmod(output->fd, old.st_mode & 0777) == 0 ? FSMOE_OK : fsm_file_failed("write", output->path);
}

static fsmoe_status open_temporary(fsm_output *output)
{
    for (int i = 0; i < MOST_TEMPORARIES; i++) {
        FSM_TRY(name_temporary(output, i));
        output->fd = create(output->temporary);
        if (output->fd >= 0) {
            fsmoe_status status = keep_mode(output);
            return status == FSMOE_OK ? status : fsm_output_end(output, status);
        }
        if (errno != EEXIST) break;
    }
    return fsm_file_failed("write", output->path);
}

/* What is no file cannot be read back, or written out of order, so all of it is kept in memory until the end. */
static fsmoe_status open_through(const char *path, fsm_output *output)
{
    int fd = descriptor_of(output->target);
    output->temporary[0] = 0;
    output->through = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : fsm_file_open(output->target, O_WRONLY | O_NOCTTY);
    if (output->through < 0) return fsm_file_failed("write", path);
    output->fd = memfd_create("fsmoe output", MFD_CLOEXEC);
    if (output->fd >= 0) return FSMOE_OK;
    fsmoe_status status = fsm_file_failed("keep in memory", path);
    close(output->through);
    return status;
}

fsmoe_status fsm_output_begin(const char *path, fsm_output *output)
{
    bool replaced;
    output->fd = output->through = -1;
    output->buffered = 0;
    FSM_TRY(follow(path, output->target));
    memcpy(output->path, path, strlen(path) + 1);
    FSM_TRY(is_replaced(path, output->target, &replaced));
    return replaced ? open_temporary(output) : open_through(path, output);
}

/* ---- bytes ---- */

static fsmoe_status write_all(int fd, const char *path, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, bytes, size);
        if (n < 0 && errno == EINTR) continue;
        if (n == 0) errno = EIO;
        if (n <= 0) return fsm_file_failed("write", path);
        bytes += n;
        size -= (size_t)n;
    }
    return FSMOE_OK;
}

static fsmoe_status flush(fsm_output *output)
{
    size_t size = output->buffered;
    output->buffered = 0;
    return write_all(output->fd, output->path, output->buffer, size);
}

fsmoe_status fsm_output_write(fsm_output *output, const void *bytes, size_t size)
{
    if (size > sizeof output->buffer - output->buffered) FSM_TRY(flush(output));
    if (size > sizeof output->buffer) return write_all(output->fd, output->path, bytes, size);
    if (size > 0) memcpy(output->buffer + output->buffered, bytes, size);
    output->buffered += size;
    return FSMOE_OK;
}

fsmoe_status fsm_output_rewind(fsm_output *output)
{
    FSM_TRY(flush(output));
    return lseek(output->fd, 0, SEEK_SET) == 0 ? FSMOE_OK : fsm_file_failed("write", output->path);
}

/* All of `size` bytes unless the file ends before them. */
static ssize_t read_at(int fd, char *bytes, size_t size, size_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(fd, bytes + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static fsmoe_status sync_file(const fsm_output *output)
{
    int failed;
    do failed = fsync(output->fd);
    while (failed && errno == EINTR);
    return failed ? fsm_file_failed("sync", output->path) : FSMOE_OK;
}

fsmoe_status fsm_output_read_back(fsm_output *output, size_t offset, size_t size, uint64_t *xxh3)
{
    char piece[PIECE_BYTES];
    XXH3_state_t hash;
    XXH3_64bits_reset(&hash);
    FSM_TRY(flush(output));
    FSM_TRY(sync_file(output));
    posix_fadvise(output->fd, 0, 0, POSIX_FADV_DONTNEED); /* so that it is the disk that answers, where it can */
    for (size_t done = 0; done < size;) {
        size_t here = size - done < sizeof piece ? size - done : sizeof piece;
        ssize_t n = read_at(output->fd, piece, here, offset + done);
        if (n < 0) return fsm_file_failed("read back", output->path);
        if ((size_t)n < here) return fsm_fail(FSMOE_ERROR_IO, "'%s' is shorter than what was written", output->path);
        XXH3_64bits_update(&hash, piece, here);
        done += here;
    }
    *xxh3 = XXH3_64bits_digest(&hash);
    return FSMOE_OK;
}

/* ---- the end ---- */

static fsmoe_status send_through(const fsm_output *output)
{
    char piece[PIECE_BYTES];
    for (size_t done = 0;;) {
        ssize_t n = read_at(output->fd, piece, sizeof piece, done);
        if (n < 0) return fsm_file_failed("read back", output->path);
        if (n == 0) return FSMOE_OK;
        FSM_TRY(write_all(output->through, output->path, piece, (size_t)n));
        done += (size_t)n;
    }
}

static fsmoe_status give_name(const fsm_output *output)
{
    int failed;
    do failed = rename(output->temporary, output->target);
    while (failed && errno == EINTR);
    return failed ? fsm_file_failed("write", output->path) : FSMOE_OK;
}

/* Linux closes also where it was interrupted. */
static fsmoe_status close_file(int fd, const char *path, fsmoe_status status)
{
    if (fd < 0 || close(fd) == 0 || errno == EINTR || status != FSMOE_OK) return status;
    return fsm_file_failed("close", path);
}

/* The lock goes with the descriptor, so the file has its name before it is closed. */
fsmoe_status fsm_output_end(fsm_output *output, fsmoe_status status)
{
    char folder[FSM_PATH_BYTES];
    bool replaced = output->through < 0, named = false;
    if (status == FSMOE_OK) status = flush(output);
    if (status == FSMOE_OK) status = replaced ? sync_file(output) : send_through(output);
    if (status == FSMOE_OK && replaced) {
        status = give_name(output);
        named = status == FSMOE_OK;
    }
    if (replaced && !named) unlink(output->temporary);
    status = close_file(output->fd, output->path, status);
    status = close_file(output->through, output->path, status);
    output->fd = output->through = -1;
    if (status != FSMOE_OK || !replaced) return status;
    fsm_file_parent(output->target, folder);
    return fsm_file_sync(folder);
}

fsmoe_status fsm_file_replace(const char *path, const void *bytes, size_t size)
{
    fsm_output output;
    uint64_t back = 0;
    FSM_TRY(fsm_output_begin(path, &output));
    fsmoe_status status = fsm_output_write(&output, bytes, size);
    if (status == FSMOE_OK) status = fsm_output_read_back(&output, 0, size, &back);
    if (status == FSMOE_OK && back != XXH3_64bits(bytes, size))
        status = fsm_fail(FSMOE_ERROR_IO, "'%s' reads back otherwise than it was written", path);
    return fsm_output_end(&output, status);
}
