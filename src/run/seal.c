#define _GNU_SOURCE
#define XXH_INLINE_ALL
#include "run/seal.h"

#include "base/file.h"
#include "base/print.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

enum { ID_DIGITS = 32, HASH_DIGITS = 16, NAME_BYTES = 256, PIECE_BYTES = 1 << 22 };

static const char run_word[] = "run ", line_start[] = "XXH3 (", line_middle[] = ") = ";

/* ---- ids ---- */

fsmoe_status fsm_run_id_make(fsm_run_id *id)
{
    unsigned char bits[ID_DIGITS / 2];
    if (getrandom(bits, sizeof bits, 0) != sizeof bits)
        return fsm_fail(FSMOE_ERROR_IO, "the system gives no random bits: %s", strerror(errno));
    for (size_t i = 0; i < sizeof bits; i++) snprintf(id->text + 2 * i, 3, "%02x", bits[i]);
    return FSMOE_OK;
}

bool fsm_run_id_is_valid(const char *text)
{
    return strlen(text) == ID_DIGITS && strspn(text, "0123456789abcdef") == ID_DIGITS;
}

bool fsm_run_id_equal(const fsm_run_id *a, const fsm_run_id *b)
{
    return a->text[0] && strcmp(a->text, b->text) == 0;
}

/* ---- writing ---- */

/* What has been read is forgotten, else a checkpoint would count as memory that saving takes. */
static uint64_t hash_map(const fsm_file_map *map)
{
    XXH3_state_t hash;
    XXH3_64bits_reset(&hash);
    for (size_t at = 0; at < map->size; at += PIECE_BYTES) {
        size_t left = map->size - at, bytes = left < PIECE_BYTES ? left : PIECE_BYTES;
        XXH3_64bits_update(&hash, map->bytes + at, bytes);
        fsm_file_map_forget(map, at, bytes);
    }
    return XXH3_64bits_digest(&hash);
}

static fsmoe_status hash_file(const char *folder, const char *name, char digits[HASH_DIGITS + 1])
{
    char path[FSM_PATH_BYTES];
    fsm_file_map map;
    FSM_TRY(fsm_file_path(folder, name, path));
    FSM_TRY(fsm_file_map_open(path, &map));
    snprintf(digits, HASH_DIGITS + 1, "%016" PRIx64, hash_map(&map));
    fsm_file_map_close(&map);
    return FSMOE_OK;
}

static int is_sealed(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && strcmp(entry->d_name, FSM_SEAL_FILE) != 0;
}

/* The files of a folder that are sealed, in the order of their names. */
typedef struct contents {
    struct dirent **entries;
    int count;
} contents;

static fsmoe_status check_known(const char *folder, const char *name, const char *digits, const fsm_seal_known *known)
{
    char written[HASH_DIGITS + 1];
    snprintf(written, sizeof written, "%016" PRIx64, known->hash);
    if (strcmp(known->name, name) != 0 || strcmp(written, digits) == 0) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_IO, "'%s/%s' reads back otherwise than it was written: its checksum is %s, not %s",
                    folder, name, digits, written);
}

static fsmoe_status write_lines(FILE *out, const char *folder, const fsm_run_id *id, const contents *files,
                                const fsm_seal_known *known, int count)
{
    char digits[HASH_DIGITS + 1];
    fprintf(out, "%s%s\n", run_word, id->text);
    for (int i = 0; i < files->count; i++) {
        const char *name = files->entries[i]->d_name;
        FSM_TRY(hash_file(folder, name, digits));
        for (int k = 0; k < count; k++) FSM_TRY(check_known(folder, name, digits, &known[k]));
        fprintf(out, "%s%s%s%s\n", line_start, name, line_middle, digits);
    }
    return FSMOE_OK;
}

fsmoe_status fsm_seal_write(const char *folder, const fsm_run_id *id, const fsm_seal_known *known, int count)
{
    char path[FSM_PATH_BYTES];
    contents files = {0};
    fsm_print print;
    FSM_TRY(fsm_file_path(folder, FSM_SEAL_FILE, path));
    files.count = scandir(folder, &files.entries, is_sealed, alphasort);
    if (files.count < 0) return fsm_fail(FSMOE_ERROR_IO, "cannot read '%s': %s", folder, strerror(errno));
    fsmoe_status status = fsm_print_begin(&print);
    if (status == FSMOE_OK)
        status = fsm_print_write(&print, write_lines(print.out, folder, id, &files, known, count), path);
    for (int i = 0; i < files.count; i++) free(files.entries[i]);
    free(files.entries);
    return status;
}

/* ---- reading ---- */

/* A line of a seal: a name, and the checksum's digits. */
typedef struct line {
    char name[NAME_BYTES];
    char digits[HASH_DIGITS + 1];
} line;

typedef fsmoe_status line_reader(void *user, const char *folder, const line *of);

static fsmoe_status fail_malformed(const char *folder, int number)
{
    return fsm_fail(FSMOE_ERROR_FORMAT, "'%s/" FSM_SEAL_FILE "' is damaged: line %d", folder, number);
}

