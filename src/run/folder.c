#define _GNU_SOURCE
#include "run/folder.h"

#include "run/owned.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_TRIES = 100, MOST_EARLIER_RUNS = 100000, SIGNATURE_BYTES = 512 };
static const char lock_file[] = "run.lock", run_word[] = "run ";

/* ---- what is a run's ---- */

/* Every file that a run, or the report of one, leaves in its folder; of a longer name only what kills leave
 * ("run.json.tmp…"). */
static const char *const run_files[] = {"run.lock",      "config.yaml",     "run.json",     "log.jsonl",
                                        "log.cut.jsonl", "step_times.json", "cluster.json", "report.html",
                                        "trace.json",    "breakdown.json",  "products.json"};

static bool starts_with(const char *name, const char *start)
{
    return strncmp(name, start, strlen(start)) == 0;
}

static bool is_run_file(const char *name)
{
    for (size_t i = 0; i < sizeof run_files / sizeof *run_files; i++) {
        size_t length = strlen(run_files[i]);
        if (starts_with(name, run_files[i]) && (!name[length] || starts_with(name + length, ".tmp"))) return true;
    }
    return false;
}

static bool is_run_subfolder(const char *name)
{
    return strcmp(name, "model") == 0 || strcmp(name, "best") == 0 || starts_with(name, "checkpoint-") ||
           starts_with(name, "model.") || starts_with(name, "best.");
}

static bool is_half_made(const char *name)
{
    const char *mark = strstr(name, ".tmp");
    return mark && is_run_file(name);
}

/* What the name of an entry, and its seal, say of it. */
typedef enum belonging { NOBODYS, RUNS_NAME, RUNS_OWN } belonging;

static belonging whose(const fsm_run_folder *folder, const char *name)
{
    char path[FSM_PATH_BYTES];
    if (is_run_file(name)) return RUNS_OWN;
    if (!is_run_subfolder(name)) return NOBODYS;
    if (fsm_file_path(folder->dir, name, path) != FSMOE_OK || !folder->id.text[0]) return RUNS_NAME;
    return fsm_owned_is_left(name, &folder->id) || fsm_seal_owns(path, &folder->id) ? RUNS_OWN : RUNS_NAME;
}

/* The first entry for which `wanted` holds, in no order; "": none, or the folder is not there. ERROR_IO: nobody
 * knows. */
static fsmoe_status find_entry(const fsm_run_folder *folder, bool (*wanted)(belonging, const char *), char found[256])
{
    DIR *dir = opendir(folder->dir);
    found[0] = 0;
    if (!dir && errno == ENOENT) return FSMOE_OK;
    if (!dir) return fsm_fail(FSMOE_ERROR_IO, "cannot read '%s': %s", folder->dir, strerror(errno));
    struct dirent *entry;
    for (errno = 0; !found[0] && (entry = readdir(dir)); errno = 0) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
        if (wanted(whose(folder, name), name)) snprintf(found, 256, "%s", name);
    }
    int error = found[0] ? 0 : errno;
    closedir(dir);
    return error ? fsm_fail(FSMOE_ERROR_IO, "cannot read '%s': %s", folder->dir, strerror(error)) : FSMOE_OK;
}

static bool is_of_a_run(belonging of, const char *name)
{
    return of != NOBODYS && strcmp(name, lock_file) != 0;
}

static bool is_not_own(belonging of, const char *name)
{
    (void)name;
    return of != RUNS_OWN;
}

/* ---- the lock ---- */

/* The file as it is now, not one that has been renamed or removed since it was opened. */
static bool is_still_there(int fd, const char *path)
{
    struct stat mine, there;
    return fstat(fd, &mine) == 0 && stat(path, &there) == 0 && mine.st_ino == there.st_ino &&
           mine.st_dev == there.st_dev;
}

static bool has_no_locks(int error)
{
    return error == ENOLCK || error == ENOSYS || error == EOPNOTSUPP || error == EINVAL;
}

static ssize_t read_signature(int fd, char text[SIGNATURE_BYTES])
{
    ssize_t size = pread(fd, text, SIGNATURE_BYTES - 1, 0);
    text[size > 0 ? size : 0] = 0;
    return size;
}

