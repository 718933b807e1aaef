/* The index of a folder of shards, over two shards that are sound: every tensor is where the index says. */
#include "json_mutator.h"
#include "model/safetensors.h"

static void make_shard(const char *name, const char *header, size_t data_bytes)
{
    char bytes[256] = {0};
    uint64_t header_bytes = strlen(header);
    memcpy(bytes, &header_bytes, 8);
    memcpy(bytes + 8, header, header_bytes);
    fuzz_file_in_folder(name, bytes, 8 + header_bytes + data_bytes);
}

static void make_shards(void)
{
    static bool made;
    if (made) return;
    make_shard("a.safetensors", "{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8);
    make_shard("b.safetensors",
               "{\"y\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
               "\"x\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[1,2]}}",
               2);
    made = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fsm_safetensors *file;
    make_shards();
    fuzz_file_in_folder("model.safetensors.index.json", data, size);
    if (fsm_safetensors_open(fuzz_folder(), &file) != FSMOE_OK) return 0;
    for (size_t i = 0; i < fsm_safetensors_count(file); i++) {
        const fsm_tensor_info *info = fsm_safetensors_find(file, fsm_safetensors_name(file, i));
        FUZZ_CLAIM(info && memmem(data, size, info->name, 1));
        FUZZ_CLAIM(i == 0 || strcmp(fsm_safetensors_name(file, i - 1), info->name) < 0);
    }
    fsm_safetensors_close(file);
    return 0;
}
