/* calls K HOW FOLDER REPORT COMMAND...: runs a command in FOLDER; its K-th system call on what lies there (0: none)
 * fails. HOW: EIO, ENOSPC or EINTR, with which the call fails; "short", with which it reads or writes half of what it
 * is asked to.
 * Out: the command's exit code (128 + the signal that ended it; 124: it ran longer than LIMIT_S); REPORT says "count N"
 *      (calls seen), "fired 0|1" and "by CALL".
 * The kernel hands such calls to this process (seccomp's user notifications), so that those of the C library's streams
 * are seen, too, and nothing in the command differs. Exit code 77: the kernel has no such thing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT_S = 120, SKIPPED = 77, MOST_PATH = 4096, MOST_PIECE = 1 << 20 };

/* Where a call says what it works on. */
typedef enum subject { DESCRIPTOR, PATH, PATH_AT } subject;

/* INTERRUPTIBLE: may fail with EINTR; TRANSFERS: may do less than it is asked to. */
enum { INTERRUPTIBLE = 1, TRANSFERS = 2, STORES = 4 };

static const struct {
    int number;
    const char *name;
    subject subject;
    int traits;
} calls[] = {
    {SYS_read, "read", DESCRIPTOR, INTERRUPTIBLE | TRANSFERS},
    {SYS_pread64, "pread", DESCRIPTOR, INTERRUPTIBLE},
    {SYS_write, "write", DESCRIPTOR, INTERRUPTIBLE | TRANSFERS | STORES},
    {SYS_pwrite64, "pwrite", DESCRIPTOR, INTERRUPTIBLE | STORES},
    {SYS_writev, "writev", DESCRIPTOR, INTERRUPTIBLE | STORES},
    {SYS_fsync, "fsync", DESCRIPTOR, INTERRUPTIBLE | STORES},
    {SYS_fdatasync, "fdatasync", DESCRIPTOR, INTERRUPTIBLE | STORES},
    {SYS_close, "close", DESCRIPTOR, STORES},
    {SYS_ftruncate, "ftruncate", DESCRIPTOR, STORES},
    {SYS_fchmod, "fchmod", DESCRIPTOR, STORES},
    {SYS_lseek, "lseek", DESCRIPTOR, 0},
    {SYS_getdents64, "getdents", DESCRIPTOR, 0},
    {SYS_openat, "openat", PATH_AT, INTERRUPTIBLE | STORES},
    {SYS_mkdirat, "mkdirat", PATH_AT, STORES},
    {SYS_unlinkat, "unlinkat", PATH_AT, STORES},
    {SYS_renameat, "renameat", PATH_AT, STORES},
    {SYS_renameat2, "renameat2", PATH_AT, STORES},
    {SYS_newfstatat, "stat", PATH_AT, 0},
    {SYS_statx, "statx", PATH_AT, 0},
    {SYS_readlinkat, "readlinkat", PATH_AT, 0},
    {SYS_faccessat, "faccessat", PATH_AT, 0},
    {SYS_mmap, "mmap", DESCRIPTOR, 0},
#ifdef SYS_open /* the older calls, which not every machine has */
    {SYS_open, "open", PATH, INTERRUPTIBLE | STORES},
    {SYS_creat, "creat", PATH, INTERRUPTIBLE | STORES},
    {SYS_mkdir, "mkdir", PATH, STORES},
    {SYS_rmdir, "rmdir", PATH, STORES},
    {SYS_unlink, "unlink", PATH, STORES},
    {SYS_rename, "rename", PATH, STORES},
    {SYS_readlink, "readlink", PATH, 0},
    {SYS_access, "access", PATH, 0},
    {SYS_stat, "stat", PATH, 0},
    {SYS_lstat, "lstat", PATH, 0},
    {SYS_fstat, "fstat", DESCRIPTOR, 0},
#endif
};

enum { CALL_COUNT = sizeof calls / sizeof *calls };