static fsmoe_status fail_live(const fsm_run_folder *folder, int fd)
{
    char text[SIGNATURE_BYTES], *holder;
    read_signature(fd, text);
    holder = strchr(text, '\n');
    if (holder) holder[strcspn(holder + 1, "\n") + 1] = 0;
    return fsm_fail(FSMOE_ERROR_IO, "run.dir '%s' belongs to a run that is alive (%s); name another with run.dir",
                    folder->dir, holder && holder[1] ? holder + 1 : "who has it is not written there yet");
}

/* Opens with `flags` and locks the folder's run.lock. folder->lock stays -1 where there is none and none is to be
 * made. */
static fsmoe_status lock(fsm_run_folder *folder, int flags)
{
    char path[FSM_PATH_BYTES];
    FSM_TRY(fsm_file_path(folder->dir, lock_file, path));
    for (int tries = 0; tries < MOST_TRIES; tries++) {
        int fd = open(path, O_RDWR | O_CLOEXEC | flags, 0666);
        if (fd < 0 && errno == ENOENT && !(flags & O_CREAT)) return FSMOE_OK;
        if (fd < 0) return fsm_fail(FSMOE_ERROR_IO, "cannot open '%s': %s", path, strerror(errno));
        int failed = flock(fd, LOCK_EX | LOCK_NB);
        fsmoe_status status = FSMOE_OK;
        if (failed && errno == EWOULDBLOCK) status = fail_live(folder, fd);
        else if (failed && has_no_locks(errno)) folder->unlockable = true;
        else if (failed) status = fsm_fail(FSMOE_ERROR_IO, "cannot lock '%s': %s", path, strerror(errno));
        if (status == FSMOE_OK && is_still_there(fd, path)) {
            folder->lock = fd;
            return FSMOE_OK;
        }
        close(fd);
        FSM_TRY(status);
    }
    return fsm_fail(FSMOE_ERROR_IO, "'%s' is not the file that was opened, whenever it is opened", path);
}

/* ---- the signature ---- */

static fsmoe_status read_id(fsm_run_folder *folder)
{
    char text[SIGNATURE_BYTES];
    size_t start = sizeof run_word - 1, end = start + sizeof folder->id.text - 1;
    folder->id.text[0] = 0;
    ssize_t size = read_signature(folder->lock, text);
    if (size == 0) return FSMOE_OK; /* killed before it could sign */
    if (size < (ssize_t)end || strncmp(text, run_word, start) != 0)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s/%s' is damaged: it does not begin with a run's id", folder->dir,
                        lock_file);
    memcpy(folder->id.text, text + start, end - start);
    folder->id.text[end - start] = 0;
    if (fsm_run_id_is_valid(folder->id.text)) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_FORMAT, "'%s/%s' is damaged: its id is none", folder->dir, lock_file);
}

/* The id's line is written once and never touched again; the second says who has the folder now. */
static fsmoe_status sign(const fsm_run_folder *folder)
{
    char host[256] = "", text[SIGNATURE_BYTES];
    gethostname(host, sizeof host - 1);
    int head = snprintf(text, sizeof text, "%s%s\n", run_word, folder->id.text);
    int size = head + snprintf(text + head, sizeof text - (size_t)head, "host %s, pid %ld\n", host, (long)getpid());
    bool failed = pwrite(folder->lock, text, (size_t)size, 0) != size || ftruncate(folder->lock, size) != 0 ||
                  fsync(folder->lock) != 0;
    if (!failed) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_IO, "cannot write '%s/%s': %s", folder->dir, lock_file, strerror(errno));
}

/* ---- claiming ---- */

static fsmoe_status check_is_nobodys(const fsm_run_folder *folder)
{
    char name[256];
    FSM_TRY(find_entry(folder, is_of_a_run, name));
    if (!name[0]) return FSMOE_OK;
    return fsm_fail(
        FSMOE_ERROR_IO,
        "run.dir '%s' has no run.lock, so it is no run's, but holds '%s', a name that a run would take; name "
        "another run.dir or move that away",
        folder->dir, name);
}

/* A folder inside another run's would be in its way, be it alive or moved aside one day. */
static fsmoe_status check_is_outside(const fsm_run_folder *folder)
{
    char above[FSM_PATH_BYTES], path[FSM_PATH_BYTES];
    snprintf(above, sizeof above, "%s", folder->dir);
    for (;;) {
        char *slash = strrchr(above, '/');
        if (!slash) return FSMOE_OK;
        *slash = 0;
        if (!above[0]) return FSMOE_OK;
        FSM_TRY(fsm_file_path(above, lock_file, path));
        if (slash[1] && fsm_file_exists(path))
            return fsm_fail(FSMOE_ERROR_IO, "run.dir '%s' lies inside the folder of another run, '%s'; name another",
                            folder->dir, above);
    }
}

