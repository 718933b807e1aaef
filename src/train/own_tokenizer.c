#include "train/own_tokenizer.h"

#include "base/file.h"
#include "config/config.h"
#include "tokens/folder.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { BYTES_IDS = 256, GPT2_IDS = 50257 };

__attribute__((format(printf, 3, 4))) static void tell(fsm_say say, void *user, const char *format, ...)
{
    char sentence[2 * FSM_PATH_BYTES];
    va_list args;
    if (!say) return;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    say(user, sentence);
}

/* The folder is known to have the file `name`, so a failure is about that tokenizer. */
static fsmoe_status open_own(const char *folder, const char *name, const char *how, fsm_say say, void *user,
                             fsmoe_tokenizer **tokenizer)
{
    fsmoe_status status = fsmoe_tokenizer_create(folder, tokenizer);
    if (status == FSMOE_OK) tell(say, user, "the tokenizer is '%s/%s', the model's own", folder, name);
    else
        fsm_fail(status, "the model's own tokenizer: %s; to use another all the same, name it: %s", fsmoe_last_error(),
                 how);
    return status;
}

fsmoe_status fsm_own_tokenizer(const char *folder, int64_t vocab_size, const char *given, fsm_say say, void *user,
                               fsmoe_tokenizer **tokenizer)
{
    static const char how[] = "--tokenizer bytes, gpt2 or a tokenizer.json";
    char name[FSM_FOLDER_NAME_BYTES];
    *tokenizer = NULL;
    if (given) return fsmoe_tokenizer_create(given, tokenizer);
    FSM_TRY(fsm_folder_find_tokenizer(folder, name));
    if (name[0]) return open_own(folder, name, how, say, user, tokenizer);
    if (vocab_size == BYTES_IDS) return fsmoe_tokenizer_create("bytes", tokenizer);
    if (vocab_size != GPT2_IDS)
        return fsm_fail(FSMOE_ERROR_CONFIG,
                        "'%s' has no tokenizer and %lld ids, not the 256 of bytes: name one with %s", folder,
                        (long long)vocab_size, how);
    tell(say, user, "'%s' has no tokenizer; by its %d ids it is taken to be gpt2's", folder, GPT2_IDS);
    return fsmoe_tokenizer_create("gpt2", tokenizer);
}

static const fsm_config_field *field(void)
{
    return fsm_config_find("data.tokenizer");
}

static const char *place_of_setting(const fsmoe_config *config)
{
    return fsm_config_where(config, field());
}

static fsmoe_status set(fsmoe_config *config, const char *name, const char *where)
{
    const fsm_config_value value = {.shape = FSM_CONFIG_SCALAR, .quoted = true, .text = (char *)name};
    return fsm_config_assign(config, field(), &value, FSM_CONFIG_BY_FOLDER, where);
}

/* What the run that is resumed was trained with. */
static fsmoe_status adopt_from_run(fsmoe_config *config, fsm_say say, void *user)
{
    char path[FSM_PATH_BYTES];
    fsmoe_config *run;
    FSM_TRY(fsm_file_path(config->run.dir, "config.yaml", path));
    if (!fsm_file_exists(path)) return FSMOE_OK;
    FSM_TRY(fsmoe_config_create(&run));
    fsmoe_status status = fsmoe_config_load(run, path);
    if (status == FSMOE_OK && strcmp(run->data.tokenizer, config->data.tokenizer) != 0) {
        tell(say, user, "the tokenizer is '%s', as in '%s'", run->data.tokenizer, path);
        status = set(config, run->data.tokenizer, path);
    }
    fsmoe_config_destroy(run);
    return status;
}

static fsmoe_status adopt_from_model(fsmoe_config *config, const char *folder, fsm_say say, void *user,
                                     fsmoe_tokenizer **tokenizer)
{
    char name[FSM_FOLDER_NAME_BYTES];
    long long ids = config->model.vocab_size;
    FSM_TRY(fsm_folder_find_tokenizer(folder, name));
    if (name[0]) {
        FSM_TRY(open_own(folder, name, "data.tokenizer: bytes, gpt2 or a tokenizer.json", say, user, tokenizer));
        return set(config, folder, "--init");
    }
    if (ids == GPT2_IDS) {
        tell(say, user, "'%s' has no tokenizer; by its %d ids it is taken to be gpt2's", folder, GPT2_IDS);
        FSM_TRY(set(config, "gpt2", "--init"));
    } else if (ids != BYTES_IDS) {
        tell(say, user, "'%s' has no tokenizer and %lld ids: text is taken as %s, since data.tokenizer names no other",
             folder, ids, config->data.tokenizer);
    }
    return FSMOE_OK;
}

/* Somebody's choice stands; that the model has another is said. */
static fsmoe_status compare_with_model(const fsmoe_config *config, const char *folder, fsm_say say, void *user)
{
    char name[FSM_FOLDER_NAME_BYTES];
    FSM_TRY(fsm_folder_find_tokenizer(folder, name));
    if (name[0] && strcmp(config->data.tokenizer, folder) != 0)
        tell(say, user, "%s: 'data.tokenizer' is %s; '%s/%s', the model's own, is not used", place_of_setting(config),
             config->data.tokenizer, folder, name);
    return FSMOE_OK;
}

fsmoe_status fsm_adopt_tokenizer(fsmoe_config *config, const char *init_dir, bool resume, fsm_say say, void *user,
                                 fsmoe_tokenizer **tokenizer)
{
    bool chosen = place_of_setting(config) != NULL;
    *tokenizer = NULL;
    if (resume && !chosen) FSM_TRY(adopt_from_run(config, say, user));
    if (init_dir && !resume && chosen) FSM_TRY(compare_with_model(config, init_dir, say, user));
    if (init_dir && !resume && !chosen) FSM_TRY(adopt_from_model(config, init_dir, say, user, tokenizer));
    return *tokenizer ? FSMOE_OK : fsmoe_tokenizer_create(config->data.tokenizer, tokenizer);
}