typedef struct supervisor {
    int listener;
    pid_t child;
    long at, seen;
    int error;      /* 0: half is done */
    int needs;      /* traits a call must have to be counted */
    const char *by; /* the call that failed; NULL: none yet */
    char folder[MOST_PATH];
} supervisor;

static void die(const char *what)
{
    fprintf(stderr, "calls: %s: %s\n", what, strerror(errno));
    exit(SKIPPED);
}

/* ---- the command ---- */

/* Only the calls of the table ask; a map of no file does not. */
static int install_filter(void)
{
    struct sock_filter program[2 * CALL_COUNT + 2];
    unsigned short n = 0;
    program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < CALL_COUNT; i++) {
        program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i].number, 0, 1);
        program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    }
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog filter = {.len = n, .filter = program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
}

static void send_descriptor(int socket, int fd)
{
    char control[CMSG_SPACE(sizeof fd)] = {0}, byte = 0;
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *head = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    if (sendmsg(socket, &message, 0) < 0) _exit(SKIPPED);
}

static int receive_descriptor(int socket)
{
    char control[CMSG_SPACE(sizeof(int))], byte;
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    int fd = -1;
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) <= 0) return -1;
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (head) memcpy(&fd, CMSG_DATA(head), sizeof fd);
    return fd;
}

static void become_command(const char *folder, char **command, int socket)
{
    if (chdir(folder) != 0) _exit(126);
    int listener = install_filter();
    if (listener < 0) _exit(SKIPPED);
    send_descriptor(socket, listener); /* both are close-on-exec or harmless */
    execvp(command[0], command);
    _exit(127);
}

/* ---- what a call works on ---- */