/* Takes "run ID\n" off the text. */
static bool take_id(const char **text, fsm_run_id *id)
{
    size_t start = sizeof run_word - 1;
    if (strncmp(*text, run_word, start) != 0 || strlen(*text) <= start + ID_DIGITS) return false;
    memcpy(id->text, *text + start, ID_DIGITS);
    id->text[ID_DIGITS] = 0;
    if (!fsm_run_id_is_valid(id->text) || (*text)[start + ID_DIGITS] != '\n') return false;
    *text += start + ID_DIGITS + 1;
    return true;
}

/* Takes a line off the text: exactly what write_lines puts there. */
static bool take_line(const char **text, line *found)
{
    const char *end = strchr(*text, '\n'), *at = *text + sizeof line_start - 1;
    size_t tail = sizeof line_middle - 1 + HASH_DIGITS;
    if (!end || strncmp(*text, line_start, sizeof line_start - 1) != 0 || end - at <= (ptrdiff_t)tail) return false;
    size_t length = (size_t)(end - at) - tail;
    if (length >= NAME_BYTES || memcmp(at + length, line_middle, sizeof line_middle - 1) != 0) return false;
    memcpy(found->name, at, length);
    found->name[length] = 0;
    memcpy(found->digits, end - HASH_DIGITS, HASH_DIGITS);
    found->digits[HASH_DIGITS] = 0;
    *text = end + 1;
    return strspn(found->digits, "0123456789abcdef") == HASH_DIGITS && !strchr(found->name, '/');
}

static fsmoe_status read_lines(const char *folder, const char *text, line_reader *reader, void *user, fsm_run_id *id)
{
    line found;
    if (!take_id(&text, id)) return fail_malformed(folder, 1);
    for (int number = 2; *text; number++) {
        if (!take_line(&text, &found)) return fail_malformed(folder, number);
        FSM_TRY(reader(user, folder, &found));
    }
    return FSMOE_OK;
}

static fsmoe_status read_seal(const char *folder, line_reader *reader, void *user, fsm_run_id *id)
{
    char path[FSM_PATH_BYTES], *text;
    size_t size;
    FSM_TRY(fsm_file_path(folder, FSM_SEAL_FILE, path));
    FSM_TRY(fsm_file_read(path, &text, &size));
    fsmoe_status status = strlen(text) == size ? read_lines(folder, text, reader, user, id) : fail_malformed(folder, 1);
    free(text);
    return status;
}

/* The names that must be listed, and which of them have been. */
typedef struct wanted {
    const char *const *names;
    int count;
    uint64_t seen;
} wanted;

static fsmoe_status check_line(void *user, const char *folder, const line *of)
{
    wanted *w = user;
    char digits[HASH_DIGITS + 1];
    FSM_TRY(hash_file(folder, of->name, digits));
    if (strcmp(digits, of->digits) != 0)
        return fsm_fail(FSMOE_ERROR_FORMAT, "'%s/%s' is damaged: its checksum is %s, not %s", folder, of->name, digits,
                        of->digits);
    for (int i = 0; i < w->count; i++)
        if (strcmp(w->names[i], of->name) == 0) w->seen |= (uint64_t)1 << i;
    return FSMOE_OK;
}

fsmoe_status fsm_seal_check(const char *folder, const char *const *names, int count, fsm_run_id *id)
{
    fsm_run_id owner;
    wanted w = {names, count, 0};
    FSM_TRY(read_seal(folder, check_line, &w, &owner));
    for (int i = 0; i < count; i++)
        if (!(w.seen >> i & 1))
            return fsm_fail(FSMOE_ERROR_FORMAT, "'%s/" FSM_SEAL_FILE "' is damaged: it lacks '%s'", folder, names[i]);
    if (id) *id = owner;
    return FSMOE_OK;
}

static fsmoe_status check_named_line(void *user, const char *folder, const line *of)
{
    char digits[HASH_DIGITS + 1];
    if (strcmp(of->name, user) != 0) return FSMOE_OK;
    FSM_TRY(hash_file(folder, of->name, digits));
    if (strcmp(digits, of->digits) == 0) return FSMOE_OK;
    return fsm_fail(FSMOE_ERROR_FORMAT,
                    "'%s/%s' is not what was written: its checksum is %s, not %s as '" FSM_SEAL_FILE
                    "' beside it says (remove that file if you have changed it yourself)",
                    folder, of->name, digits, of->digits);
}

fsmoe_status fsm_seal_check_file(const char *folder, const char *name)
{
    char path[FSM_PATH_BYTES];
    fsm_run_id owner;
    FSM_TRY(fsm_file_path(folder, FSM_SEAL_FILE, path));
    if (!fsm_file_exists(path)) return FSMOE_OK;
    return read_seal(folder, check_named_line, (char *)name, &owner);
}

/* How many of the seal's names are there; one that is not is a file somebody has taken away, which is no reason. */
static fsmoe_status count_line(void *user, const char *folder, const line *of)
{
    char path[FSM_PATH_BYTES];
    FSM_TRY(fsm_file_path(folder, of->name, path));
    *(int *)user += fsm_file_exists(path);
    return FSMOE_OK;
}

bool fsm_seal_owns(const char *folder, const fsm_run_id *id)
{
    fsm_run_id owner;
    int listed = 0, found = 0;
    if (read_seal(folder, count_line, &listed, &owner) != FSMOE_OK || !fsm_run_id_equal(id, &owner)) return false;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        found += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (dir) closedir(dir);
    return dir && found == listed + 1; /* the seal itself */
}