/* The folder itself, where run.dir is a link to it, perhaps to another disk: the link stays what it is. */
static void resolve(const char *dir, char path[FSM_PATH_BYTES])
{
    struct stat info;
    size_t length = (size_t)snprintf(path, FSM_PATH_BYTES, "%s", dir);
    while (length > 1 && path[length - 1] == '/') path[--length] = 0;
    char *real = lstat(path, &info) == 0 && S_ISLNK(info.st_mode) ? realpath(path, NULL) : NULL;
    if (real && strlen(real) < FSM_PATH_BYTES) strcpy(path, real);
    free(real);
}

static bool is_mount_point(const char *dir)
{
    char above[FSM_PATH_BYTES];
    struct stat mine, parent;
    fsm_file_parent(dir, above);
    return stat(dir, &mine) == 0 && stat(above, &parent) == 0 && mine.st_dev != parent.st_dev;
}

static bool is_working_folder(const char *dir)
{
    const char *slash = strrchr(dir, '/'), *last = slash ? slash + 1 : dir;
    return strcmp(last, ".") == 0 || strcmp(last, "..") == 0;
}

static fsmoe_status check_writable(const fsm_run_folder *folder, const char *where)
{
    if (access(where, W_OK) == 0) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_IO, "run.dir '%s' cannot be made: cannot write in '%s': %s", folder->dir, where,
                    strerror(errno));
}

/* What would otherwise be found out only when everything is ready: an earlier run that cannot be renamed, or no right
 * to make the folder. */
static fsmoe_status check_can_begin(const fsm_run_folder *folder)
{
    char name[256], dir[FSM_PATH_BYTES], above[FSM_PATH_BYTES];
    resolve(folder->dir, dir);
    FSM_TRY(find_entry(folder, is_of_a_run, name));
    bool earlier = folder->lock >= 0 && name[0];
    if (earlier && (is_mount_point(dir) || is_working_folder(dir)))
        return fsm_fail(
            FSMOE_ERROR_IO,
            "run.dir '%s' holds an earlier run and is %s, which cannot be renamed to make place; name another",
            folder->dir, is_mount_point(dir) ? "a mount point" : "a folder named by dots");
    if (!earlier && fsm_file_exists(dir)) return check_writable(folder, dir);
    for (fsm_file_parent(dir, above); !fsm_file_exists(above); fsm_file_parent(dir, above))
        snprintf(dir, sizeof dir, "%s", above);
    return check_writable(folder, above);
}

static fsmoe_status claim_new(fsm_run_folder *folder)
{
    char name[256];
    FSM_TRY(check_is_outside(folder));
    FSM_TRY(check_can_begin(folder));
    if (folder->lock < 0) return check_is_nobodys(folder);
    FSM_TRY(read_id(folder));
    FSM_TRY(find_entry(folder, is_not_own, name));
    /* whoever is refused from now on is told of this process, not of the one that has ended */
    if (!name[0]) return folder->id.text[0] ? sign(folder) : FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_IO,
                    "run.dir '%s' holds an earlier run, and '%s', which is not that run's: it is not moved aside; name "
                    "another run.dir or move one of them",
                    folder->dir, name);
}

/* What is to be replaced at the end must be the run's now: a user's file in it would stop a run that is done. */
static fsmoe_status check_replaceable(const fsm_run_folder *folder, const char *name)
{
    char path[FSM_PATH_BYTES];
    FSM_TRY(fsm_file_path(folder->dir, name, path));
    if (!fsm_file_exists(path) || fsm_seal_owns(path, &folder->id)) return FSMOE_OK;
    return fsm_fail(
        FSMOE_ERROR_IO,
        "'%s' is not this run's, or something has been added to it or taken away: it will not be replaced; move "
        "it to another place",
        path);
}