static bool is_inside(const supervisor *s, const char *path)
{
    size_t length = strlen(s->folder);
    return strncmp(path, s->folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static bool is_descriptor_inside(const supervisor *s, pid_t pid, int fd)
{
    char link[64], path[MOST_PATH];
    snprintf(link, sizeof link, "/proc/%ld/fd/%d", (long)pid, fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return false;
    path[length] = 0;
    return is_inside(s, path);
}

/* Up to the end of a page at a time, since the next one may not be there. */
static bool read_text(pid_t pid, unsigned long long from, char text[MOST_PATH])
{
    for (size_t done = 0; done < MOST_PATH - 1;) {
        size_t page = 4096 - (from + done) % 4096, here = MOST_PATH - 1 - done < page ? MOST_PATH - 1 - done : page;
        struct iovec to = {text + done, here}, there = {(void *)(uintptr_t)(from + done), here};
        ssize_t n = process_vm_readv(pid, &to, 1, &there, 1, 0);
        if (n <= 0) return false;
        if (memchr(text + done, 0, (size_t)n)) return true;
        done += (size_t)n;
    }
    return false;
}

/* The command works in the folder, so a path that begins nowhere begins there. */
static bool is_path_inside(const supervisor *s, pid_t pid, int at, unsigned long long from)
{
    char path[MOST_PATH];
    if (!read_text(pid, from, path)) return false;
    if (path[0] == '/') return is_inside(s, path);
    if (at != AT_FDCWD) return is_descriptor_inside(s, pid, at);
    return path[0] && strncmp(path, "..", 2) != 0;
}

static bool is_counted(const supervisor *s, const struct seccomp_notif *n, size_t call)
{
    const unsigned long long *args = (const unsigned long long *)n->data.args;
    pid_t pid = (pid_t)n->pid;
    if ((calls[call].traits & s->needs) != s->needs) return false;
    if (calls[call].number == SYS_mmap) return (int)args[4] >= 0 && is_descriptor_inside(s, pid, (int)args[4]);
    switch (calls[call].subject) {
    case DESCRIPTOR:
        return is_descriptor_inside(s, pid, (int)args[0]);
    case PATH:
        return is_path_inside(s, pid, AT_FDCWD, args[0]);
    default:
        return is_path_inside(s, pid, (int)args[0], args[1]);
    }
}

/* ---- answers ---- */

/* Does half of a read or write in the command's place; what that gave, or -errno. */
static long long do_half(const struct seccomp_notif *n)
{
    static char piece[MOST_PIECE];
    size_t asked = n->data.args[2], half = asked / 2;
    if (half > sizeof piece) half = sizeof piece;
    if (half == 0) half = asked;
    struct iovec here = {piece, half}, there = {(void *)(uintptr_t)n->data.args[1], half};
    int process = (int)syscall(SYS_pidfd_open, (pid_t)n->pid, 0);
    int fd = (int)syscall(SYS_pidfd_getfd, process, (int)n->data.args[0], 0);
    ssize_t done = -1;
    if (fd >= 0 && n->data.nr == SYS_read) {
        done = read(fd, piece, half);
        here.iov_len = there.iov_len = done > 0 ? (size_t)done : 0;
        if (done > 0 && process_vm_writev((pid_t)n->pid, &here, 1, &there, 1, 0) != done) done = -1;
    } else if (fd >= 0 && process_vm_readv((pid_t)n->pid, &here, 1, &there, 1, 0) == (ssize_t)half) {
        done = write(fd, piece, half);
    }
    int why = errno;
    if (fd >= 0) close(fd);
    if (process >= 0) close(process);
    return done < 0 ? -why : done;
}

static void answer(supervisor *s)
{
    struct seccomp_notif asked = {0};
    struct seccomp_notif_resp reply = {0};
    if (ioctl(s->listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) != 0) return; /* it is gone */
    size_t call = 0;
    while (call < CALL_COUNT && calls[call].number != asked.data.nr) call++;
    reply.id = asked.id;
    reply.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    if (call < CALL_COUNT && is_counted(s, &asked, call) && ++s->seen == s->at) {
        long long value = s->error ? -s->error : do_half(&asked);
        reply.flags = 0;
        reply.error = value < 0 ? (int)value : 0;
        reply.val = value < 0 ? 0 : value;
        s->by = calls[call].name;
    }
    ioctl(s->listener, SECCOMP_IOCTL_NOTIF_SEND, &reply);
}

static pid_t running;

static void stop_running(int signal)
{
    (void)signal;
    kill(running, SIGKILL);
}

/* Its exit code. */
static int supervise(supervisor *s)
{
    int status = 0;
    bool late = false;
    running = s->child;
    signal(SIGALRM, stop_running);
    alarm(LIMIT_S);
    for (;;) {
        struct pollfd listening = {.fd = s->listener, .events = POLLIN};
        int ready = poll(&listening, 1, -1);
        late |= ready < 0 && errno == EINTR;
        if (ready > 0 && listening.revents & POLLIN) answer(s);
        else if (ready > 0) break; /* nobody has the filter any more */
    }
    while (waitpid(s->child, &status, 0) < 0 && errno == EINTR) late = true;
    if (late) return 124;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void take_how(supervisor *s, const char *how)
{
    if (strcmp(how, "EIO") == 0) s->error = EIO;
    else if (strcmp(how, "ENOSPC") == 0) s->error = ENOSPC, s->needs = STORES;
    else if (strcmp(how, "EINTR") == 0) s->error = EINTR, s->needs = INTERRUPTIBLE;
    else s->needs = TRANSFERS;
}

int main(int argc, char **argv)
{
    static supervisor s;
    int sockets[2];
    if (argc < 6 || !realpath(argv[3], s.folder) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
        die("calls K HOW FOLDER REPORT COMMAND");
    s.at = strtol(argv[1], NULL, 10);
    take_how(&s, argv[2]);
    s.child = fork();
    if (s.child == 0) become_command(s.folder, argv + 5, sockets[1]);
    close(sockets[1]);
    s.listener = receive_descriptor(sockets[0]);
    if (s.listener < 0) return SKIPPED;
    int code = supervise(&s);
    FILE *report = fopen(argv[4], "w");
    if (!report) die(argv[4]);
    fprintf(report, "count %ld\nfired %d\nby %s\n", s.seen, s.by != NULL, s.by ? s.by : "-");
    fclose(report);
    return code;
}
