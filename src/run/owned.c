#define _GNU_SOURCE
#include "run/owned.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Names carry so much of the id that no other run's, and no person's, is taken for this run's. */
enum { TAG_DIGITS = 8 };
static const char temporary_mark[] = ".tmp-", aside_mark[] = ".old-";

static fsmoe_status name_beside(const char *folder, const char *mark, const fsm_run_id *id, char path[FSM_PATH_BYTES])
{
    if (snprintf(path, FSM_PATH_BYTES, "%s%s%.*s", folder, mark, TAG_DIGITS, id->text) < FSM_PATH_BYTES)
        return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_IO, "path too long: '%s'", folder);
}

/* Where the mark begins in a name that ends in it and this run's tag; 0 for any other name. */
static size_t find_mark(const char *name, const char *mark, const fsm_run_id *id)
{
    size_t length = strlen(name), tail = strlen(mark) + TAG_DIGITS;
    if (length <= tail || strncmp(name + length - tail, mark, strlen(mark)) != 0) return 0;
    return strncmp(name + length - TAG_DIGITS, id->text, TAG_DIGITS) == 0 ? length - tail : 0;
}

bool fsm_owned_is_left(const char *name, const fsm_run_id *id)
{
    return id->text[0] && (find_mark(name, temporary_mark, id) || find_mark(name, aside_mark, id));
}

static fsmoe_status sync_parent(const char *folder)
{
    char parent[FSM_PATH_BYTES];
    snprintf(parent, sizeof parent, "%s", folder);
    char *slash = strrchr(parent, '/');
    if (!slash) return fsm_file_sync(".");
    slash[slash == parent] = 0;
    return fsm_file_sync(parent);
}

static fsmoe_status rename_to(const char *from, const char *to)
{
    if (rename(from, to) == 0) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_IO, "cannot rename '%s' to '%s': %s", from, to, strerror(errno));
}

fsmoe_status fsm_owned_begin(const char *folder, const fsm_run_id *id, char temporary[FSM_PATH_BYTES])
{
    FSM_TRY(name_beside(folder, temporary_mark, id, temporary));
    FSM_TRY(fsm_file_remove_tree(temporary));
    return fsm_file_make_dirs(temporary);
}

void fsm_owned_discard(const char *temporary)
{
    char *cause = strdup(fsmoe_last_error());
    fsm_file_remove_tree(temporary);
    if (cause) fsm_fail(FSMOE_ERROR_IO, "%s", cause);
    free(cause);
}

static int exchange_at_once(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE);
}

static bool cannot_exchange(int error)
{
    return error == EINVAL || error == ENOSYS || error == EOPNOTSUPP;
}

/* The earlier folder steps aside, under a name that fsm_owned_recover knows. */
static fsmoe_status exchange_in_two_steps(const char *from, const char *to, const fsm_run_id *id)
{
    char aside[FSM_PATH_BYTES];
    FSM_TRY(name_beside(to, aside_mark, id, aside));
    FSM_TRY(fsm_file_remove_tree(aside));
    FSM_TRY(rename_to(to, aside));
    FSM_TRY(sync_parent(to));
    FSM_TRY(rename_to(from, to));
    FSM_TRY(sync_parent(to));
    return fsm_file_remove_tree(aside);
}

static fsmoe_status replace(fsm_owned_exchange *exchange, const char *from, const char *to, const fsm_run_id *id)
{
    if (!fsm_seal_owns(to, id))
        return fsm_fail(FSMOE_ERROR_IO, "'%s' is not this run's, or holds files that are not: it stays as it is", to);
    if (exchange(from, to) == 0) {
        FSM_TRY(sync_parent(to));
        return fsm_file_remove_tree(from);
    }
    if (cannot_exchange(errno)) return exchange_in_two_steps(from, to, id);
    return fsm_fail(FSMOE_ERROR_IO, "cannot exchange '%s' and '%s': %s", from, to, strerror(errno));
}

fsmoe_status fsm_owned_take_name(fsm_owned_exchange *exchange, const char *temporary, const char *folder,
                                 const fsm_run_id *id)
{
    FSM_TRY(fsm_file_sync(temporary));
    if (fsm_file_exists(folder)) return replace(exchange, temporary, folder, id);
    FSM_TRY(rename_to(temporary, folder));
    return sync_parent(folder);
}

fsmoe_status fsm_owned_publish(const char *temporary, const char *folder, const fsm_run_id *id,
                               const fsm_seal_known *known, int count)
{
    FSM_TRY(fsm_seal_write(temporary, id, known, count));
    return fsm_owned_take_name(exchange_at_once, temporary, folder, id);
}

fsmoe_status fsm_owned_remove(const char *folder, const fsm_run_id *id, bool *removed)
{
    char temporary[FSM_PATH_BYTES];
    /* who took away the right to write in it wants it kept, and it could only be removed by half */
    *removed = fsm_seal_owns(folder, id) && faccessat(AT_FDCWD, folder, W_OK, AT_EACCESS) == 0;
    if (!*removed) return FSMOE_OK;
    FSM_TRY(name_beside(folder, temporary_mark, id, temporary));
    FSM_TRY(fsm_file_remove_tree(temporary));
    FSM_TRY(rename_to(folder, temporary)); /* so that a kill leaves no half of it under its name */
    return fsm_file_remove_tree(temporary);
}

static fsmoe_status recover_entry(const char *parent, char *name, const fsm_run_id *id)
{
    char path[FSM_PATH_BYTES], folder[FSM_PATH_BYTES];
    FSM_TRY(fsm_file_path(parent, name, path));
    if (find_mark(name, temporary_mark, id)) return fsm_file_remove_tree(path);
    size_t mark = find_mark(name, aside_mark, id);
    if (!mark) return FSMOE_OK;
    name[mark] = 0;
    FSM_TRY(fsm_file_path(parent, name, folder));
    return fsm_file_exists(folder) ? fsm_file_remove_tree(path) : rename_to(path, folder);
}

fsmoe_status fsm_owned_recover(const char *parent, const fsm_run_id *id)
{
    struct dirent **entries = NULL;
    fsmoe_status status = FSMOE_OK;
    int count = scandir(parent, &entries, NULL, alphasort);
    if (count < 0) return fsm_fail(FSMOE_ERROR_IO, "cannot read '%s': %s", parent, strerror(errno));
    for (int i = 0; i < count; i++) {
        if (status == FSMOE_OK) status = recover_entry(parent, entries[i]->d_name, id);
        free(entries[i]);
    }
    free(entries);
    return status;
}
