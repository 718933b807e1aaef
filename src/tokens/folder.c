#include "tokens/folder.h"

#include "base/file.h"
#include "tokens/load.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

/* What can be read, the first that is there. */
static const char *const readable[][2] = {{"tokenizer.json", NULL},
                                          {"encoder.json", "vocab.bpe"},
                                          {"vocab.json", "merges.txt"}};

/* Files that say there is a tokenizer, the most telling first. */
static const struct {
    const char *pattern, *is;
} traces[] = {
    {"tokenizer.json", "a tokenizer"},
    {"tokenizer.model*", "a SentencePiece or tiktoken vocabulary"},
    {"sentencepiece*.model", "a SentencePiece model"},
    {"spiece.model", "a SentencePiece model"},
    {"spm*.model", "a SentencePiece model"},
    {"*.spm", "a SentencePiece model"},
    {"*.tiktoken", "a tiktoken vocabulary"},
    {"tekken.json", "a vocabulary of Mistral's tekken"},
    {"vocab.txt", "a WordPiece vocabulary"},
    {"encoder.json", "a vocabulary that needs vocab.bpe beside it"},
    {"vocab.bpe", "merges that need encoder.json beside them"},
    {"vocab.json", "a vocabulary that needs merges.txt beside it"},
    {"merges.txt", "merges that need vocab.json beside them"},
    {"tokenization_*.py", "a tokenizer in Python"},
    {"tokenizer.*", "a tokenizer of another kind"},
    {"tokenizer_config.json", "settings of a tokenizer that is not there"},
    {"added_tokens.json", "tokens added to a tokenizer that is not there"},
    {"special_tokens_map.json", "special tokens of a tokenizer that is not there"},
};
enum { N_TRACES = sizeof traces / sizeof *traces };

static size_t row_of(const char *name)
{
    size_t row = 0;
    while (row < N_TRACES && fnmatch(traces[row].pattern, name, 0) != 0) row++;
    return row;
}

/* The row of the most telling file, and its name; N_TRACES if none tells. */
static fsmoe_status find_trace(const char *folder, char name[FSM_FOLDER_NAME_BYTES], size_t *row)
{
    *row = N_TRACES;
    name[0] = 0;
    DIR *dir = opendir(folder);
    if (!dir) return fsm_fail(FSMOE_ERROR_IO, "cannot read folder '%s': %s", folder, strerror(errno));
    for (const struct dirent *entry; (entry = readdir(dir));) {
        size_t found = row_of(entry->d_name);
        if (found >= *row || strlen(entry->d_name) >= FSM_FOLDER_NAME_BYTES) continue;
        *row = found;
        strcpy(name, entry->d_name);
    }
    closedir(dir);
    return FSMOE_OK;
}

fsmoe_status fsm_folder_find_tokenizer(const char *folder, char name[FSM_FOLDER_NAME_BYTES])
{
    size_t row;
    return find_trace(folder, name, &row);
}

static fsmoe_status fail_without_files(const char *folder)
{
    char name[FSM_FOLDER_NAME_BYTES];
    size_t row;
    FSM_TRY(find_trace(folder, name, &row));
    if (row < N_TRACES)
        return fsm_fail(FSMOE_ERROR_UNSUPPORTED, "folder '%s' has %s, %s, which is not read", folder, name,
                        traces[row].is);
    return fsm_fail(FSMOE_ERROR_CONFIG,
                    "folder '%s' has no tokenizer.json, encoder.json with vocab.bpe or vocab.json with merges.txt",
                    folder);
}

/* A pair of files does not say how text is cut into words: its settings must name what GPT-2 does. */
static fsmoe_status check_settings(const char *path)
{
    json_t *settings;
    if (!fsm_file_exists(path)) return FSMOE_OK;
    FSM_TRY(fsm_load_json_file(path, &settings));
    const char *class = json_string_value(json_object_get(settings, "tokenizer_class"));
    fsmoe_status status = FSMOE_OK;
    if (class && strcmp(class, "GPT2Tokenizer") != 0 && strcmp(class, "GPT2TokenizerFast") != 0)
        status = fsm_fail(FSMOE_ERROR_UNSUPPORTED,
                          "'%s': tokenizer_class is %.60s; without a tokenizer.json only GPT2Tokenizer is supported",
                          path, class);
    else if (json_is_true(json_object_get(settings, "add_prefix_space")))
        status = fsm_fail(FSMOE_ERROR_UNSUPPORTED, "'%s': add_prefix_space is true, which is not supported", path);
    json_decref(settings);
    return status;
}

static bool has_token(const fsm_vocab *vocab, const char *text, const json_t *id)
{
    json_int_t number = json_integer_value(id);
    if (!json_is_integer(id) || number < 0 || number > FSM_VOCAB_LARGEST_ID) return false;
    const fsm_vocab_entry *entry = fsm_vocab_get(vocab, (int32_t)number);
    return entry && entry->size == strlen(text) && memcmp(vocab->text + entry->begin, text, entry->size) == 0;
}

/* Tokens that the vocabulary has anyway need no adding. */
static fsmoe_status check_added(const fsm_vocab *vocab, const char *path)
{
    json_t *added, *id;
    const char *text;
    if (!fsm_file_exists(path)) return FSMOE_OK;
    FSM_TRY(fsm_load_json_file(path, &added));
    fsmoe_status status = FSMOE_OK;
    json_object_foreach(added, text, id)
    {
        if (status == FSMOE_OK && !has_token(vocab, text, id))
            status = fsm_fail(FSMOE_ERROR_UNSUPPORTED,
                              "'%s' adds '%.60s', which is not supported without a tokenizer.json", path, text);
    }
    json_decref(added);
    return status;
}

static fsmoe_status load_pair(fsmoe_tokenizer *tokenizer, const char *folder, const char *vocab, const char *merges)
{
    char *settings = fsm_file_join(folder, "tokenizer_config.json"),
         *added = fsm_file_join(folder, "added_tokens.json");
    fsmoe_status status = FSMOE_OK;
    if (!settings || !added) status = fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a tokenizer");
    if (status == FSMOE_OK) status = check_settings(settings);
    if (status == FSMOE_OK) status = fsm_tokenizer_load_pair(tokenizer, vocab, merges);
    if (status == FSMOE_OK) status = check_added(&tokenizer->vocab, added);
    free(added);
    free(settings);
    return status;
}

/* *found says whether the folder has the files of this row. */
static fsmoe_status load_row(fsmoe_tokenizer *tokenizer, const char *folder, const char *const files[2], bool *found)
{
    char *vocab = fsm_file_join(folder, files[0]);
    char *merges = fsm_file_join(folder, files[1] ? files[1] : files[0]);
    fsmoe_status status = FSMOE_OK;
    *found = vocab && merges && fsm_file_exists(vocab) && fsm_file_exists(merges);
    if (!vocab || !merges) status = fsm_fail(FSMOE_ERROR_MEMORY, "no memory for a tokenizer");
    else if (*found)
        status = files[1] ? load_pair(tokenizer, folder, vocab, merges) : fsm_tokenizer_load_json(tokenizer, vocab);
    free(merges);
    free(vocab);
    return status;
}

fsmoe_status fsm_tokenizer_load_folder(fsmoe_tokenizer *tokenizer, const char *folder)
{
    for (size_t i = 0; i < sizeof readable / sizeof *readable; i++) {
        bool found;
        fsmoe_status status = load_row(tokenizer, folder, readable[i], &found);
        if (found || status != FSMOE_OK) return status;
    }
    return fail_without_files(folder);
}