static fsmoe_status claim_again(fsm_run_folder *folder)
{
    if (folder->lock < 0)
        return fsm_fail(
            FSMOE_ERROR_IO,
            "there is no run in '%s' to resume (no run.lock in it, by which a run knows its folder; if that was "
            "removed, the first line of a checkpoint's file 'checksums' is all that it needs)",
            folder->dir);
    FSM_TRY(read_id(folder));
    if (!folder->id.text[0])
        return fsm_fail(FSMOE_ERROR_IO, "the run in '%s' ended before there was anything to resume", folder->dir);
    FSM_TRY(check_replaceable(folder, "model"));
    FSM_TRY(check_replaceable(folder, "best"));
    return sign(folder);
}

fsmoe_status fsm_run_folder_claim(const char *dir, bool resume, fsm_run_folder *folder)
{
    *folder = (fsm_run_folder){.dir = dir, .lock = -1};
    if (!dir[0]) return fsm_fail(FSMOE_ERROR_CONFIG, "'run.dir' is empty; name the folder that the run goes to");
    FSM_TRY(lock(folder, 0));
    return resume ? claim_again(folder) : claim_new(folder);
}

/* ---- beginning ---- */

static fsmoe_status move_aside(const char *dir, char moved_to[FSM_PATH_BYTES])
{
    for (int i = 1; i < MOST_EARLIER_RUNS; i++) {
        if (snprintf(moved_to, FSM_PATH_BYTES, "%s.%d", dir, i) >= FSM_PATH_BYTES)
            return fsm_fail(FSMOE_ERROR_IO, "path too long: '%s'", dir);
        if (fsm_file_exists(moved_to)) continue;
        if (renameat2(AT_FDCWD, dir, AT_FDCWD, moved_to, RENAME_NOREPLACE) == 0) return FSMOE_OK;
        if (errno == EEXIST) continue;
        if ((errno == EINVAL || errno == ENOSYS) && rename(dir, moved_to) == 0) return FSMOE_OK;
        return fsm_fail(FSMOE_ERROR_IO, "cannot rename '%s' to '%s': %s", dir, moved_to, strerror(errno));
    }
    return fsm_fail(FSMOE_ERROR_IO, "too many earlier runs beside '%s'", dir);
}

static void unlock(fsm_run_folder *folder)
{
    if (folder->lock >= 0) close(folder->lock);
    folder->lock = -1;
}

fsmoe_status fsm_run_folder_begin(fsm_run_folder *folder, char moved_to[FSM_PATH_BYTES])
{
    char name[256], dir[FSM_PATH_BYTES];
    moved_to[0] = 0;
    resolve(folder->dir, dir);
    FSM_TRY(find_entry(folder, is_of_a_run, name));
    if (folder->lock >= 0 && name[0]) {
        FSM_TRY(move_aside(dir, moved_to));
        unlock(folder); /* it is the earlier run's, and goes with it */
    }
    FSM_TRY(fsm_file_make_dirs(dir));
    if (folder->lock < 0) FSM_TRY(lock(folder, O_CREAT));
    FSM_TRY(read_id(folder));
    /* since this run has looked, another may have begun here and ended */
    FSM_TRY(find_entry(folder, is_of_a_run, name));
    if (folder->id.text[0] && name[0])
        return fsm_fail(FSMOE_ERROR_IO, "another run has begun in '%s' meanwhile", folder->dir);
    FSM_TRY(fsm_run_id_make(&folder->id));
    FSM_TRY(sign(folder));
    return fsm_file_sync(folder->dir);
}

static int is_left_half_made(const struct dirent *entry)
{
    return is_half_made(entry->d_name);
}

fsmoe_status fsm_run_folder_recover(const fsm_run_folder *folder)
{
    struct dirent **entries = NULL;
    fsmoe_status status = FSMOE_OK;
    int count = scandir(folder->dir, &entries, is_left_half_made, alphasort);
    if (count < 0) return fsm_file_failed("read", folder->dir);
    for (int i = 0; i < count; i++) {
        char path[FSM_PATH_BYTES];
        if (status == FSMOE_OK) status = fsm_file_path(folder->dir, entries[i]->d_name, path);
        if (status == FSMOE_OK) status = fsm_file_remove_tree(path);
        free(entries[i]);
    }
    free(entries);
    FSM_TRY(status);
    return fsm_owned_recover(folder->dir, &folder->id);
}

void fsm_run_folder_release(fsm_run_folder *folder)
{
    unlock(folder);
}
