/* A program outside the project: tokenizes a line, reads it back, and prints a key of the configuration. */
#include <fsmoe/fsmoe.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    const char *text = "It is a truth universally acknowledged";
    fsmoe_tokenizer *tokenizer = NULL;
    fsmoe_config *config = NULL;
    int32_t *ids = NULL;
    char *back = NULL, *dump = NULL;
    size_t count = 0, size = 0;
    fsmoe_status status = fsmoe_tokenizer_create("gpt2", &tokenizer);
    if (status == FSMOE_OK) status = fsmoe_tokenizer_encode(tokenizer, text, strlen(text), &ids, &count);
    if (status == FSMOE_OK) status = fsmoe_tokenizer_decode(tokenizer, ids, count, &back, &size);
    if (status == FSMOE_OK) status = fsmoe_config_create(&config);
    if (status == FSMOE_OK) status = fsmoe_config_set(config, "model.hidden=320");
    if (status == FSMOE_OK) status = fsmoe_config_dump(config, false, &dump);
    if (status == FSMOE_OK) {
        printf("ids");
        for (size_t i = 0; i < count; i++) printf(" %d", (int)ids[i]);
        printf("\ntext %s\n%s\n", back, strstr(dump, "hidden: 320") ? "hidden: 320" : "no hidden: 320");
    } else {
        fprintf(stderr, "%s: %s\n", fsmoe_status_text(status), fsmoe_last_error());
    }
    free(dump);
    free(back);
    free(ids);
    fsmoe_config_destroy(config);
    fsmoe_tokenizer_destroy(tokenizer);
    return fsmoe_status_exit_code(status);
}
